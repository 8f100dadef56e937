"""A job that asks a model for each of its prompts and keeps what it answers; run to be killed.

Takes its parameters as JSON. With ``kill_at`` it kills itself when a step of a checkpoint or of the
journal is reached for the so-manieth time. Where it ends well, it says what came of it as JSON.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp

from sage.kernel import AsyncMapFunction, FlatMapFunction, LocalEnvironment, SinkFunction
from sage.kernel.checkpoint import steps


class Ask(AsyncMapFunction[str, str]):
    """Asks the model, and writes down whose answer has come; ``nothing...`` gives no output."""

    def __init__(self, port: int, folder: str) -> None:
        self._ended = Path(folder) / "ended.txt"
        self._url = f"http://127.0.0.1:{port}/ask"
        self._session: aiohttp.ClientSession | None = None

    async def map(self, record: str) -> str | None:
        """Return the answer."""
        if self._session is None:
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        async with self._session.post(self._url, data=record) as response:
            answer = await response.text()
            with self._ended.open("a") as ended:
                ended.write(f"{record}\n")
            return None if answer.startswith("nothing") else answer


class AskInTurn(FlatMapFunction[str, str]):
    """The same as a generator that blocks: one call at a time, an item for each word."""

    def __init__(self, port: int, folder: str) -> None:
        self._url = f"http://127.0.0.1:{port}/ask"
        self._ended = Path(folder) / "ended.txt"

    def flat_map(self, record: str) -> Iterator[str]:
        """Yield the words of the answer."""
        with urllib.request.urlopen(self._url, data=record.encode()) as response:
            answer = response.read().decode()
        with self._ended.open("a") as ended:
            ended.write(f"{record}\n")
        yield from answer.split()


class Kept(SinkFunction[str]):
    """Lines that appear with the checkpoint that covers them: a file for each epoch."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)
        self._lines: list[str] = []

    def begin(self, epoch: int) -> None:
        """Start an epoch."""
        self._lines = []

    def write(self, record: str) -> None:
        """Take a line."""
        self._lines.append(f"{record}\n")

    def prepare(self, epoch: int) -> None:
        """Write the lines where nobody looks yet."""
        self._path(epoch, ".pending").write_text("".join(self._lines))

    def commit(self, epoch: int) -> None:
        """Let them be seen."""
        if self._path(epoch, ".pending").exists():
            self._path(epoch, ".pending").rename(self._path(epoch, ".txt"))

    def abort(self, epoch: int) -> None:
        """Throw them away."""
        self._path(epoch, ".pending").unlink(missing_ok=True)

    def _path(self, epoch: int, suffix: str) -> Path:
        self._folder.mkdir(exist_ok=True)
        return self._folder / f"{epoch:08d}{suffix}"


async def same(record: str) -> str:
    """Let a record through."""
    return record


def kill_at(step: str, times: int) -> None:
    """Kill this process at a step, when it is reached for the so-manieth time."""
    left = times

    def look(reached: str) -> None:
        nonlocal left
        left -= reached == step
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)

    steps.watch(look)


def main(given: dict[str, Any]) -> None:
    """Run the job to its end."""
    if given.get("kill_at"):
        kill_at(*given["kill_at"])
    folder = given["folder"]
    env = LocalEnvironment(
        "asking",
        config={
            "fault_tolerance": {
                "checkpoint_dir": f"{folder}/checkpoints",
                "checkpoint_interval": given["interval_s"],
            }
        },
    )
    prompts = env.from_collection(given["prompts"])
    if given["rate_per_s"]:
        prompts = prompts.map_async(same, rate_per_s=given["rate_per_s"], uid="slow", name="slow")
    common = {name: given[name] for name in ("parallelism", "journal")}
    common |= {"uid": "ask", "name": "ask"}
    if given["in_turn"]:
        answers = prompts.flat_map(AskInTurn, given["port"], folder, **common)
    else:
        calls = {name: given[name] for name in ("concurrency", "ordered")}
        answers = prompts.map_async(Ask, given["port"], folder, **calls, **common)
    answers.sink(Kept, f"{folder}/kept", parallelism=1)
    job = env.submit()
    job.wait(120)
    metrics = job.metrics()["ask"]
    print(json.dumps({"received": metrics.received, **metrics.custom}))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
