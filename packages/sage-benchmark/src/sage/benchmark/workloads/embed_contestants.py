"""Who embeds in the rows E1 to E5: functions that load a model and return what embeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = [
    "Embed",
    "one_by_one",
    "raw_sorted",
    "raw_unsorted",
    "sage",
    "sage_int8",
    "sage_openvino",
    "sentence_transformer",
]

Embed: TypeAlias = Callable[[Sequence[str]], Any]
"""Turns texts into float32 [texts, 384], rows of length 1."""

_BATCH = 32
_MAX_TOKENS = 256


def sage() -> Embed:
    """SAGE as it comes: ``load_embedder()``."""
    from sage.libs.embedding import load_embedder

    return load_embedder().embed


def sage_int8() -> Embed:
    """SAGE in 8 bits."""
    from sage.libs.embedding import DEFAULT_MODEL, load_embedder

    return load_embedder(f"{DEFAULT_MODEL}@int8").embed


def sage_openvino() -> Embed:
    """SAGE on OpenVINO, in bfloat16 where the processor has it."""
    from sage.libs.embedding import load_embedder

    return load_embedder(backend="openvino").embed


def sentence_transformer() -> Embed:
    """``SentenceTransformer.encode`` in float32 on the CPU, its own batches of 32 sorted texts."""
    from sentence_transformers import SentenceTransformer

    from sage.libs.embedding import DEFAULT_MODEL
    from sage.libs.embedding.weights import resolve

    model = SentenceTransformer(str(resolve(DEFAULT_MODEL)), device="cpu")
    model.max_seq_length = _MAX_TOKENS

    def embed(texts: Sequence[str]) -> Any:
        return model.encode(list(texts), normalize_embeddings=True, show_progress_bar=False)

    return embed


def raw_unsorted() -> Embed:
    """A loop over onnxruntime by hand: 32 texts at a time as they come."""
    return _raw(lambda lengths: range(len(lengths)))


def raw_sorted() -> Embed:
    """The same, over texts sorted by length."""
    return _raw(lambda lengths: sorted(range(len(lengths)), key=lengths.__getitem__))


def one_by_one() -> Embed:
    """Onnxruntime on each text alone: what all vectors are compared with."""
    return _raw(lambda lengths: range(len(lengths)), batch=1)


def _raw(order: Callable[[Sequence[int]], Sequence[int]], batch: int = _BATCH) -> Embed:
    import numpy as np
    import onnxruntime

    from sage.libs.embedding import load_tokenizer
    from sage.libs.embedding.convert import converted

    session = onnxruntime.InferenceSession(str(converted()), providers=["CPUExecutionProvider"])
    tokenizer = load_tokenizer()

    def embed(texts: Sequence[str]) -> npt.NDArray[np.float32]:
        ids = [encoding.ids[:_MAX_TOKENS] for encoding in tokenizer.encode_batch_fast(list(texts))]
        rows = list(order([len(own) for own in ids]))
        vectors = np.empty((len(texts), 384), dtype=np.float32)
        for start in range(0, len(rows), batch):
            part = rows[start : start + batch]
            padded = np.zeros((len(part), max(len(ids[row]) for row in part)), dtype=np.int64)
            mask = np.zeros_like(padded)
            for place, row in enumerate(part):
                padded[place, : len(ids[row])] = ids[row]
                mask[place, : len(ids[row])] = 1
            feed = {"input_ids": padded, "attention_mask": mask}
            vectors[part] = session.run(["embedding"], feed)[0]
        return vectors

    return embed
