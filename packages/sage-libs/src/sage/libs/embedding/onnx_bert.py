"""BERT-like embedders on ONNX Runtime: no torch, 0.3 s to load, batches filled by tokens."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sage.common.config import Annotated, Meta, configurable
from sage.common.errors import DataError
from sage.libs.embedding.convert import converted, read_config
from sage.libs.embedding.embedder import DEFAULT_MODEL
from sage.libs.embedding.scripts import known_scripts, share_in
from sage.libs.embedding.tokenizer import load_tokenizer
from sage.libs.embedding.weights import resolve

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["OnnxEmbedder"]

# How many texts are tokenised at a time: bounds the memory of a long list.
_WINDOW = 2048


@configurable
class OnnxEmbedder:
    """Embeds texts with a sentence-transformers model of the BERT family, on the CPU.

    A text of more than ``max_tokens`` tokens is **truncated**: what follows does not influence its
    vector. Chunk long texts first (`sage.libs.documents.chunker`).

    Texts are sorted by length and put into batches of about ``batch_tokens`` tokens, so that little
    is computed for padding; the result is in the order of the input. All embedders of one model in
    a process share one session, which uses all the cores the process may run on; copies and
    pickles of an embedder find that session again.

    Args:
        model: A model id or a directory, see `sage.libs.embedding.weights.resolve`.
        max_tokens: Longest text that is read whole, in tokens with the two special ones.
        batch_tokens: Tokens to compute at once, padding included.

    Raises:
        MissingWeightsError: at construction, if the weights are nowhere on this machine.

    Example::

        embedder = OnnxEmbedder()
        vectors = embedder.embed(["Water boils at 100 °C."])  # float32 [1, 384]
    """

    backend = "onnx"

    def __init__(
        self,
        *,
        model: str = DEFAULT_MODEL,
        max_tokens: Annotated[int, Meta(ge=3, le=512)] = 256,
        batch_tokens: Annotated[int, Meta(ge=1)] = 2048,
    ) -> None:
        config = read_config(resolve(model))
        self.model = model
        self.dim = int(config["hidden_size"])
        self.max_tokens = min(max_tokens, int(config.get("max_position_embeddings", max_tokens)))
        self.batch_tokens = batch_tokens

    def __reduce__(self) -> tuple[Any, ...]:
        options = {
            "model": self.model,
            "max_tokens": self.max_tokens,
            "batch_tokens": self.batch_tokens,
        }
        return _rebuilt, (type(self), options)

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return float32 [len(texts), dim], rows of length 1, in the order of ``texts``.

        Raises:
            DataError: if a text is not a string.
        """
        import numpy as np

        vectors = np.empty((len(texts), self.dim), dtype=np.float32)
        for rows, ids in self._batched(texts):
            vectors[rows] = self._run("embedding", ids)
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
        for rows, ids in self._batched(texts):
            for row, own, hidden in zip(rows, ids, self._run("tokens", ids), strict=True):
                inner = hidden[1 : len(own) - 1]
                vectors[row] = inner / np.linalg.norm(inner, axis=1, keepdims=True)
        return vectors

    def reads(self, text: str) -> float:
        """Return the share of the letters of ``text`` in scripts that the model was trained on."""
        return share_in(known_scripts(self.model), text)

    def _batched(self, texts: Sequence[str]) -> Iterator[tuple[list[int], list[list[int]]]]:
        """Yield batches: the positions of their texts, and the ids of their tokens."""
        if isinstance(texts, str):
            raise DataError("expected a list of texts, got one text", hint="embed([text])")
        for start in range(0, len(texts), _WINDOW):
            ids = self._tokenized(texts[start : start + _WINDOW])
            for rows in _batches([len(i) for i in ids], self.batch_tokens):
                yield [start + row for row in rows], [ids[row] for row in rows]

    def _tokenized(self, texts: Sequence[str]) -> list[list[int]]:
        for text in texts:
            if not isinstance(text, str):
                raise DataError(f"expected texts, got {type(text).__name__}: {text!r:.100}")
        # A lone surrogate cannot be encoded as UTF-8, which the tokenizer does with every text.
        clean = [t.encode("utf-8", "replace").decode("utf-8") for t in texts]
        encodings = load_tokenizer(self.model).encode_batch_fast(clean)
        return [self._truncated(encoding.ids) for encoding in encodings]

    def _truncated(self, ids: list[int]) -> list[int]:
        if len(ids) <= self.max_tokens:
            return ids
        return [*ids[: self.max_tokens - 1], ids[-1]]  # the last one is [SEP]

    def _run(self, output: str, batch: Sequence[Sequence[int]]) -> npt.NDArray[np.float32]:
        import numpy as np

        longest = max(len(ids) for ids in batch)
        padded = np.zeros((len(batch), longest), dtype=np.int64)
        mask = np.zeros((len(batch), longest), dtype=np.int64)
        for row, ids in enumerate(batch):
            padded[row, : len(ids)] = ids
            mask[row, : len(ids)] = 1
        session = _session(converted(self.model))
        (value,) = session.run([output], {"input_ids": padded, "attention_mask": mask})
        return np.asarray(value, dtype=np.float32)


def _rebuilt(cls: type[OnnxEmbedder], options: dict[str, Any]) -> OnnxEmbedder:
    return cls(**options)


def _batches(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Yield the positions of texts, longest first, so many that rows x longest <= budget.

    A text longer than the budget is a batch of its own. Longest first, so that the memory that the
    first batch asks for serves all the others.
    """
    batch: list[int] = []
    for row in sorted(range(len(lengths)), key=lambda r: -lengths[r]):
        if batch and (len(batch) + 1) * lengths[batch[0]] > budget:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


@functools.lru_cache(maxsize=4)
def _session(path: Path) -> Any:
    """Return the process's one session of a converted model."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = _cores()
    options.inter_op_num_threads = 1
    options.enable_mem_pattern = False  # shapes differ from batch to batch
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
    except Exception as error:  # the library's exceptions share no public base class
        raise DataError(
            f"cannot load the converted model {str(path)!r}: {error}",
            hint="delete that file; it is made again",
            path=str(path),
        ) from error


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
