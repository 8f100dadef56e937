"""The seam between who has passages for a question and who judges them more closely."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

from sage.common.errors import ConfigError, DataError, Problem
from sage.libs.embedding.scripts import readable_share
from sage.libs.fusion import weighted

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["LATE_INTERACTION", "Reranker", "load_reranker", "rerank"]

LATE_INTERACTION: Final = "late-interaction"


@runtime_checkable
class Reranker(Protocol):
    """Scores passages for a question.

    One that cannot read every language also has ``reads(text)``, the share of a text that it can,
    0 to 1; `rerank` trusts it only that far.

    Attributes:
        model: What computes the scores.
    """

    @property
    def model(self) -> str: ...

    def scores(self, query: str, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return float32 [len(texts)], more is better; comparable within one call only."""
        ...


def load_reranker(model: str | None = None) -> Reranker:
    """Return the reranker of that model.

    Args:
        model: None or ``"late-interaction"`` for late interaction over the default embedder,
            ``"late-interaction:MODEL"`` over another one; anything else is a cross-encoder.

    Raises:
        MissingWeightsError: if the embedder's weights are nowhere on this machine.
        MissingExtraError: if a cross-encoder is asked for and its library is not installed.

    Example:
        >>> load_reranker("late-interaction:mock:32").model
        'late-interaction:mock:32'
    """
    model = model or LATE_INTERACTION
    kind, _, embedder = model.partition(":")
    if kind == LATE_INTERACTION:
        from sage.libs.rerank.late_interaction import LateInteractionReranker

        return LateInteractionReranker(model=embedder or None)
    from sage.libs.rerank.cross_encoder import CrossEncoderReranker

    return CrossEncoderReranker(model=model)


def rerank(
    reranker: Reranker,
    query: str,
    texts: Sequence[str],
    scores: Sequence[float],
    *,
    weight: float = 0.5,
) -> list[tuple[int, float]]:
    """Return the positions of ``texts``, best first, with the joined score of each, 0 to 1.

    Both stages' scores are brought to 0..1 by their own smallest and largest, and averaged: the
    first stage has seen things that the reranker has not, such as a rare word, and dropping its
    scores loses them. A reranker that can read only a share of the question gets only that share
    of its weight; where it can read nothing it is not asked at all.

    Args:
        reranker: Who judges.
        query: The question.
        texts: The passages, in the first stage's order, which also decides between equals.
        scores: The first stage's, one for each passage.
        weight: The reranker's, 0 to 1; at 1 the first stage's scores no longer count.

    Raises:
        DataError: if there are not as many scores as texts.
        ConfigError: if the weight is out of range.

    Example:
        >>> class ByLength:
        ...     model = "length"
        ...
        ...     def scores(self, query, texts):
        ...         return [len(text) for text in texts]
        >>> rerank(ByLength(), "?", ["a", "bbb", "cc"], [0.9, 0.5, 0.8])
        [(2, 0.625), (0, 0.5), (1, 0.5)]
    """
    if len(texts) != len(scores):
        raise DataError(f"got {len(texts)} texts and {len(scores)} scores of the first stage")
    if not 0 <= weight <= 1:
        raise ConfigError("rerank", [Problem("$.weight", f"expected 0 to 1, got {weight!r}")])
    share = weight * readable_share(reranker, query)
    first = dict(enumerate(map(float, scores)))
    if not texts or not share:
        return weighted([first])
    judged = dict(enumerate(map(float, reranker.scores(query, texts))))
    return weighted([first, judged], weights=[1 - share, share])
