"""B1: texts one by one, as a list, and from many callers at once, through `BatchEmbedder`.

*One by one* awaits each of 100 short texts before the next; *a list* embeds 100 others in one call,
*ten* ten others. *Callers* are 100 tasks that come at once with one text each, the background
processor on: the time until the last has its vector, and the median. *Again* asks for what is kept.
All texts are new but for *again*, of about 12 words.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from sage.benchmark.row import Contestant, Figure, Request, Role, Row, Sample, Target

__all__ = ["ROW", "ByHand", "TextEmbedder", "measure", "sage"]

_LIST, _SHORT_LIST = 100, 10


class TextEmbedder(Protocol):
    """A contestant."""

    async def start(self) -> None:
        """Get ready for many callers."""

    async def stop(self) -> None:
        """End what was started."""

    async def one(self, text: str) -> Any:
        """Return the vector of one text."""

    async def many(self, texts: Sequence[str]) -> Any:
        """Return the vectors of texts."""


class ByHand:
    """The limit: the embedder itself, called on the event loop's thread pool."""

    def __init__(self) -> None:
        from sage.libs.embedding import load_embedder

        self._embed = load_embedder().embed

    async def start(self) -> None:
        """Nothing is started."""

    async def stop(self) -> None:
        """Nothing was started."""

    async def one(self, text: str) -> Any:
        """Embed it by itself."""
        return (await asyncio.to_thread(self._embed, [text]))[0]

    async def many(self, texts: Sequence[str]) -> Any:
        """Embed them in one call."""
        return await asyncio.to_thread(self._embed, texts)


def sage() -> TextEmbedder:
    """`BatchEmbedder` over the same embedder."""
    from sage.libs.embedding import BatchEmbedder, load_embedder

    class Batching:
        def __init__(self) -> None:
            embedder = BatchEmbedder(load_embedder(), batch_size=32, cache_size=1000)
            self.one, self.many = embedder.embed_text, embedder.embed_batch
            self.start = embedder.start_background_processor
            self.stop = embedder.stop_background_processor

    return Batching()


def measure(contestant: Callable[[], TextEmbedder], request: Request) -> Sample:
    """Time the ways to embed; the median of so many rounds as the size says.

    Raises:
        ValueError: if two ways do not give the same vectors.
    """
    return asyncio.run(_measured(contestant(), request["size"]))


async def _measured(embedder: TextEmbedder, rounds: int) -> Sample:
    import numpy as np

    await embedder.many(_texts("warm", _LIST))
    samples: dict[str, list[float]] = {}

    async def timed(name: str, work: Awaitable[Any]) -> Any:
        started = time.perf_counter()
        result = await work
        samples.setdefault(name, []).append((time.perf_counter() - started) * 1000)
        return result

    for number in range(rounds):
        texts = _texts(f"single {number}", _LIST)
        alone = await timed("one_by_one_ms", _one_by_one(embedder, texts))
        await timed("list_ms", embedder.many(_texts(f"list {number}", _LIST)))
        await timed("ten_ms", embedder.many(_texts(f"ten {number}", _SHORT_LIST)))
        await embedder.start()
        waits: list[float] = []
        callers = (_waited(embedder, t, waits) for t in _texts(f"callers {number}", _LIST))
        await timed("callers_ms", asyncio.gather(*callers))
        await embedder.stop()
        samples.setdefault("caller_ms", []).append(statistics.median(waits))
        again = await timed("again_ms", embedder.many(texts))
        if not np.allclose(alone, again, atol=1e-3):
            raise ValueError("texts have other vectors in a list than one by one")
    sample: Sample = {name: statistics.median(values) for name, values in samples.items()}
    sample["speedup"] = sample["one_by_one_ms"] / sample["list_ms"]
    return sample


async def _one_by_one(embedder: TextEmbedder, texts: Sequence[str]) -> list[Any]:
    return [await embedder.one(text) for text in texts]


async def _waited(embedder: TextEmbedder, text: str, waits: list[float]) -> None:
    started = time.perf_counter()
    await embedder.one(text)
    waits.append((time.perf_counter() - started) * 1000)


def _texts(name: str, count: int) -> list[str]:
    return [f"{name}: sentence number {n} says that water boils at a height" for n in range(count)]


_HERE = "sage.benchmark.workloads.batch_embedder"

ROW = Row(
    key="B1",
    title="texts on an event loop, ms: 100 one by one, in one list, from 100 callers at once",
    limit="the embedder itself",
    measure=f"{_HERE}:measure",
    size=5,
    quick_size=1,
    contestants=(
        Contestant(
            name="the embedder by hand",
            target=f"{_HERE}:ByHand",
            role=Role.LIMIT,
            note="asyncio.to_thread for each call; no cache",
        ),
        Contestant(
            name="SAGE, BatchEmbedder",
            target=f"{_HERE}:sage",
            role=Role.SAGE,
            judged=True,
            note="batches of 32, 1,000 vectors kept, 5 ms to fill a batch",
        ),
    ),
    figures=(
        Figure(key="one_by_one_ms", label="one by one", digits=1),
        Figure(key="list_ms", label="a list", digits=1),
        Figure(key="speedup", label="list against one by one", digits=1),
        Figure(key="ten_ms", label="ten", digits=1),
        Figure(key="callers_ms", label="100 callers", digits=1),
        Figure(key="caller_ms", label="median caller", digits=1),
        Figure(key="again_ms", label="a list again", digits=2),
    ),
    targets=(
        Target(figure="ten_ms", must=5, aim=3, at_most=True),
        Target(figure="caller_ms", must=100, aim=50, at_most=True),
    ),
    compares_output=False,
    charted="",
    most_rounds=3,
)
