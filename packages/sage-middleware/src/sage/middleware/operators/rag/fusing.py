"""Joins rankings of passages: of one question over one index, or over several sources."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

from sage.common.config import Meta
from sage.common.errors import ConfigError, Problem
from sage.common.records import Passage, Query, Retrieved
from sage.common.suggestions import did_you_mean
from sage.libs.fusion import reciprocal_rank, weighted
from sage.middleware.operators.rag.retrieving import passage_key, ranking

__all__ = ["Fusion", "Quotas", "Weights", "check_names", "fused", "fused_sources", "leg_of"]

Fusion = Literal["rrf", "weighted"]
Quotas = Mapping[str, Annotated[int, Meta(ge=0)]]
Weights = Mapping[str, Annotated[float, Meta(ge=0)]]


def fused(
    rankings: Sequence[Sequence[Passage]],
    method: Fusion,
    *,
    weights: Sequence[float] | None = None,
) -> list[Passage]:
    """Return the passages of all rankings, each once, best first, with their joined scores.

    Args:
        rankings: Passages, best first.
        method: ``rrf`` joins by reciprocal rank, ``weighted`` averages min-max scaled scores.
        weights: One for each ranking; equal ones by default.

    Example:
        >>> a, b, c = (Passage(text, text) for text in "abc")
        >>> [p.text for p in fused([[a, b, c], [c, b]], "rrf")]
        ['c', 'b', 'a']
    """
    passages: dict[str, Passage] = {}
    for listed in rankings:
        for passage in listed:
            passages.setdefault(passage_key(passage), passage)
    if method == "rrf":
        places = [[passage_key(p) for p in listed] for listed in rankings]
        joined = reciprocal_rank(places, weights=weights)
    else:
        scores = [{passage_key(p): p.score for p in listed} for listed in rankings]
        joined = weighted(scores, weights=weights)
    return [replace(passages[identity], score=score) for identity, score in joined]


def fused_sources(
    found: Mapping[str, Sequence[Passage]],
    method: Fusion,
    top_k: int,
    *,
    weights: Weights | None = None,
    quotas: Quotas | None = None,
) -> list[Passage]:
    """Return the best passages of several sources, each with the names of those that found it.

    Args:
        found: Passages by source, best first.
        method: As for `fused`.
        top_k: How many to return.
        weights: How much a source counts; 1 where none is given.
        quotas: The most passages of a source. One that several sources found counts for the one
            that ranks it highest.

    Example:
        >>> a, b, c = (Passage(text, text) for text in "abc")
        >>> best = fused_sources({"docs": [a, b], "web": [c, b]}, "rrf", 2, quotas={"docs": 0})
        >>> [(p.text, p.metadata["found_in"]) for p in best]
        [('c', ['web'])]
    """
    places: dict[str, dict[str, int]] = {}
    for source, passages in found.items():
        for place, passage in enumerate(passages):
            places.setdefault(passage_key(passage), {}).setdefault(source, place)
    shares = [(weights or {}).get(source, 1.0) for source in found]
    taken: Counter[str] = Counter()
    best: list[Passage] = []
    for passage in fused(list(found.values()), method, weights=shares):
        sources = places[passage_key(passage)]
        first = min(sources, key=lambda source: sources[source])
        if taken[first] < (quotas or {}).get(first, top_k) and len(best) < top_k:
            taken[first] += 1
            best.append(
                replace(passage, metadata={**passage.metadata, "found_in": sorted(sources)})
            )
    return best


def check_names(owner: str, option: str, given: Mapping[str, Any] | None, known: Any) -> None:
    """Refuse weights and quotas of sources that are not there.

    Raises:
        ConfigError: with the nearest name for each.
    """
    problems = [
        Problem(f"$.{option}.{name}", f"unknown source {name!r}{did_you_mean(name, known)}")
        for name in given or {}
        if name not in known
    ]
    if problems:
        raise ConfigError(owner, problems)


def leg_of(name: str, found: Retrieved, query: Query) -> dict[str, Any]:
    """Return what a step says of one source: time, how many, and the candidates if asked."""
    steps = found.steps[len(query.steps) :]
    leg: dict[str, Any] = {
        "leg": name,
        "elapsed_s": sum(step.elapsed_s for step in steps),
        "found": len(found),
    }
    if query.explain:
        leg["candidates"] = ranking(found.passages)
        leg["steps"] = [{"name": step.name, **step.detail} for step in steps]
    return leg
