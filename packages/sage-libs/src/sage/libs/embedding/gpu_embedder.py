"""Embeds on a GPU at the speed of the GPU, not at that of the tokenizer.

Three things happen at once: processes tokenize the texts ahead, this thread packs tokens into
batches and queues them, the device computes. The host never waits for a batch before the next ones
are queued, so the device never waits for the host. What is copied to and from the device goes
through pinned memory in the order of the queue, without a second stream: a batch of 32,768 tokens
takes milliseconds to compute and 0.13 MB, some microseconds, to copy.

Everything but the pinned memory and the events also runs on a processor, which is how it is tested.
"""

from __future__ import annotations

import functools
import os
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from sage.common.config import Annotated, Meta, configurable
from sage.common.errors import ConfigError, Problem
from sage.libs.embedding.convert import read_config
from sage.libs.embedding.embedder import DEFAULT_MODEL
from sage.libs.embedding.processor import cores
from sage.libs.embedding.scripts import known_scripts, share_in
from sage.libs.embedding.texts import checked_texts
from sage.libs.embedding.tokenizer import beginning, load_tokenizer
from sage.libs.embedding.torch_extra import import_from_extra
from sage.libs.embedding.weights import resolve

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from sage.libs.embedding.gpu_bert import BertEncoder, Output
    from sage.libs.embedding.gpu_token_workers import TokenWorkers
    from sage.libs.embedding.gpu_tokens import CachedTokenizer, TokenIds

__all__ = ["GpuEmbedder"]

# Texts that are tokenized, then sorted by length, together.
_WINDOW: Final = 2048
# Batches that are queued before the oldest one's result is waited for.
_QUEUED: Final = 4
# Widths are multiples of this: the fused attention kernels ask for it.
_ALIGNED: Final = 8
_MOST_PROCESSES: Final = 8


@configurable
class GpuEmbedder:
    """Embeds texts with a sentence-transformers model of the BERT family on a CUDA device.

    A text of more than ``max_tokens`` tokens is **truncated**. Texts are sorted by length and put
    into batches of about ``batch_tokens`` tokens, halved where the device's memory does not
    suffice; the result is in the order of the input. All embedders of one model in a process share
    its weights on the device, and the processes that tokenize, which start with the first call of
    more than 2,048 texts and end with this process.

    Args:
        model: A model id or a directory, see `sage.libs.embedding.weights.resolve`.
        device: ``"cuda"``, ``"cuda:1"``; ``"cpu"`` computes the same, slowly, for tests.
        precision: ``"float16"`` differs from ``"float32"`` by a cosine of under .0001; ``"auto"``
            is float16 on a CUDA device and float32 on a processor.
        max_tokens: Longest text that is read whole, in tokens with the two special ones.
        batch_tokens: Tokens to compute at once, padding included.
        tokenizer_processes: How many processes tokenize; 0 tokenizes in this one. None is one for
            each core but two, at most 8.

    Raises:
        MissingExtraError: at construction, if torch is not installed.
        MissingWeightsError: at construction, if the weights are nowhere on this machine.
        ConfigError: at construction, if torch cannot use the device; it says what is missing.

    Example::

        embedder = GpuEmbedder()
        vectors = embedder.embed(["Water boils at 100 °C."])  # float32 [1, 384]
    """

    backend = "gpu"

    def __init__(
        self,
        *,
        model: str = DEFAULT_MODEL,
        device: str = "cuda",
        precision: Literal["auto", "float16", "float32"] = "auto",
        max_tokens: Annotated[int, Meta(ge=3, le=512)] = 256,
        batch_tokens: Annotated[int, Meta(ge=1, le=262_144)] = 32_768,
        tokenizer_processes: Annotated[int, Meta(ge=0)] | None = None,
    ) -> None:
        self._path = resolve(model)
        config = read_config(self._path)
        self._is_cuda = _checked(device)
        self.model = model
        self.dim = int(config["hidden_size"])
        self.device = device
        self.precision = precision
        if precision == "auto":
            self.precision = "float16" if self._is_cuda else "float32"
        self.max_tokens = min(max_tokens, int(config.get("max_position_embeddings", max_tokens)))
        self.batch_tokens = batch_tokens
        self.tokenizer_processes = tokenizer_processes

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return float32 [len(texts), dim], rows of length 1, in the order of ``texts``.

        Raises:
            DataError: if a text is not a string.
            ServiceError: if a process that tokenizes dies.
        """
        import numpy as np

        given = checked_texts(texts)
        vectors = np.empty((len(given), self.dim), dtype=np.float32)
        for batch in self._computed(given, "embedding"):
            vectors[batch.rows] = batch.values()
        return vectors

    def embed_tokens(self, texts: Sequence[str]) -> list[npt.NDArray[np.float32]]:
        """Return for each text float32 [its tokens, dim], rows of length 1.

        The special tokens have no row: an empty text has none, one that is cut at ``max_tokens``
        has two less than that.

        Raises:
            DataError: if a text is not a string.
            ServiceError: if a process that tokenizes dies.
        """
        import numpy as np

        given = checked_texts(texts)
        vectors = [np.empty((0, self.dim), dtype=np.float32)] * len(given)
        for batch in self._computed(given, "tokens"):
            for row, length, hidden in zip(batch.rows, batch.lengths, batch.values(), strict=True):
                vectors[row] = hidden[1 : length - 1].copy()
        return vectors

    def reads(self, text: str) -> float:
        """Return the share of the letters of ``text`` in scripts that the model was trained on."""
        return share_in(known_scripts(self.model), text)

    def _computed(self, texts: list[str], output: Output) -> Iterator[_Batch]:
        """Yield batches in the order in which the device computes them, some behind the queue."""
        encoder = _encoder(self._path, self.device, self.precision)
        queued: deque[_Batch] = deque()
        for start, tokens in self._tokenized(texts):
            for rows in _batches(tokens.lengths, self.batch_tokens):
                for batch in self._started(encoder, tokens, rows, output):
                    batch.rows = batch.rows + start
                    queued.append(batch)
            while len(queued) > _QUEUED:
                yield queued.popleft()
        yield from queued

    def _tokenized(self, texts: list[str]) -> Iterator[tuple[int, TokenIds]]:
        """Yield windows of texts: the position of the first one, and the tokens of all."""
        from sage.libs.embedding.gpu_tokens import joined

        begun = [beginning(str(self._path), text, self.max_tokens) for text in texts]
        starts = range(0, len(begun), _WINDOW)
        windows = (joined(begun[start : start + _WINDOW]) for start in starts)
        processes = self.tokenizer_processes
        if processes is None:
            processes = min(_MOST_PROCESSES, max(0, cores() - 2))
        if processes and len(starts) > 1:
            workers = _workers(self._path, self.max_tokens, processes, os.getpid())
            yield from zip(starts, workers.encode(windows), strict=True)
        else:
            tokenizer = _tokenizer(self._path, self.max_tokens)
            yield from zip(starts, map(tokenizer.encode, windows), strict=True)

    def _started(
        self, encoder: BertEncoder, tokens: TokenIds, rows: npt.NDArray[np.intp], output: Output
    ) -> list[_Batch]:
        """Queue a batch on the device, in halves if its memory does not suffice for the whole."""
        torch = import_from_extra("torch")
        try:
            return [self._queued(encoder, tokens, rows, output)]
        except torch.cuda.OutOfMemoryError:
            if len(rows) == 1:
                raise
        # Here and not in the handler: the error holds what the failed attempt had allocated.
        half = len(rows) // 2
        return [
            *self._started(encoder, tokens, rows[:half], output),
            *self._started(encoder, tokens, rows[half:], output),
        ]

    def _queued(
        self, encoder: BertEncoder, tokens: TokenIds, rows: npt.NDArray[np.intp], output: Output
    ) -> _Batch:
        torch = import_from_extra("torch")
        lengths = tokens.lengths[rows]
        width = _aligned(int(lengths.max()))
        # torch's allocator gives pinned memory out again only when the copies from it are done.
        ids = torch.empty((len(rows), width), dtype=torch.int32, pin_memory=self._is_cuda)
        tokens.padded(rows, ids.numpy())
        sizes = torch.empty(len(rows), dtype=torch.int32, pin_memory=self._is_cuda)
        sizes.numpy()[:] = lengths
        computed = encoder(
            ids.to(self.device, non_blocking=True),
            sizes.to(self.device, non_blocking=True),
            is_padded=bool((lengths < width).any()),
            output=output,
        )
        if not self._is_cuda:
            return _Batch(rows, lengths, computed, None)
        result = torch.empty(computed.shape, dtype=torch.float32, pin_memory=True)
        result.copy_(computed, non_blocking=True)
        done = torch.cuda.Event()
        done.record(torch.cuda.current_stream(self.device))
        return _Batch(rows, lengths, result, done)


@dataclass
class _Batch:
    """What was queued: rows of the texts, their lengths, and the place where values will be."""

    rows: npt.NDArray[np.intp]
    lengths: npt.NDArray[np.int32]
    result: Any
    done: Any

    def values(self) -> npt.NDArray[np.float32]:
        """Wait until the device has computed and copied them, and return them."""
        if self.done is not None:
            self.done.synchronize()
        values: npt.NDArray[np.float32] = self.result.numpy()
        return values


def _batches(lengths: npt.NDArray[np.int32], budget: int) -> Iterator[npt.NDArray[np.intp]]:
    """Yield the positions of texts, longest first, so many that rows x width <= budget.

    A text longer than the budget is a batch of its own.
    """
    import numpy as np

    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        rows = max(1, budget // _aligned(int(lengths[order[start]])))
        yield order[start : start + rows]
        start += rows


def _aligned(width: int) -> int:
    return -(-width // _ALIGNED) * _ALIGNED


def _checked(device: str) -> bool:
    """Return whether it is a CUDA device, having made sure that torch can use it."""
    torch = import_from_extra("torch")
    try:
        parsed = torch.device(device)
    except RuntimeError as error:
        raise _unusable(device, str(error).partition("\n")[0]) from error
    if parsed.type == "cpu":
        return False
    if parsed.type != "cuda":
        raise _unusable(device, "only CUDA devices and the processor are known here")
    if torch.version.cuda is None and torch.version.hip is None:
        raise _unusable(device, f"torch {torch.__version__} is built without CUDA")
    found = torch.cuda.device_count()
    if found == 0:
        raise _unusable(device, f"torch {torch.__version__} sees no GPU or no driver of one")
    if (parsed.index or 0) >= found:
        raise _unusable(device, f"there are {found} GPUs, numbered from 0")
    return True


def _unusable(device: str, why: str) -> ConfigError:
    return ConfigError(
        "GpuEmbedder",
        [Problem("$.device", f"cannot compute on {device!r}: {why}")],
        hint="the backend 'onnx' gives the same vectors on the processor",
    )


@functools.lru_cache(maxsize=4)
def _encoder(path: Path, device: str, precision: str) -> BertEncoder:
    """Return the process's one copy of a model on a device."""
    from sage.libs.embedding.gpu_bert import BertEncoder

    return BertEncoder(path, device=device, precision=precision)


@functools.lru_cache(maxsize=4)
def _tokenizer(path: Path, max_tokens: int) -> CachedTokenizer:
    from sage.libs.embedding.gpu_tokens import CachedTokenizer

    return CachedTokenizer(load_tokenizer(str(path)), max_tokens)


@functools.lru_cache(maxsize=4)
def _workers(path: Path, max_tokens: int, processes: int, owner: int) -> TokenWorkers:
    """Return the processes of this process: one that was forked from it must have its own."""
    from sage.libs.embedding.gpu_token_workers import TokenWorkers

    return TokenWorkers(path, max_tokens, processes)
