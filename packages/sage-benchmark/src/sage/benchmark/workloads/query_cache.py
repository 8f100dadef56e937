"""C1: what a query costs that was asked before, and what it costs to wait for an equal one.

A kept answer is five passages of 500 letters. *Hit* asks for it again and again; *miss* asks for
keys that are new and answers at once, so that all of it is the cache's own cost; *shared* is one
computation of 20 ms that 64 tasks ask for at the same time: what passes beyond the 20 ms until the
last of them has the answer.
"""

from __future__ import annotations

import asyncio
import shutil
import statistics
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from sage.benchmark.row import Contestant, Figure, Request, Role, Row, Sample, Target

__all__ = [
    "ROW",
    "ByHand",
    "Cache",
    "RedisByHand",
    "measure",
    "redis_server",
    "sage",
    "sage_in_redis",
]

WAITERS = 64
SHARED_S = 0.02
REPEATS = 15
_TEXT = "Water boils at 100 degrees Celsius at sea level. " * 10


class Cache(Protocol):
    """A contestant."""

    def get(self, key: str, compute: Callable[[], Any]) -> Any:
        """Return what is kept for a key, or what is computed."""

    async def aget(self, key: str, compute: Callable[[], Awaitable[Any]]) -> Any:
        """The same on an event loop; equal calls that overlap compute once."""


class ByHand:
    """The limit: a dict that nothing ever leaves, and tasks that are awaited by all."""

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        self._kept: dict[str, Any] = {}
        self._tasks: dict[str, asyncio.Future[Any]] = {}

    def get(self, key: str, compute: Callable[[], Any]) -> Any:
        """Look it up."""
        if key not in self._kept:
            self._kept[key] = compute()
        return self._kept[key]

    async def aget(self, key: str, compute: Callable[[], Awaitable[Any]]) -> Any:
        """Await the task that somebody has started."""
        if key not in self._tasks:
            self._tasks[key] = asyncio.ensure_future(compute())
        return await self._tasks[key]


class RedisByHand(ByHand):
    """Redis as many use it: JSON, one call to look up and one to keep."""

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        import redis

        super().__init__(parameters)
        self._client: Any = redis.Redis.from_url(_url(parameters))

    def get(self, key: str, compute: Callable[[], Any]) -> Any:
        """Look it up in Redis."""
        import json

        from sage.common.records import Retrieved

        kept = self._client.get(key)
        if kept is not None:
            return Retrieved.of(json.loads(kept))
        value = compute()
        self._client.setex(key, 300, json.dumps(value.to_dict()))
        return value


def sage(parameters: Mapping[str, Any]) -> Cache:
    """SAGE's cache in the process."""
    from sage.libs.cache import QueryCache

    return QueryCache()


def sage_in_redis(parameters: Mapping[str, Any]) -> Cache:
    """SAGE's cache in Redis."""
    from sage.common.records import Retrieved
    from sage.libs.cache import QueryCache

    return QueryCache(url=_url(parameters), value_type=Retrieved)


def _url(parameters: Mapping[str, Any]) -> str:
    if "redis" not in parameters:
        raise RuntimeError("there is no redis-server on this machine")
    return str(parameters["redis"])


@contextmanager
def redis_server(scratch: str) -> Iterator[Mapping[str, Any]]:
    """Run a Redis server while the block runs, if there is one here; give its URL."""
    program, socket = shutil.which("redis-server"), Path(scratch, "redis")
    if program is None:
        yield {}
        return
    options = ["--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", scratch]
    with subprocess.Popen([program, *options], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        for line in server.stdout:
            if "eady to accept connections" in line:
                break
        try:
            yield {"redis": f"unix://{socket}"}
        finally:
            server.terminate()


def measure(contestant: Callable[[Mapping[str, Any]], Cache], request: Request) -> Sample:
    """Time hits, misses and shared computations.

    Raises:
        ValueError: if an answer is wrong, or was computed more often than once.
    """
    from sage.common.records import Passage, Query, Retrieved

    cache, size = contestant(request["parameters"]), request["size"]
    passages = tuple(Passage(_TEXT, doc_id=str(n), score=1 / (n + 1)) for n in range(5))
    answer = Retrieved(Query("when does water boil?"), passages)
    run = f"{request['spawned_at']}"  # other runs share the server

    def timed(keys: list[str]) -> float:
        started = time.perf_counter()
        for key in keys:
            if len(cache.get(key, lambda: answer)) != 5:
                raise ValueError(f"not the answer to {key}")
        return (time.perf_counter() - started) / len(keys) * 1e6

    timed([f"{run} warm {n}" for n in range(100)] * 2)
    return {
        "hit_us": timed([f"{run} warm 0"] * size),
        "miss_us": timed([f"{run} {n}" for n in range(size // 10)]),
        "shared_ms": asyncio.run(_shared(cache, run, answer)) * 1000,
    }


async def _shared(cache: Cache, run: str, answer: Any) -> float:
    """Return the median of what shared computations take beyond themselves, in seconds."""
    beyond, computed = [], 0

    async def compute() -> Any:
        nonlocal computed
        computed += 1
        await asyncio.sleep(SHARED_S)
        return answer

    for number in range(REPEATS):
        key = f"{run} shared {number}"
        started = time.perf_counter()
        await asyncio.gather(*(cache.aget(key, compute) for _ in range(WAITERS)))
        beyond.append(time.perf_counter() - started - SHARED_S)
    if computed != REPEATS:
        raise ValueError(f"{computed} computations for {REPEATS} keys")
    return statistics.median(beyond)


_HERE = "sage.benchmark.workloads.query_cache"

ROW = Row(
    key="C1",
    title="the query cache: us for a hit, ms for 64 tasks to share one computation",
    limit="a dict",
    measure=f"{_HERE}:measure",
    size=5_000,
    quick_size=200,
    contestants=(
        Contestant(
            name="a dict by hand",
            target=f"{_HERE}:ByHand",
            role=Role.LIMIT,
            note="no bound, no time to live, no threads",
        ),
        Contestant(name="SAGE", target=f"{_HERE}:sage", role=Role.SAGE, judged=True),
        Contestant(
            name="Redis by hand",
            target=f"{_HERE}:RedisByHand",
            role=Role.LIMIT,
            needs="redis",
            note="JSON with get and setex, by a unix socket",
        ),
        Contestant(
            name="SAGE, Redis",
            target=f"{_HERE}:sage_in_redis",
            role=Role.SAGE,
            needs="redis",
            note="the same server; the types come back, invalidation reaches all processes",
        ),
    ),
    figures=(
        Figure(key="hit_us", label="us a hit", digits=1),
        Figure(key="miss_us", label="us a miss", digits=1),
        Figure(key="shared_ms", label="ms beyond a shared computation", digits=2),
    ),
    targets=(
        Target(figure="hit_us", must=100, aim=5, at_most=True),
        Target(figure="shared_ms", must=2, aim=1, at_most=True),
    ),
    surroundings=redis_server,
    compares_output=False,
    charted="",
    most_rounds=3,
)
