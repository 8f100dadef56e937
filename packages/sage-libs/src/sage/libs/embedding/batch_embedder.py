"""Many callers with one text each, one model that is quick in batches: a queue between the two.

Invariant: each waiter gets the vector of its own text, or the error of the batch that its text was
in. A failure reaches nobody else, a waiter that goes away takes nobody along, and what nobody waits
for any more is not computed.

As dynamic batching in Clipper (Crankshaw et al., NSDI 2017): a batch starts when it is full or when
its first text has waited for ``linger_ms``. While one batch is computed the next one fills up.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from sage.common.config import Annotated, Meta, configurable
from sage.common.errors import ConfigError, DataError, Problem
from sage.libs.cache.lru_store import LruStore
from sage.libs.cache.statistics import CacheStatistics
from sage.libs.cache.store import Miss
from sage.libs.embedding.texts import checked_texts
from sage.libs.process_threads import ProcessThreads

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Vectors = npt.NDArray[np.float32]

__all__ = ["BatchEmbedder"]


@configurable
class BatchEmbedder:
    """Embeds on an event loop: in batches, with a cache, never blocking the loop.

    ``embed_batch`` embeds a list. ``embed_text`` embeds one text; once the background processor is
    started, texts that come at about the same time share a batch. A text that is kept, or that is
    being embedded for somebody else, is not embedded again. The model runs on a thread of its own,
    one batch at a time. To be used on one event loop at a time.

    Args:
        model: An `Embedder`, or anything with ``encode(texts)``, such as a ``SentenceTransformer``.
        batch_size: Most texts that the model is given at once.
        cache_size: How many vectors are kept; the least recently used makes room.
        linger_ms: Milliseconds that a text waits in the queue for others to share its batch.

    Raises:
        ConfigError: if the model is neither, or an option is wrong.

    Example:
        >>> from sage.libs.embedding import MockTextEmbedder
        >>> async def main():
        ...     embedder = BatchEmbedder(MockTextEmbedder(), batch_size=32)
        ...     await embedder.start_background_processor()
        ...     vectors = await asyncio.gather(*map(embedder.embed_text, ["a", "b", "a"]))
        ...     await embedder.stop_background_processor()
        ...     return vectors[0].shape, embedder.get_stats()["texts_embedded"]
        >>> asyncio.run(main())
        ((16,), 2)
    """

    def __init__(
        self,
        model: Any,
        *,
        batch_size: Annotated[int, Meta(ge=1)] = 32,
        cache_size: Annotated[int, Meta(ge=1)] = 1_000,
        linger_ms: Annotated[float, Meta(ge=0)] = 5.0,
    ) -> None:
        self._compute = _computing(model)
        self._batch_size = batch_size
        self._linger_s = linger_ms / 1000
        self._cache = LruStore(max_entries=cache_size)
        self._thread = ProcessThreads(1, "sage-batch-embedder")
        self._pid = os.getpid()
        self._loop: asyncio.AbstractEventLoop | None = None
        # Who waits for the vector of a text that is queued or under way; each has its own future,
        # so that cancelling one leaves the others alone.
        self._waiting: dict[str, list[asyncio.Future[Vectors]]] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._queue: asyncio.Queue[str | None] = asyncio.Queue()  # None: stop after what is before
        self._processor: asyncio.Task[None] | None = None
        self._hits = self._misses = self._deduplicated = 0
        self._batches = self._texts = 0

    async def embed_text(self, text: str) -> Vectors:
        """Return the vector of one text, float32 [dim]; it is shared and may not be written to.

        Raises:
            DataError: if it is not a string.
            Exception: what the model raises for the batch that the text was in.
        """
        (text,), fresh = checked_texts([text]), list[str]()
        vector = self._promised(text, fresh)
        if self._processor is None:
            self._start_batches(fresh)
        elif fresh:
            self._queue.put_nowait(text)
        return await vector

    async def embed_batch(self, texts: Sequence[str]) -> Vectors:
        """Return float32 [len(texts), dim], rows in the order of the texts.

        Raises:
            DataError: if a text is not a string.
            Exception: what the model raises; nothing is returned then.
        """
        import numpy as np

        texts, fresh = checked_texts(texts), list[str]()
        if not texts:
            self._check_loop()
            return await self._on_thread([])
        vectors = [self._promised(text, fresh) for text in texts]
        self._start_batches(fresh)
        return np.stack(await asyncio.gather(*vectors))

    async def start_background_processor(self) -> None:
        """Have texts of ``embed_text`` wait for one another from now on; does nothing if they do.

        The processor ends with its event loop, or with ``stop_background_processor``.
        """
        self._check_loop()
        if self._processor is None:
            queue = self._queue = asyncio.Queue()
            self._processor = asyncio.create_task(self._process(queue))
            self._processor.add_done_callback(lambda processor: self._ended(processor, queue))

    async def stop_background_processor(self) -> None:
        """Embed what is queued, then stop; ``embed_text`` embeds at once again."""
        processor, self._processor = self._processor, None
        if processor is not None:
            self._queue.put_nowait(None)
            await asyncio.shield(processor)  # whoever gives up waiting cancels nobody's text

    def get_stats(self) -> dict[str, float]:
        """Return counts since the embedder was made.

        ``cache_hit_rate`` (0 to 1) and ``cache_hits``, ``cache_misses``; ``deduplicated``: texts
        that shared the computation of an equal one; ``cache_size``: vectors kept now; ``evicted``;
        ``batches``, ``texts_embedded`` and ``average_batch_size`` of what the model was given;
        ``queue_length``: texts that wait now.
        """
        counts = CacheStatistics(self._hits, self._misses, self._deduplicated, self._cache.evicted)
        return {
            "cache_hit_rate": counts.hit_rate,
            "cache_hits": counts.hits,
            "cache_misses": counts.misses,
            "deduplicated": counts.deduplicated,
            "evicted": counts.evicted,
            "cache_size": len(self._cache),
            "batches": self._batches,
            "texts_embedded": self._texts,
            "average_batch_size": self._texts / self._batches if self._batches else 0.0,
            "queue_length": self._queue.qsize(),
        }

    def _promised(self, text: str, fresh: list[str]) -> asyncio.Future[Vectors]:
        """Return a future of a text's vector; adds the text to ``fresh`` if it must be computed."""
        promise: asyncio.Future[Vectors] = self._check_loop().create_future()
        found = self._cache.lookup(text)
        if not isinstance(found, Miss):
            self._hits += 1
            promise.set_result(found)
        elif text in self._waiting:
            self._deduplicated += 1
            self._waiting[text].append(promise)
        else:
            self._misses += 1
            self._waiting[text] = [promise]
            fresh.append(text)
        return promise

    def _check_loop(self) -> asyncio.AbstractEventLoop:
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            ended = self._loop is not None and self._loop.is_closed()
            if ended or self._pid != os.getpid():
                # It ended, perhaps by Ctrl-C, before all batches did; or it is in the process that
                # this one was forked from.
                self._waiting.clear()
                self._processor = None
                self._pid = os.getpid()
            if self._waiting or self._processor is not None:
                raise RuntimeError(
                    "this BatchEmbedder is in use on another event loop; make one for each"
                )
            self._loop = loop
        return loop

    def _start_batches(self, texts: list[str]) -> None:
        for start in range(0, len(texts), self._batch_size):
            task = asyncio.create_task(self._embed(texts[start : start + self._batch_size]))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _process(self, queue: asyncio.Queue[str | None]) -> None:
        while batch := await self._next_batch(queue):
            await self._embed(batch)

    def _ended(self, processor: asyncio.Task[None], queue: asyncio.Queue[str | None]) -> None:
        """After a stop there is nothing left; if it was cancelled, so is who still waits for it."""
        if self._processor is processor:
            self._processor = None
        left = [queue.get_nowait() for _ in range(queue.qsize())]
        self._cancel([text for text in left if text is not None])

    async def _next_batch(self, queue: asyncio.Queue[str | None]) -> list[str]:
        """Return the texts to embed next, as many as there are or come within the linger time.

        Empty at the end: a marker behind a batch is put back for the next call.
        """
        batch: list[str] = []
        text = await queue.get()
        try:
            async with asyncio.timeout(self._linger_s):
                while text is not None:
                    batch.append(text)
                    if len(batch) == self._batch_size:
                        return batch
                    text = await queue.get()
        except TimeoutError:
            return batch
        except BaseException:
            self._cancel(batch)
            raise
        if batch:
            queue.put_nowait(None)
        return batch

    async def _embed(self, texts: list[str]) -> None:
        """Embed a batch and tell those who wait; an error of the model is told, not raised."""
        for text in texts:
            if all(promise.done() for promise in self._waiting[text]):
                del self._waiting[text]  # they were cancelled
        texts = [text for text in texts if text in self._waiting]
        if not texts:
            return
        try:
            rows = await self._on_thread(texts)
        except Exception as error:
            for promise in self._taken(texts):
                promise.set_exception(error)
        except BaseException:
            self._cancel(texts)
            raise
        else:
            for text, row in zip(texts, rows, strict=True):
                vector = row.copy()  # a view would keep the whole batch
                vector.flags.writeable = False
                self._cache.put(text, vector)
                for promise in self._taken([text]):
                    promise.set_result(vector)

    async def _on_thread(self, texts: list[str]) -> Vectors:
        self._batches += bool(texts)
        self._texts += len(texts)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread.executor, self._compute, texts)

    def _cancel(self, texts: list[str]) -> None:
        for promise in self._taken(texts):
            promise.cancel()

    def _taken(self, texts: list[str]) -> list[asyncio.Future[Vectors]]:
        """Return the promises to those who still wait for these texts, and forget them."""
        promises = [promise for text in texts for promise in self._waiting.pop(text, ())]
        return [promise for promise in promises if not promise.done()]


def _computing(model: Any) -> Callable[[list[str]], Vectors]:
    """Return what makes float32 [n, dim] of texts.

    Raises:
        ConfigError: if the model has neither ``embed`` nor ``encode``.
    """
    method = getattr(model, "embed", None) or getattr(model, "encode", None)
    if not callable(method):
        problem = Problem(
            "$.model", f"expected an embedder or an object with encode(), got {model!r:.100}"
        )
        raise ConfigError("BatchEmbedder", [problem])

    def compute(texts: list[str]) -> Vectors:
        import numpy as np

        rows: Vectors = np.asarray(method(texts), dtype=np.float32)
        if rows.shape[:1] != (len(texts),) or (texts and rows.ndim != 2):
            raise DataError(
                f"expected one vector for each of {len(texts)} texts from {type(model).__name__}, "
                f"got an array of {rows.shape}"
            )
        return rows

    return compute
