"""What the embedders of the BERT family on a CPU share: texts to batches, batches over the cores.

Each batch is computed on one core, and as many batches at once as there are cores: no core waits
for another inside a batch, nothing spins, and whoever else runs on the machine takes a core's
share instead of stopping both. Measured with MiniLM on two AVX2 cores, texts of 60 tokens, in
tokens a second:

- a batch of 480 over both cores, by the library's threads: 7,000; one of 240 on each core: 7,400;
- the same on a busy machine: 2,100, since the library's threads spin while they wait, and 3,500.

The price is that one text alone uses one core: 60 tokens take 17 ms instead of 10.

A batch of 250 to 500 tokens stays in the core's share of the caches; 2,048 tokens are 8 % slower.
Tokenizing takes 1 % of the time and uses all cores itself, so that nothing is gained by doing it
ahead.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, NamedTuple, TypeAlias

from sage.libs.embedding.convert import read_config
from sage.libs.embedding.processor import cores
from sage.libs.embedding.scripts import known_scripts, share_in
from sage.libs.embedding.texts import checked_texts
from sage.libs.embedding.token_batches import batches
from sage.libs.embedding.tokenizer import beginning, load_tokenizer
from sage.libs.embedding.weights import resolve, split_precision

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Ids: TypeAlias = npt.NDArray[np.int64]

__all__ = ["BertEmbedder", "Output"]

Output: TypeAlias = Literal["embedding", "tokens"]

# How many texts are tokenised at a time: bounds the memory of a long list.
_WINDOW: Final = 2048
# Less than this is not worth another core.
_LEAST_BATCH_TOKENS: Final = 64


class _Batch(NamedTuple):
    """The positions of its texts in the input, and the ids of their tokens."""

    rows: list[int]
    ids: list[list[int]]


class BertEmbedder(ABC):
    """Embeds with `_compute`, which a backend adds; several threads call it at once.

    Args:
        model: A model id or a directory, see `sage.libs.embedding.weights.resolve`.
        max_tokens: Longest text that is read whole, in tokens with the two special ones.
        batch_tokens: Most tokens to compute at once on a core, padding included.

    Raises:
        MissingWeightsError: if the weights are nowhere on this machine.
    """

    backend: ClassVar[str]

    def __init__(self, model: str, max_tokens: int, batch_tokens: int) -> None:
        config = read_config(resolve(split_precision(model)[0]))
        self.model = model
        self.dim = int(config["hidden_size"])
        self.max_tokens = min(max_tokens, int(config.get("max_position_embeddings", max_tokens)))
        self.batch_tokens = batch_tokens

    def __repr__(self) -> str:
        return f"{type(self).__name__}(model={self.model!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuilt, (type(self), self._options())

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return float32 [len(texts), dim], rows of length 1, in the order of ``texts``.

        Raises:
            DataError: if a text is not a string.
        """
        import numpy as np

        vectors = np.empty((len(texts), self.dim), dtype=np.float32)
        for batch, computed in self._computed("embedding", texts):
            vectors[batch.rows] = computed
        return vectors

    def embed_tokens(self, texts: Sequence[str]) -> list[npt.NDArray[np.float32]]:
        """Return for each text float32 [its tokens, dim], rows of length 1.

        The special tokens have no row: an empty text has none, one that is cut at ``max_tokens``
        has two less than that.

        Raises:
            DataError: if a text is not a string.
        """
        import numpy as np

        vectors = [np.empty((0, self.dim), dtype=np.float32)] * len(texts)
        for batch, computed in self._computed("tokens", texts):
            for row, ids, hidden in zip(batch.rows, batch.ids, computed, strict=True):
                inner = hidden[1 : len(ids) - 1]
                vectors[row] = inner / np.linalg.norm(inner, axis=1, keepdims=True)
        return vectors

    def reads(self, text: str) -> float:
        """Return the share of the letters of ``text`` in scripts that the model was trained on."""
        return share_in(known_scripts(self.model), text)

    def _options(self) -> dict[str, Any]:
        """Return what the constructor takes to make this embedder again."""
        return {
            "model": self.model,
            "max_tokens": self.max_tokens,
            "batch_tokens": self.batch_tokens,
        }

    @abstractmethod
    def _compute(self, output: Output, ids: Ids, mask: Ids) -> npt.NDArray[np.float32]:
        """Return an output of the model for int64 [rows, longest], on the calling thread."""

    def _computed(
        self, output: Output, texts: Sequence[str]
    ) -> Iterator[tuple[_Batch, npt.NDArray[np.float32]]]:
        """Yield each batch with what was computed for it."""

        def run(batch: _Batch) -> npt.NDArray[np.float32]:
            return self._compute(output, *_padded(batch.ids))

        clean = checked_texts(texts)
        for start in range(0, len(clean), _WINDOW):
            work = self._batches(clean[start : start + _WINDOW], start)
            workers = min(cores(), len(work))
            if workers == 1:
                yield from zip(work, map(run, work), strict=True)
                continue
            # Threads of this call alone: nothing to share, to fork, or to stop at the end. When it
            # is left by an error or Ctrl-C, map takes back what has not begun.
            with ThreadPoolExecutor(workers, thread_name_prefix="sage-embed") as pool:
                try:
                    computed = pool.map(run, work)
                except RuntimeError:  # no thread can be started: the main one has ended
                    computed = map(run, work)
                yield from zip(work, computed, strict=True)

    def _batches(self, texts: Sequence[str], start: int) -> list[_Batch]:
        begun = [beginning(self.model, text, self.max_tokens) for text in texts]
        encodings = load_tokenizer(self.model).encode_batch_fast(begun)
        ids = [self._truncated(encoding.ids) for encoding in encodings]
        lengths = [len(own) for own in ids]
        share = max(_LEAST_BATCH_TOKENS, -(-sum(lengths) // cores()))
        return [
            _Batch([start + row for row in rows], [ids[row] for row in rows])
            for rows in batches(lengths, min(self.batch_tokens, share))
        ]

    def _truncated(self, ids: list[int]) -> list[int]:
        if len(ids) <= self.max_tokens:
            return ids
        return [*ids[: self.max_tokens - 1], ids[-1]]  # the last one is [SEP]


def _padded(batch: Sequence[Sequence[int]]) -> tuple[Ids, Ids]:
    """Return ids and mask, int64 [rows, longest]."""
    import numpy as np

    longest = max(len(ids) for ids in batch)
    padded = np.zeros((len(batch), longest), dtype=np.int64)
    mask = np.zeros((len(batch), longest), dtype=np.int64)
    for row, ids in enumerate(batch):
        padded[row, : len(ids)] = ids
        mask[row, : len(ids)] = 1
    return padded, mask


def _rebuilt(cls: type[BertEmbedder], options: dict[str, Any]) -> BertEmbedder:
    return cls(**options)
