"""Runs the contestants of a row in turn, each run in a process of its own.

In every round each contestant runs once, and each round begins with another one: whatever changes
on the machine meanwhile (other programs, heat) falls on all of them alike. A process of its own
keeps one contestant's heap, threads and imports out of another's measurement.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sage.benchmark.interpreters import Interpreter, environment, interpreter_for
from sage.benchmark.row import Contestant, Request, Role, Row, Sample

__all__ = ["Entry", "Progress", "RowResult", "measure_row"]

SLOW_S = 8.0
SLOW_ROUNDS = 3

Progress = Callable[[str, str], None]
"""Called before each run, with the stage ("W1: round 1") and what is done in it."""


@dataclass
class Entry:
    """What became of a contestant in a row.

    Attributes:
        contestant: Who.
        version: Version of the distribution it needs, if any.
        samples: One for each round that it ran.
        skipped: Why it did not take part, or None.
        failed: Why it stopped, or None.
    """

    contestant: Contestant
    version: str | None = None
    samples: list[Sample] = field(default_factory=list)
    skipped: str | None = None
    failed: str | None = None

    def figures(self, key: str) -> list[float]:
        """Return one figure of every sample that has it."""
        return [float(sample[key]) for sample in self.samples if key in sample]


@dataclass
class RowResult:
    """What was measured in a row.

    Attributes:
        row: The row.
        size: How much work it was.
        rounds: Rounds of contestants that were not slow.
        entries: In the order of the row.
    """

    row: Row
    size: int
    rounds: int
    entries: list[Entry]

    @property
    def limit(self) -> Entry | None:
        """The first contestant whose role is the limit."""
        return next((e for e in self.entries if e.contestant.role is Role.LIMIT), None)


def measure_row(
    row: Row,
    *,
    rounds: int,
    peers: bool,
    quick: bool,
    progress: Progress | None = None,
) -> RowResult:
    """Measure a row.

    Args:
        row: The row.
        rounds: How often each contestant runs; slow ones (over 8 s a run) run three times.
        peers: Whether other systems take part.
        quick: Whether to do a small part of the work, to see that everything runs.
        progress: Called before each run.
    """
    rounds = min(rounds, row.most_rounds)
    contestants = [c for c in row.contestants if peers or c.role is not Role.PEER]
    result = RowResult(
        row, row.quick_size if quick else row.size, rounds, [_entry(c) for c in contestants]
    )
    with (
        tempfile.TemporaryDirectory(prefix="sage-bench-") as scratch,
        row.surroundings(scratch) as parameters,
    ):
        for number in range(1, rounds + 1):
            for entry in _turns(result.entries, number):
                if progress is not None:
                    progress(f"{row.key}: round {number}", entry.contestant.name)
                request = _request(row, entry.contestant, result.size, number == 1, scratch)
                request["parameters"] = dict(parameters)
                _run_once(entry, request, row.timeout_s)
    if row.compares_output:
        _compare(result)
    return result


def _entry(contestant: Contestant) -> Entry:
    interpreter = interpreter_for(contestant)
    if interpreter is not None:
        return Entry(contestant, interpreter.version)
    reason = (
        f"{contestant.needs} is not installed; pip install 'isage-benchmark[peers]', "
        f"or into an environment of its own at <prefix>/peers/{contestant.needs}"
    )
    return Entry(contestant, skipped=reason)


def _turns(entries: list[Entry], number: int) -> Iterator[Entry]:
    start = (number - 1) % len(entries)
    for entry in entries[start:] + entries[:start]:
        slow = entry.samples and max(entry.figures("process_s")) > SLOW_S
        if entry.skipped or entry.failed or (slow and number > SLOW_ROUNDS):
            continue
        yield entry


def _request(row: Row, contestant: Contestant, size: int, verify: bool, scratch: str) -> Request:
    return Request(
        measure=row.measure,
        contestant=contestant.target,
        size=size,
        verify=verify,
        scratch=scratch,
        spawned_at=0.0,
        parameters={},
    )


def _run_once(entry: Entry, request: Request, timeout_s: float) -> None:
    interpreter = interpreter_for(entry.contestant)
    assert interpreter is not None
    result = Path(request["scratch"]) / "result.json"
    result.unlink(missing_ok=True)
    started = time.monotonic()
    request["spawned_at"] = started
    error = _spawn(interpreter, json.dumps(request), str(result), timeout_s)
    if not result.exists():
        entry.failed = error or "its process ended without a result"
        return
    sample: Sample = json.loads(result.read_text())
    if "skipped" in sample:
        entry.skipped = sample["skipped"]
        return
    sample["process_s"] = time.monotonic() - started
    entry.samples.append(sample)


def _spawn(interpreter: Interpreter, request: str, result: str, timeout_s: float) -> str | None:
    command = [interpreter.path, "-m", "sage.benchmark.worker", request, result]
    # To a file and not to a pipe: a peer's helper processes may outlive it and hold the pipe open.
    with tempfile.TemporaryFile() as output:
        try:
            subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment(interpreter),
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"no result after {timeout_s:.0f} s"
        output.seek(0)
        lines = output.read().decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else None


def _compare(result: RowResult) -> None:
    """Mark who produced something else than the limit."""
    limit = result.limit
    if limit is None or not limit.samples:
        return
    expected = limit.samples[0]
    for entry in result.entries:
        if not entry.samples:
            continue
        for key, got in entry.samples[0].items():
            if key.endswith("digest") and got != expected.get(key):
                entry.failed = f"its output differs from the limit's ({key} {got})"
