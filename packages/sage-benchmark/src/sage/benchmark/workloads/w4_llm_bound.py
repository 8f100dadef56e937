"""W4: bound by a language model; 2,048 calls of 100 ms, 64 in flight, 32 full waves.

The floor is 32 waves of 100 ms, 3.2 s, which nobody can beat. The endpoint (``llm_endpoint``) is an
HTTP server in a process of its own, the clients are what a user would write. The ratio leaves the
imports out, "with start-up" counts everything from the start of the interpreter on.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import Any

from sage.benchmark.llm_endpoint import endpoint
from sage.benchmark.row import Contestant, Figure, Request, Role, Row, Sample, Target

__all__ = [
    "IN_FLIGHT",
    "ROW",
    "HttpClient",
    "Run",
    "StreamsClient",
    "by_hand",
    "by_hand_streams",
    "measure",
    "sage_ordered",
    "sage_sleeping",
    "sage_streams",
    "sage_threads",
    "sage_unordered",
    "threads",
]

IN_FLIGHT = 64


Run = Callable[[], list[str]]
"""A contestant gets a client and a number of calls, imports what it needs, and returns this."""


class HttpClient:
    """What the async contestants call the endpoint with: one aiohttp session, 64 connections.

    Args:
        url: Where the calls of this run go, without the number.
        latency_s: What the endpoint takes; for the contestant that only sleeps.
    """

    def __init__(self, url: str, latency_s: float) -> None:
        self.url = url
        self.latency_s = latency_s
        self._session: Any = None

    def prepare(self) -> None:
        """Import aiohttp."""
        import aiohttp

        self._aiohttp: Any = aiohttp

    async def call(self, number: int) -> str:
        """Return the endpoint's answer to one number."""
        if self._session is None:
            connector = self._aiohttp.TCPConnector(limit=IN_FLIGHT)
            self._session = self._aiohttp.ClientSession(connector=connector)
        async with self._session.get(self.url + str(number)) as response:
            answer: str = await response.text()
            return answer

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    def forget(self) -> None:
        """Drop the connections when the event loop that they belong to is gone."""
        if self._session is not None:
            self._session.detach()


class StreamsClient:
    """HTTP on asyncio's own streams: for the event loop what ``http.client`` is for threads.

    It imports in no time and does the least that keeps 64 connections open, so it shows what is
    the engine's share of a call and of the start-up, and what is aiohttp's.

    Args:
        like: The client whose endpoint it calls.
    """

    def __init__(self, like: HttpClient) -> None:
        import urllib.parse

        address = urllib.parse.urlsplit(like.url)
        self._host, self._port, self._path = address.hostname, address.port, address.path
        self._idle: list[tuple[Any, Any]] = []

    async def call(self, number: int) -> str:
        """Return the endpoint's answer to one number."""
        import asyncio

        if self._idle:
            reader, writer = self._idle.pop()
        else:
            reader, writer = await asyncio.open_connection(self._host, self._port)
        request = f"GET {self._path}{number} HTTP/1.1\r\nHost: {self._host}\r\n\r\n"
        writer.write(request.encode())
        head: bytes = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length:")[2].partition(b"\r")[0])
        body: bytes = await reader.readexactly(length)
        self._idle.append((reader, writer))
        return body.decode()

    async def close(self) -> None:
        """Close the connections."""
        for _, writer in self._idle:
            writer.close()


def by_hand(client: HttpClient, calls: int) -> Run:
    """The limit: 64 asyncio workers that take the next number as soon as they are free."""
    client.prepare()
    return _by_hand(client, calls)


def by_hand_streams(client: HttpClient, calls: int) -> Run:
    """The same with HTTP on asyncio's streams."""
    return _by_hand(StreamsClient(client), calls)


def _by_hand(client: HttpClient | StreamsClient, calls: int) -> Run:
    import asyncio

    async def run() -> list[str]:
        answers = [""] * calls
        numbers = iter(range(calls))

        async def work() -> None:
            for number in numbers:
                answers[number] = await client.call(number)

        await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))
        await client.close()
        return answers

    return lambda: asyncio.run(run())


def sage_ordered(client: HttpClient, calls: int) -> Run:
    """SAGE's ``map_async``, results in the order of the input."""
    client.prepare()
    return _sage(client.call, calls, ordered=True, client=client)


def sage_unordered(client: HttpClient, calls: int) -> Run:
    """SAGE's ``map_async``, results as they come."""
    client.prepare()
    return _sage(client.call, calls, ordered=False, client=client)


def sage_streams(client: HttpClient, calls: int) -> Run:
    """SAGE's ``map_async`` with HTTP on asyncio's streams."""
    return _sage(StreamsClient(client).call, calls, ordered=True, client=client)


def sage_threads(client: HttpClient, calls: int) -> Run:
    """SAGE's ``map`` of a blocking function over 64 subtasks: the 64 threads, as a pipeline."""
    from sage.kernel import LocalEnvironment

    call = _blocking_call(client)
    LocalEnvironment().from_collection([0]).map(str, executor="thread").collect()  # imports

    def run() -> list[str]:
        answers: list[str] = []
        env = LocalEnvironment()
        stream: Any = env.from_collection(range(calls))
        stream.map(call, executor="thread", parallelism=IN_FLIGHT).sink(answers.append)
        env.execute()
        return answers

    return run


def sage_sleeping(client: HttpClient, calls: int) -> Run:
    """SAGE's ``map_async`` over ``asyncio.sleep``: the engine's share, without HTTP."""
    import asyncio

    async def call(number: int) -> str:
        await asyncio.sleep(client.latency_s)
        return f"answer {number}"

    return _sage(call, calls, ordered=True, client=client)


def _sage(function: Callable[[int], Any], calls: int, *, ordered: bool, client: HttpClient) -> Run:
    from sage.kernel import LocalEnvironment

    async def nothing(number: int) -> int:
        return number

    # The engine imports its runtime when something first runs. Imports are not timed here, for
    # nobody; "with start-up" counts this too.
    LocalEnvironment().from_collection([0]).map_async(nothing).collect()

    def run() -> list[str]:
        answers: list[str] = []
        env = LocalEnvironment()
        stream: Any = env.from_collection(range(calls))
        stream.map_async(function, concurrency=IN_FLIGHT, ordered=ordered).sink(answers.append)
        env.execute()
        client.forget()
        return answers

    return run


def threads(client: HttpClient, calls: int) -> Run:
    """64 threads, each with a connection that stays open: what is done without a framework."""
    from concurrent.futures import ThreadPoolExecutor

    call = _blocking_call(client)

    def run() -> list[str]:
        with ThreadPoolExecutor(IN_FLIGHT) as pool:
            return list(pool.map(call, range(calls)))

    return run


def _blocking_call(client: HttpClient) -> Callable[[int], str]:
    """Return a blocking call by ``http.client``, with a connection for each thread."""
    import http.client
    import threading
    import urllib.parse

    address = urllib.parse.urlsplit(client.url)
    local = threading.local()

    def call(number: int) -> str:
        connection = getattr(local, "connection", None)
        if connection is None:
            connection = local.connection = http.client.HTTPConnection(address.netloc)
        connection.request("GET", f"{address.path}{number}")
        answer: str = connection.getresponse().read().decode()
        return answer

    return call


def measure(contestant: Callable[[HttpClient, int], Run], request: Request) -> Sample:
    """Time one contestant over the calls, without a warm-up, and ask the server what it saw."""
    calls, parameters = request["size"], request["parameters"]
    run = uuid.uuid4().hex
    server = f"http://{parameters['host']}:{parameters['port']}"
    client = HttpClient(f"{server}/call/{run}/", parameters["latency_s"])
    floor = -(-calls // IN_FLIGHT) * parameters["latency_s"]
    run_calls = contestant(client, calls)
    cpu, started = time.process_time(), time.monotonic()
    answers = run_calls()
    ended, cpu = time.monotonic(), time.process_time() - cpu
    if sorted(answers) != sorted(f"answer {number}" for number in range(calls)):
        raise ValueError(f"{len(answers)} answers, and not one for each of {calls} calls")
    sample: Sample = {
        "elapsed_s": ended - started,
        "ratio": floor / (ended - started),
        "ratio_with_start_up": floor / (ended - request["spawned_at"]),
        "cpu_ms_per_call": cpu / calls * 1000,
    }
    sample["in_flight"] = _highest_in_flight(server, run)
    if sample["in_flight"] > IN_FLIGHT:
        raise ValueError(f"{sample['in_flight']} calls were in flight at once, not {IN_FLIGHT}")
    return sample


def _highest_in_flight(server: str, run: str) -> int:
    import json
    from urllib.request import urlopen

    with urlopen(f"{server}/stats/{run}") as response:
        return int(json.load(response)["highest_in_flight"])


_HERE = "sage.benchmark.workloads.w4_llm_bound"
_PEERS = "sage.benchmark.peers"

ROW = Row(
    key="W4",
    title="LLM-bound: 2,048 HTTP calls of 100 ms, 64 in flight, 32 full waves",
    limit="the floor of 32 x 100 ms = 3.2 s",
    measure=f"{_HERE}:measure",
    size=2_048,
    quick_size=128,
    contestants=(
        Contestant(
            name="by hand",
            target=f"{_HERE}:by_hand",
            role=Role.LIMIT,
            note="64 asyncio workers, aiohttp",
        ),
        Contestant(
            name="by hand, streams",
            target=f"{_HERE}:by_hand_streams",
            role=Role.LIMIT,
            note="the same on asyncio's streams, without aiohttp",
        ),
        Contestant(
            name="SAGE",
            target=f"{_HERE}:sage_ordered",
            role=Role.SAGE,
            judged=True,
            note="map_async, ordered, aiohttp",
        ),
        Contestant(
            name="SAGE, streams",
            target=f"{_HERE}:sage_streams",
            role=Role.SAGE,
            judged=True,
            note="map_async, ordered, asyncio's streams: what http.client is for the threads",
        ),
        Contestant(
            name="SAGE, threads",
            target=f"{_HERE}:sage_threads",
            role=Role.SAGE,
            note='map(call, executor="thread", parallelism=64), http.client',
        ),
        Contestant(
            name="SAGE, unordered",
            target=f"{_HERE}:sage_unordered",
            role=Role.SAGE,
            note="map_async, aiohttp",
        ),
        Contestant(
            name="SAGE, asyncio.sleep",
            target=f"{_HERE}:sage_sleeping",
            role=Role.SAGE,
            note="no HTTP: the engine's own share",
        ),
        Contestant(
            name="64 threads",
            target=f"{_HERE}:threads",
            role=Role.PEER,
            note="ThreadPoolExecutor, http.client",
        ),
        Contestant(
            name="streamz",
            target=f"{_PEERS}.streamz_peer:w4",
            role=Role.PEER,
            needs="streamz",
            note="asynchronous, buffer, aiohttp",
        ),
        Contestant(
            name="bytewax",
            target=f"{_PEERS}.bytewax_peer:w4",
            role=Role.PEER,
            needs="bytewax",
            note="batches of 64 into asyncio.gather, aiohttp",
        ),
    ),
    figures=(
        Figure(key="elapsed_s", label="s"),
        Figure(key="ratio_with_start_up", label="with start-up", digits=3),
        Figure(key="cpu_ms_per_call", label="CPU ms/call", digits=3),
        Figure(key="in_flight", label="in flight", digits=0),
    ),
    targets=(
        Target(figure="ratio", must=0.95, aim=0.985),
        Target(figure="ratio_with_start_up", must=0.90, aim=0.95),
        Target(figure="cpu_ms_per_call", must=0.35, aim=0.25, at_most=True),
    ),
    surroundings=endpoint,
    compares_output=False,
)
