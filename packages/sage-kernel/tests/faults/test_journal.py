"""No call that was journalled is made again, whenever the job is killed: calls counted at a server.

The job runs in a child process and asks a fake model in another one. It is killed with SIGKILL, at
a number of calls or at a named step, and started again until it ends by itself.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sage.kernel.checkpoint.journal import JournalFolder
from sage.kernel.checkpoint.journal_segment import read_segment

HERE = Path(__file__).parent

STEPS = (
    *("journal.write.before", "journal.write.after", "journal.sync.before", "journal.sync.after"),
    *("journal.roll.before", "journal.roll.after", "barrier.injected", "task.snapshot"),
    *("manifest.before", "manifest.after", "sink.commit.before", "checkpoint.retired"),
)


class Model:
    """The fake model's process, as a test sees it."""

    def __init__(self) -> None:
        command = [sys.executable, str(HERE / "counting_endpoint.py")]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    @property
    def asked(self) -> Counter[str]:
        """How often each prompt was asked."""
        return Counter(json.loads(self._get("counts")))

    def wait_for(self, calls: int) -> None:
        """Return when so many calls have begun."""
        self._get(f"asked/{calls}")

    def close(self) -> None:
        """End the process."""
        self._process.communicate("")

    def _get(self, path: str) -> str:
        url = f"http://127.0.0.1:{self.port}/{path}"
        with urllib.request.urlopen(url, timeout=60) as response:
            return str(response.read().decode())


@pytest.fixture
def model() -> Iterator[Model]:
    model = Model()
    yield model
    model.close()


class Asking:
    """The job over its runs, and what it has left on the disk."""

    def __init__(self, model: Model, folder: Path, prompts: list[str]) -> None:
        self.model, self.folder, self.prompts = model, folder, prompts
        folder.mkdir()
        self.parameters: dict[str, Any] = {
            "port": model.port,
            "folder": str(folder),
            "prompts": prompts,
            "interval_s": 60.0,
            "concurrency": 8,
            "parallelism": 1,
            "ordered": True,
            "journal": True,
            "rate_per_s": None,
            "in_turn": False,
        }

    def start(self, **parameters: Any) -> subprocess.Popen[str]:
        given = json.dumps({**self.parameters, **parameters})
        command = [sys.executable, str(HERE / "journalled_job.py"), given]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def killed_after(self, calls: int, **parameters: Any) -> None:
        """Run it until so many more calls have begun, and kill it."""
        before = self.model.asked.total()
        with self.start(**parameters) as process:
            self.model.wait_for(before + calls)
            process.kill()

    def killed_at(self, step: str, times: int, **parameters: Any) -> bool:
        """Run it until it kills itself at a step; return False if it has ended before."""
        with self.start(kill_at=[step, times], **parameters) as process:
            _, told = process.communicate(timeout=120)
        assert process.returncode in (0, -9), told
        return process.returncode != 0

    def to_the_end(self, **parameters: Any) -> dict[str, int]:
        """Run it until it ends by itself; return its counts."""
        with self.start(**parameters) as process:
            said, told = process.communicate(timeout=120)
        assert process.returncode == 0, told
        counts: dict[str, int] = json.loads(said.splitlines()[-1])
        return counts

    @property
    def journalled(self) -> set[str]:
        """The prompts whose results are in the journal."""
        files = sorted((self.folder / "checkpoints").rglob("*.results"))
        digests = {entry.digest for path in files for entry in read_segment(path).entries}
        journal = JournalFolder(self.folder / "unused", epoch=0).journal("ask", 0, "")
        return {prompt for prompt in set(self.prompts) if journal.digest(prompt) in digests}

    @property
    def ended(self) -> Counter[str]:
        """How often the job has had an answer to each prompt."""
        return Counter((self.folder / "ended.txt").read_text().splitlines())

    @property
    def kept(self) -> list[str]:
        """The lines that have been committed, in their order."""
        files = sorted((self.folder / "kept").glob("*.txt"))
        return [line for path in files for line in path.read_text().splitlines()]


def many(count: int) -> list[str]:
    return [f"prompt {n}" if n % 17 else f"nothing {n}" for n in range(count)]


def answers(prompts: list[str]) -> list[str]:
    return [f"{prompt}!" for prompt in prompts if not prompt.startswith("nothing")]


def test_a_recovery_pays_for_no_call_that_had_ended(model: Model, tmp_path: Path) -> None:
    """Killed before its first checkpoint, a job starts over and asks only what was in flight."""
    job = Asking(model, tmp_path / "job", many(300))
    job.killed_after(150)
    journalled = job.journalled
    assert len(journalled) >= 150 - 8
    assert job.to_the_end()["journal_hits"] == len(journalled)
    assert job.kept == answers(job.prompts)
    asked = model.asked
    assert all(asked[prompt] == 1 for prompt in journalled)
    assert asked.total() <= 300 + 8
    assert job.ended.total() <= 300 + 1


def test_a_kill_while_it_catches_up_costs_nothing_more(model: Model, tmp_path: Path) -> None:
    """Results that are still to be asked for outlive the checkpoints made meanwhile."""
    job = Asking(model, tmp_path / "job", many(200))
    job.parameters["rate_per_s"] = 500
    job.killed_after(150)
    journalled = job.journalled
    assert job.killed_at("checkpoint.retired", 2, interval_s=0.02)
    assert job.to_the_end()["received"] == 200
    assert job.kept == answers(job.prompts)
    asked = model.asked
    assert all(asked[prompt] == 1 for prompt in journalled)
    assert job.ended.total() <= 200 + 2


def test_a_generator_pays_once_for_what_it_yields(model: Model, tmp_path: Path) -> None:
    """A function that blocks repeats at most the one call that it was in."""
    prompts = many(60)
    job = Asking(model, tmp_path / "job", prompts)
    job.parameters["in_turn"] = True
    job.killed_after(20)
    assert job.killed_at("journal.write.before", 10, interval_s=0.05)
    assert job.killed_at("checkpoint.retired", 1, interval_s=0.02)
    job.to_the_end()
    assert job.kept == [word for prompt in prompts for word in f"{prompt}!".split()]
    assert model.asked.total() <= 60 + 3


def test_without_a_journal_calls_are_made_again(model: Model, tmp_path: Path) -> None:
    """What the journal saves: without it a recovery repeats every call behind the checkpoint."""
    job = Asking(model, tmp_path / "job", many(100))
    job.killed_after(60, journal=False)
    job.to_the_end(journal=False)
    assert job.kept == answers(job.prompts)
    assert model.asked.total() >= 150


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_whenever_it_is_killed_no_journalled_call_is_repeated(
    model: Model, tmp_path: Path, seed: int
) -> None:
    """At random moments and named steps, several times, at any parallelism: each call once."""
    survives(model, tmp_path, seed)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 200))
def test_it_holds_for_many_seeds(model: Model, tmp_path: Path, seed: int) -> None:
    """The same, often enough to meet what is rare."""
    survives(model, tmp_path, seed)


def survives(model: Model, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    ordered, total = chance.random() < 0.5, 240
    job = Asking(model, tmp_path / "job", many(total))
    kills = most_repeated = 0
    never_again: dict[str, int] = {}
    for _ in range(chance.randint(1, 4)):
        options: dict[str, Any] = {
            "ordered": ordered,
            "interval_s": chance.choice([0.02, 0.1, 60.0]),
            "concurrency": chance.choice([1, 4, 16]),
            "parallelism": chance.choice([1, 1, 2, 3]),
        }
        new = total - len(model.asked)
        if new > 1 and chance.random() < 0.4:
            job.killed_after(chance.randint(1, new // 2), **options)
        elif not job.killed_at(chance.choice(STEPS), chance.choice([1, 2, 9, 60]), **options):
            break
        kills += 1
        most_repeated += options["concurrency"] * options["parallelism"]
        asked = model.asked
        never_again = {prompt: asked[prompt] for prompt in job.journalled} | never_again
    assert job.to_the_end(ordered=ordered)["received"] == total
    assert Counter(job.kept) == Counter(answers(job.prompts))
    asked = model.asked
    # A kill may come between the end of a call and its first byte in the journal.
    assert job.ended.total() <= total + kills
    assert {prompt: asked[prompt] for prompt in never_again} == never_again
    assert set(asked) == set(job.prompts)
    assert asked.total() <= total + most_repeated
