"""Late interaction: each token of the question looks for its nearest token in the passage.

Khattab and Zaharia, "ColBERT: Efficient and Effective Passage Search via Contextualized Late
Interaction over BERT" (SIGIR 2020). ColBERT trains a model for it; the token vectors of an ordinary
sentence embedder, of which only the mean was trained, rank better than that mean (SciFact, the 50
best of the hybrid: nDCG@10 .711 against .645) and need nothing that is not there already.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from sage.common.config import Annotated, Meta, configurable
from sage.common.errors import ConfigError, DataError, Problem
from sage.libs.embedding.embedder import DEFAULT_MODEL, Embedder, TokenEmbedder, load_embedder
from sage.libs.embedding.scripts import readable_share
from sage.libs.rerank.reranker import LATE_INTERACTION
from sage.libs.rerank.token_cache import TokenCache

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["LateInteractionReranker"]

# Token vectors that are compared at once: 16,384 of 384 dimensions are 25 MB as float32.
_TOKENS_AT_ONCE: Final = 1 << 14


@configurable
class LateInteractionReranker:
    """Scores a passage by MaxSim: the mean, over the question's tokens, of the best cosine.

    The score is -1 to 1; a passage without tokens, and any passage for a question without tokens,
    gets 0. Passages longer than the embedder's ``max_tokens`` are read up to there.

    A passage that is new costs an embedding (50 of 200 tokens: about a second on two cores), one
    that was scored lately costs a fifth of a millisecond: their token vectors are kept, a byte for
    each coordinate. Copies share what is kept, pickles start anew.

    Args:
        model: The embedder's model; all-MiniLM-L6-v2 by default.
        embedder: An embedder of your own, in place of ``model``.
        cache_mb: Memory for token vectors of passages; 256 hold 3,000 of 230 tokens.

    Raises:
        ConfigError: if the embedder has no token vectors.
        MissingWeightsError: if the model's weights are nowhere on this machine.

    Example:
        >>> reranker = LateInteractionReranker(model="mock:64")
        >>> scores = reranker.scores("iron rusts", ["Gold shines.", "Does iron rust?"])
        >>> int(scores.argmax())
        1
    """

    def __init__(
        self,
        *,
        model: str | None = None,
        embedder: Embedder | None = None,
        cache_mb: Annotated[int, Meta(ge=0)] = 256,
    ) -> None:
        chosen = embedder if embedder is not None else load_embedder(model or DEFAULT_MODEL)
        if not isinstance(chosen, TokenEmbedder):
            path = "$.model" if embedder is None else "$.embedder"
            message = f"{chosen.model!r} gives one vector for a text, none for its tokens"
            raise ConfigError(
                "LateInteractionReranker",
                [Problem(path, message)],
                hint="the ONNX embedders give them",
            )
        self.model = f"{LATE_INTERACTION}:{chosen.model}"
        self._embedder = chosen
        self._cache = TokenCache(cache_mb << 20)

    def __deepcopy__(self, memo: dict[int, Any]) -> LateInteractionReranker:
        # Each parallel instance gets a copy: one memory for all of them.
        return self

    def scores(self, query: str, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return float32 [len(texts)]: the MaxSim of the question with each passage.

        Raises:
            DataError: if ``texts`` is one text, or something in it is not a text.
        """
        import numpy as np

        if isinstance(texts, str):
            raise DataError("expected a list of texts, got one text", hint="scores(query, [text])")
        found = np.zeros(len(texts), dtype=np.float32)
        (asked,) = self._embedder.embed_tokens([query])
        if not len(asked):
            return found
        passages = self._cache.vectors(texts, self._embedder.embed_tokens)
        for rows in _blocks([len(passage) for passage in passages]):
            tokens = np.concatenate([passages[row] for row in rows]).astype(np.float32)
            starts = np.cumsum([0, *(len(passages[row]) for row in rows[:-1])])
            nearest = np.maximum.reduceat(asked @ tokens.T, starts, axis=1)
            found[rows] = nearest.mean(axis=0) / 127
        return found

    def reads(self, text: str) -> float:
        """Return how much of ``text`` the embedder can read, 0 to 1."""
        return readable_share(self._embedder, text)


def _blocks(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Yield the positions of passages that have tokens, few enough to compare at once."""
    block: list[int] = []
    tokens = 0
    for row, length in enumerate(lengths):
        if block and tokens + length > _TOKENS_AT_ONCE:
            yield block
            block, tokens = [], 0
        if length:
            block.append(row)
            tokens += length
    if block:
        yield block
