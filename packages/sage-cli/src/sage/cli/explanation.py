"""Shows how the passages of an answer were found: what each leg said, fusion and reranking."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sage.common.records import Answer, Step

__all__ = ["Stage", "print_explanation", "stages_of"]

_FURTHER = 3  # best candidates of each leg that are shown although they were not taken


@dataclass(frozen=True)
class Stage:
    """One ranking on the way to the passages.

    Attributes:
        name: The leg, ``fused`` or ``reranked``.
        elapsed_s: What it took, or None where that is part of another stage's time.
        candidates: Rank, score, id and place of each candidate, best first.
        note: What else there is to say.
    """

    name: str
    elapsed_s: float | None
    candidates: Sequence[Mapping[str, Any]]
    note: str = ""


def stages_of(steps: Sequence[Step]) -> list[Stage]:
    """Return the rankings that the steps of an explained query tell of, in their order.

    Example:
        >>> from sage.common.records import Step
        >>> best = [{"rank": 1, "score": 0.5, "id": "a#0", "doc_id": "a", "place": "a.md"}]
        >>> leg = {"leg": "dense", "elapsed_s": 0.01, "candidates": best}
        >>> steps = [Step("retrieve", 0.02, {"legs": [leg], "candidates": best, "fusion": "rrf"})]
        >>> [(stage.name, stage.note) for stage in stages_of(steps)]
        [('dense', ''), ('fused', 'by rrf')]
    """
    return [stage for step in steps for stage in _stages(step)]


def _stages(step: Step) -> Iterator[Stage]:
    detail = step.detail
    legs = detail.get("legs", ())
    for leg in legs:
        note = f"{detail['index']} index" if leg["leg"] == "dense" and detail.get("index") else ""
        yield Stage(str(leg["leg"]), leg["elapsed_s"], leg.get("candidates", ()), note)
    if "candidates" not in detail:
        return
    if step.name == "rerank":
        note = f"the best {detail['candidates_read']} by {detail['model']}"
        yield Stage("reranked", step.elapsed_s, detail["candidates"], note)
    elif legs:
        note = f"by {detail['fusion']}" if "fusion" in detail else ""
        if detail.get("dense_weight", 1.0) < 1.0:
            note += f", meaning counts {detail['dense_weight']:g}"
        yield Stage("fused", None, detail["candidates"], note)
    else:
        yield Stage(str(detail.get("retriever", step.name)), step.elapsed_s, detail["candidates"])


def print_explanation(answer: Answer) -> None:
    """Print each stage with its time, and a table of the passages with their rank in every stage.

    Below the passages that the answer was made of come the best of each stage that were not taken.
    """
    from rich.table import Table
    from rich.text import Text

    from sage.cli.screen import results, safe, shown_path

    stages = stages_of(answer.steps)
    console = results()
    console.print()
    for stage in stages:
        console.print(Text(_told(stage), style="dim"), soft_wrap=True)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("#", justify="right")
    for stage in stages:
        table.add_column(stage.name, justify="right", no_wrap=True)
    table.add_column("passage", overflow="fold")
    for number, identity, place in _rows(stages, len(answer.passages)):
        places = [_place(stage, identity) for stage in stages]
        style = "" if number else "dim"
        table.add_row(number, *places, Text(shown_path(safe(place))), style=style)
    console.print(table)


def _told(stage: Stage) -> str:
    took = "" if stage.elapsed_s is None else f" in {stage.elapsed_s * 1000:.1f} ms"
    note = f", {stage.note}" if stage.note else ""
    count = len(stage.candidates)
    return f"{stage.name}: {count} candidate{'s' if count != 1 else ''}{took}{note}"


def _rows(stages: Sequence[Stage], taken: int) -> Iterator[tuple[str, str, str]]:
    """Yield number, id and place of what was taken, then of the best that were not."""
    if not stages:
        return
    seen = set()
    for candidate in stages[-1].candidates[:taken]:
        seen.add(candidate["id"])
        yield str(candidate["rank"]), candidate["id"], candidate["place"]
    for stage in stages:
        for candidate in stage.candidates[:_FURTHER]:
            if candidate["id"] not in seen:
                seen.add(candidate["id"])
                yield "", candidate["id"], candidate["place"]


def _place(stage: Stage, identity: str) -> str:
    """Return rank and score of a passage in a stage, such as ``2 (0.613)``, or a dash."""
    for candidate in stage.candidates:
        if candidate["id"] == identity:
            return f"{candidate['rank']} ({candidate['score']:.3f})"
    return "-"
