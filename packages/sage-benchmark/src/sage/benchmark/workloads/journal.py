"""J1: what it costs that no call has to be made twice; and what a call costs that is not made.

64 calls are in flight. Calls that end at once show the cost of one in microseconds; calls of 50 ms
show whether syncs of the disk hold up the event loop. Then the job dies at its very last record and
is run again: every result comes from the journal, or from the table that the hand-written client
keeps instead, an SQLite file with one transaction for each result.
"""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol

from sage.benchmark.row import Contestant, Figure, Request, Role, Row, Sample, Target

__all__ = [
    "IN_FLIGHT",
    "LATENCY_S",
    "ROW",
    "Asking",
    "by_hand",
    "measure",
    "sage_in_memory",
    "sage_journalled",
    "sage_not_journalled",
    "sqlite_by_hand",
]

IN_FLIGHT = 64
LATENCY_S = 0.05
_ANSWER = "as far as anybody can tell from what was asked, the answer is this one; " * 8

Prompt = dict[str, Any]
Call = Callable[[Prompt], Awaitable[str]]


class Asking(Protocol):
    """A contestant: answers all prompts, in their order."""

    def __call__(self, prompts: list[Prompt], call: Call, folder: str) -> list[str]:
        """Return the answers.

        Args:
            prompts: What to ask.
            call: The model.
            folder: Where results may be kept; those of an earlier run are there.
        """


def by_hand(prompts: list[Prompt], call: Call, folder: str) -> list[str]:
    """The limit: 64 asyncio workers that keep nothing."""
    return asyncio.run(_by_hand(prompts, call))


def sqlite_by_hand(prompts: list[Prompt], call: Call, folder: str) -> list[str]:
    """The same workers, with a table of results that is asked first."""
    import json

    connection = sqlite3.connect(Path(folder) / "results.sqlite", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")  # an answer that was seen is on the disk
    connection.execute("CREATE TABLE IF NOT EXISTS results (prompt TEXT PRIMARY KEY, answer TEXT)")

    async def kept(prompt: Prompt) -> str:
        key = json.dumps(prompt)
        found = connection.execute("SELECT answer FROM results WHERE prompt = ?", (key,)).fetchone()
        if found is not None:
            return str(found[0])
        answer = await call(prompt)
        connection.execute("INSERT INTO results VALUES (?, ?)", (key, answer))
        return answer

    try:
        return asyncio.run(_by_hand(prompts, kept))
    finally:
        connection.close()


async def _by_hand(prompts: list[Prompt], call: Call) -> list[str]:
    answers = [""] * len(prompts)
    numbers = iter(range(len(prompts)))

    async def work() -> None:
        for number in numbers:
            answers[number] = await call(prompts[number])

    await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))
    return answers


def sage_not_journalled(prompts: list[Prompt], call: Call, folder: str) -> list[str]:
    """SAGE's ``map_async`` without a journal."""
    return _sage(prompts, call, folder, journal=False)


def sage_journalled(prompts: list[Prompt], call: Call, folder: str) -> list[str]:
    """SAGE's ``map_async`` with ``journal=True``."""
    return _sage(prompts, call, folder, journal=True)


def sage_in_memory(prompts: list[Prompt], call: Call, folder: str) -> list[str]:
    """The same in a folder in memory, where a sync costs nothing: the engine's share."""
    return _sage(prompts, call, folder, journal=True)


def _sage(prompts: list[Prompt], call: Call, folder: str, *, journal: bool) -> list[str]:
    from sage.kernel import LocalEnvironment
    from sage.kernel.errors import JobFailedError

    answers: list[str] = []

    def keep(answer: str) -> None:
        answers.append(answer)
        if len(answers) == len(prompts):
            raise InterruptedError("the job dies at its last record")

    fault_tolerance = {"checkpoint_dir": folder, "checkpoint_interval": 3600}
    env = LocalEnvironment("asking", config={"fault_tolerance": fault_tolerance})
    asked: Any = env.from_collection(prompts)
    asked.map_async(call, concurrency=IN_FLIGHT, journal=journal, uid="ask").sink(keep)
    try:
        env.execute()
    except JobFailedError:
        return answers
    raise ValueError("the job did not die")


def measure(contestant: Asking, request: Request) -> Sample:
    """Time calls that end at once, calls that take a while, and a run after a crash.

    Raises:
        ValueError: if answers are missing or wrong, or a call was made again that was kept.
    """
    size, made = request["size"], 0

    async def at_once(prompt: Prompt) -> str:
        nonlocal made
        made += 1
        await asyncio.sleep(0)
        return f"{prompt['id']}: {_ANSWER}"

    async def slowly(prompt: Prompt) -> str:
        await asyncio.sleep(LATENCY_S)
        return f"{prompt['id']}: {_ANSWER}"

    def timed(call: Call, count: int, folder: str) -> float:
        prompts = [{"id": n, "question": f"what is the answer to {n}?"} for n in range(count)]
        started = time.perf_counter()
        answers = contestant(prompts, call, folder)
        elapsed = time.perf_counter() - started
        if answers != [f"{n}: {_ANSWER}" for n in range(count)]:
            raise ValueError(f"{len(answers)} answers, and not one for each of {count} prompts")
        return elapsed

    place = "/dev/shm" if contestant is sage_in_memory and Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=place) as folder:
        for name in ("warm", "first", "slow"):
            (Path(folder) / name).mkdir()
        timed(at_once, IN_FLIGHT, f"{folder}/warm")
        made, cpu = 0, time.process_time()
        first = timed(at_once, size, f"{folder}/first")
        cpu, asked = time.process_time() - cpu, made
        again = timed(at_once, size, f"{folder}/first")
        slow = timed(slowly, size, f"{folder}/slow")
    if contestant not in (by_hand, sage_not_journalled) and made != asked:
        raise ValueError(f"{made - asked} calls were made again")
    return {
        "us_call": first / size * 1e6,
        "cpu_us_call": cpu / size * 1e6,
        "us_again": again / size * 1e6,
        "ratio": -(-size // IN_FLIGHT) * LATENCY_S / slow,
    }


_HERE = "sage.benchmark.workloads.journal"

ROW = Row(
    key="J1",
    title="the result journal: 4,096 calls, 64 in flight, us a call",
    limit="the floor of 64 x 50 ms = 3.2 s, where calls take 50 ms",
    measure=f"{_HERE}:measure",
    size=4_096,
    quick_size=256,
    contestants=(
        Contestant(
            name="by hand",
            target=f"{_HERE}:by_hand",
            role=Role.LIMIT,
            note="64 asyncio workers; nothing is kept",
        ),
        Contestant(
            name="SQLite by hand",
            target=f"{_HERE}:sqlite_by_hand",
            role=Role.LIMIT,
            note="a table that is asked first; one transaction a result, synced",
        ),
        Contestant(
            name="SAGE",
            target=f"{_HERE}:sage_not_journalled",
            role=Role.SAGE,
            note="map_async; nothing is kept",
        ),
        Contestant(
            name="SAGE, journal",
            target=f"{_HERE}:sage_journalled",
            role=Role.SAGE,
            judged=True,
            note="map_async(..., journal=True); each result is on the disk before it goes on",
        ),
        Contestant(
            name="SAGE, journal in memory",
            target=f"{_HERE}:sage_in_memory",
            role=Role.SAGE,
            note="the same in /dev/shm: without the disk's share",
        ),
    ),
    figures=(
        Figure(key="us_call", label="us a call", digits=1),
        Figure(key="cpu_us_call", label="CPU us", digits=1),
        Figure(key="us_again", label="us a call after a crash", digits=1),
    ),
    targets=(Target(figure="ratio", must=0.90, aim=0.97),),
    compares_output=False,
    most_rounds=5,
)
