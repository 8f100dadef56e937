"""Runs a job in child processes that die, and compares what was committed with the oracle.

The oracle is the same job, run at parallelism 1 without checkpoints, pauses or faults. A `Trial` is
a job and the faults of its runs, one after the other; a last run has none and must end. Invariant:
whatever the faults were, the committed records are the oracle's as a multiset, the counts of the
last run are those of the oracle, and they add up.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from fault_jobs import CHANGED, JOBS, RECORDS, Bench
from fault_sinks import committed

from sage.kernel import LocalEnvironment, SinkFunction

__all__ = ["Child", "Ended", "Fault", "Spec", "Trial", "compared", "counts_of", "oracle", "run"]

HERE = Path(__file__).parent
LONGEST_S = 40.0


@dataclass(frozen=True, kw_only=True)
class Spec:
    """What a child is told.

    Attributes:
        job: Which of `JOBS`.
        folder: Where checkpoints and output are.
        name: Of the job.
        parallelism: Of its operators.
        pause_s: Between two records of a source.
        records: How many there are.
        options: Of fault tolerance.
        engine: Of the environment.
        kill_at: The step at whose n-th time the child kills itself.
        stop_at: The same, stopping itself, until somebody lets it continue.
        stop_worker_at: The same, stopping one of its worker processes.
        raise_at: The same, where an error of the disk or the network is raised, once.
        fail_from: The step of which every time from the n-th on raises, up to and without
            ``fail_until``.
        fail_until: See there; None for ever.
        jump_at: The step at whose n-th time the clock jumps.
        jump_s: By how much.
        ahead_s: By how much the clock is wrong from the start.
        savepoint: Where a savepoint is put at the step ``savepoint_at``, whose maker then dies.
        savepoint_at: The number of the record.
        slow_until: The step that is to come before the sources end, however slow the disk is.
    """

    job: str
    folder: str
    name: str = "job"
    parallelism: int = 1
    pause_s: float = 0.001
    records: int = RECORDS
    options: dict[str, Any] = field(default_factory=dict)
    engine: dict[str, Any] = field(default_factory=dict)
    kill_at: tuple[str, int] | None = None
    stop_at: tuple[str, int] | None = None
    stop_worker_at: tuple[str, int] | None = None
    raise_at: tuple[str, int] | None = None
    fail_from: tuple[str, int] | None = None
    fail_until: int | None = None
    jump_at: tuple[str, int] | None = None
    jump_s: float = 0.0
    ahead_s: float = 0.0
    savepoint: str | None = None
    savepoint_at: int = 100
    slow_until: tuple[str, int] | None = None

    @classmethod
    def from_json(cls, text: str) -> Spec:
        """Read what `to_json` gave."""
        values = json.loads(text)
        for name, value in values.items():
            if isinstance(value, list):
                values[name] = tuple(value)
        return cls(**values)

    def to_json(self) -> str:
        """Return it as an argument of a child."""
        return json.dumps(asdict(self))


@dataclass(frozen=True)
class Fault:
    """How a run is disturbed.

    Attributes:
        kill_at: The step at whose n-th time the process kills itself.
        kill_after_s: The process is killed so long after it began to run.
        change: What else is different in its spec.
        is_sure: Whether the step is certain to come, if the sources wait for it.
    """

    kill_at: tuple[str, int] | None = None
    kill_after_s: float | None = None
    change: tuple[tuple[str, Any], ...] = ()
    is_sure: bool = True

    @classmethod
    def of(cls, **change: Any) -> Fault:
        """Return a fault that is described in the spec alone."""
        return cls(change=tuple(change.items()))

    def of_spec(self, spec: Spec) -> Spec:
        """Return a spec with this fault; options are added to those that are there."""
        change = dict(self.change)
        options = {**spec.options, **change.pop("options", {})}
        steps = [self.kill_at, *(change.get(name) for name in ("stop_at", "raise_at", "fail_from"))]
        awaited = next((step for step in steps if step is not None and self.is_sure), None)
        return replace(spec, kill_at=self.kill_at, slow_until=awaited, options=options, **change)

    def __str__(self) -> str:
        said = [
            str(value) if name != "raise_at" else f"{value[0]}#{value[1]} raises"
            for name, value in self.change
        ]
        if self.kill_at is not None:
            said.append(f"{self.kill_at[0]}#{self.kill_at[1]}")
        if self.kill_after_s is not None:
            said.append(f"{self.kill_after_s:.3f}s")
        return ",".join(said)


@dataclass(frozen=True)
class Ended:
    """How a child ended.

    Attributes:
        code: Its exit code; negative for a signal.
        said: The last line that it printed, as JSON; empty if it was killed.
        log: What it logged.
    """

    code: int
    said: dict[str, Any]
    log: str

    @property
    def was_killed(self) -> bool:
        return self.code == -signal.SIGKILL


class Child:
    """A run of a job in a process of its own.

    Args:
        spec: What it is to do.
    """

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        path = os.pathsep.join(filter(None, (str(HERE), os.environ.get("PYTHONPATH"))))
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "fault_child.py"), spec.to_json()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,
        )
        self.pid = self._process.pid
        self._log: list[str] = []
        assert self._process.stderr is not None
        self._reader = threading.Thread(target=self._log.extend, args=(self._process.stderr,))
        self._reader.start()

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)  # its workers as well
        self._process.wait()
        self._reader.join()
        for pipe in (self._process.stdout, self._process.stderr):
            assert pipe is not None
            pipe.close()

    def has_started(self) -> bool:
        """Wait until it is about to run; say whether it came so far."""
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip() == "started"

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def has_stopped(self) -> None:
        """Wait until it has been stopped by SIGSTOP."""
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WNOWAIT)

    def ended(self) -> Ended:
        """Wait for its end."""
        assert self._process.stdout is not None
        try:
            self._process.wait(LONGEST_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._reader.join(LONGEST_S)
        lines = self._process.stdout.read().splitlines()
        last = lines[-1] if lines else ""
        said = json.loads(last) if last.startswith("{") else {}
        return Ended(self._process.returncode, said, "".join(self._log))


def run(spec: Spec, fault: Fault = Fault()) -> Ended:
    """Run a job once, with a fault."""
    with Child(fault.of_spec(spec)) as child:
        if child.has_started() and fault.kill_after_s is not None:
            time.sleep(fault.kill_after_s)  # a moment that nothing in the child knows of
            child.signal(signal.SIGKILL)
        return child.ended()


@dataclass(frozen=True)
class Trial:
    """A job whose runs are disturbed one after the other, and then no more.

    Attributes:
        job: Which of `JOBS`.
        faults: One for each run.
        parallelism: Of the job.
        seed: What it was drawn with.
        engine: Options of the environment.
        options: Options of fault tolerance.
    """

    job: str
    faults: tuple[Fault, ...] = ()
    parallelism: int = 1
    seed: int | None = None
    engine: tuple[tuple[str, Any], ...] = ()
    options: tuple[tuple[str, Any], ...] = ()

    def __str__(self) -> str:
        seed = f"seed{self.seed}-" if self.seed is not None else ""
        faults = "+".join(map(str, self.faults))
        more = "".join(f"-{value}" for _, value in (*self.engine, *self.options))
        return f"{seed}{self.job}-p{self.parallelism}{more}-{faults or 'none'}"

    def spec(self, folder: Path) -> Spec:
        return Spec(
            job=self.job,
            folder=str(folder),
            parallelism=self.parallelism,
            engine=dict(self.engine),
            options=dict(self.options),
        )

    def run(self, folder: Path) -> list[Ended]:
        """Run it with its faults, then without, and compare with the oracle.

        Raises:
            AssertionError: if something was lost, doubled or counted wrongly, or did not end.
        """
        spec = self.spec(folder)
        runs = [run(spec, fault) for fault in self.faults]
        runs.append(run(spec))
        problems = [
            f"run {number} ended with {each.code}, {each.said.get('told')}"
            for number, each in enumerate(runs)
            if each.code != 0 and not (each.was_killed and number < len(self.faults))
        ]
        problems += compared(folder, self.job, spec.records, runs[-1])
        if problems:
            logs = "\n".join(f"--- run {n}\n{each.log}" for n, each in enumerate(runs))
            told = "\n".join(problems)
            raise AssertionError(f"{self} (seed {self.seed}):\n{told}\n{logs[-20_000:]}")
        return runs


def compared(
    folder: Path, job: str, records: int, last: Ended, *, may_leave: bool = False
) -> list[str]:
    """Return what differs from the oracle in a job that has ended.

    Args:
        folder: Where it was.
        job: Which.
        records: Of its sources.
        last: How its last run ended.
        may_leave: Whether there may be pending files of somebody else.
    """
    wanted, counts = oracle(job, records)
    there = committed(folder / "out")
    lost, doubled = Counter(wanted) - Counter(there), Counter(there) - Counter(wanted)
    problems = [] if last.said.get("status") == "finished" else ["it has not finished"]
    if lost:
        problems.append(f"{lost.total()} records are lost: {_few(lost)}")
    if doubled:
        problems.append(f"{doubled.total()} records are too many: {_few(doubled)}")
    left = [path.name for path in folder.glob("out/*/pending-*")]
    if left and not may_leave:
        problems.append(f"epochs were neither committed nor aborted: {left[:4]}")
    said = last.said.get("counts", {})
    problems += [
        f"{name} counted {said.get(name)}, and {wants} without faults"
        for name, wants in counts.items()
        if said.get(name) != wants and job not in COUNTS_BY_CHANCE
    ]
    return problems


COUNTS_BY_CHANCE = {
    *("main_and_late", "loop_with_state", "broadcast"),
    *("flushed_by_timers", "flushed_by_triggers", "silent_input"),
}


def _few(lines: Counter[str]) -> list[str]:
    return sorted(lines)[:5]


def counts_of(metrics: Any) -> dict[str, list[int]]:
    """Return of each operator what it received and sent, and what became of the rest."""
    return {
        each.name: [each.received, each.sent, each.late, each.dead_lettered, each.skipped]
        for each in metrics.operators
    }


class _Noting(SinkFunction[Any]):
    """Notes what is written, for all its copies."""

    def __init__(self, name: str, lines: list[str]) -> None:
        self._name, self._lines = name, lines

    def __deepcopy__(self, memo: object) -> _Noting:
        return self

    def write(self, record: Any) -> None:
        self._lines.append(f"{self._name}: {record!r}")


@functools.cache
def oracle(job: str, records: int = RECORDS) -> tuple[list[str], dict[str, list[int]]]:
    """Return what a job writes, sorted, and what it counts, when nothing goes wrong."""
    lines: list[str] = []
    env = LocalEnvironment(job)
    (JOBS | CHANGED)[job](Bench(env, lambda name: _Noting(name, lines), records=records))
    result = env.execute()
    return sorted(lines), counts_of(result.metrics)
