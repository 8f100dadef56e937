"""C1: what a checkpoint and a recovery cost, by the size of the state and where it is kept.

Every key is counted once, a first checkpoint is made of all of them, then a tenth of the keys
changes and a second checkpoint is made. The job is given up, and a new one begins with what was
written. All in one process, which is what a restart strategy does; a new process adds its start.
"""

from __future__ import annotations

import itertools
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from sage.benchmark.row import Contestant, Figure, Request, Role, Row, Sample
from sage.common.core.context import FunctionContext
from sage.common.core.functions import ProcessFunction, SourceFunction
from sage.common.core.state import ValueState

__all__ = ["ROW", "SCENARIOS", "Scenario", "measure"]

PATIENCE_S = 600.0


@dataclass(frozen=True)
class Scenario:
    """How much state, and of which kind.

    Attributes:
        keys: How many keys.
        backend: ``"fold"`` for a running count, ``"heap"`` or ``"disk"`` for a `ValueState`.
    """

    keys: int
    backend: str


class Keys(SourceFunction[int]):
    """All keys, then a tenth of them again; waits behind each part until it is let go on.

    Args:
        keys: How many keys.
    """

    gates: ClassVar[list[threading.Event]] = []
    waits: ClassVar[list[threading.Event]] = []
    read_at: ClassVar[list[float]] = []

    def __init__(self, keys: int) -> None:
        self.keys, self.next = keys, 0

    def read(self, max_records: int) -> Sequence[int] | None:
        """Return keys as numbers."""
        self.read_at.append(time.perf_counter())
        keys, start = self.keys, self.next
        last = keys + keys // 10
        for part, at in enumerate((keys, last)):
            if start == at and not self.gates[part].is_set():
                self.waits[part].set()
                self.gates[part].wait(0.001)
                return ()
        if start >= last:
            return None
        end = min(start + max_records, keys if start < keys else last)
        self.next = end
        return range(start % keys, start % keys + end - start)

    def snapshot_position(self) -> int:
        """Where it is."""
        return self.next

    def seek(self, position: int) -> None:
        """Go there."""
        self.next = position


class Counting(ProcessFunction[int, int]):
    """Counts in a `ValueState`."""

    def open(self, context: FunctionContext) -> None:
        """Take the handle."""
        self.count: Any = context.state(ValueState("count", default=0))

    def process(self, record: int, ctx: Any) -> tuple[int, ...]:
        """Count one."""
        self.count.set(self.count.get() + 1)
        return ()


def _job(scenario: Scenario, folder: str) -> Any:
    from sage.kernel import LocalEnvironment

    config = {
        "state_backend": "disk" if scenario.backend == "disk" else "heap",
        "fault_tolerance": {"checkpoint_dir": folder, "checkpoint_interval": 3600},
    }
    env = LocalEnvironment("sizes", config=config)
    keyed: Any = env.from_source(Keys, scenario.keys).key_by(lambda key: key, uid="key")
    counts = scenario.backend == "fold"
    counted = keyed.count(uid="state") if counts else keyed.process(Counting, uid="state")
    counted.sink(lambda record: None)
    return env.submit()


def measure(contestant: Scenario, request: Request) -> Sample:
    """Make a full and an incremental checkpoint, and recover.

    Args:
        contestant: How much state, and where.
        request: The size is a share of the keys, in percent.
    """
    scenario = Scenario(contestant.keys * request["size"] // 100, contestant.backend)
    with tempfile.TemporaryDirectory() as folder:
        job = _started(scenario, folder)
        sample = _checkpointed(job, "full")
        Keys.gates[0].set()
        _wait(Keys.waits[1])
        sample |= _checkpointed(job, "next")
        job.cancel()
        job.join(PATIENCE_S)
        started = time.perf_counter()
        job = _started(scenario, folder, part=1)
        sample["recovery_s"] = Keys.read_at[0] - started
        Keys.gates[1].set()
        metrics = job.wait(PATIENCE_S).metrics
    received = scenario.keys + scenario.keys // 10
    if metrics.operators[-1].received != (received if scenario.backend == "fold" else 0):
        raise ValueError(f"the counts do not add up: {metrics.operators[-1].received}")
    return sample


def _started(scenario: Scenario, folder: str, part: int = 0) -> Any:
    """Start the job and wait until it has read a part of its input."""
    Keys.gates[:] = [threading.Event(), threading.Event()]
    Keys.waits[:] = [threading.Event(), threading.Event()]
    Keys.read_at[:] = []
    job = _job(scenario, folder)
    _wait(Keys.waits[part])
    return job


def _wait(event: threading.Event) -> None:
    if not event.wait(PATIENCE_S):
        raise TimeoutError("the job does not come to the point where it is measured")


def _checkpointed(job: Any, name: str) -> Sample:
    """Make a checkpoint; return how long it took, the pause, and its size."""
    before = len(Keys.read_at)
    job.checkpoint(PATIENCE_S)
    read_at = Keys.read_at[before - 1 :]
    seen = job.metrics().checkpoints
    return {
        f"{name}_s": seen.last_duration_s,
        f"{name}_mb": seen.last_size_bytes / 1e6,
        f"{name}_pause_ms": max(b - a for a, b in itertools.pairwise(read_at)) * 1e3,
    }


FOLD_10K = Scenario(10_000, "fold")
FOLD_100K = Scenario(100_000, "fold")
FOLD_1M = Scenario(1_000_000, "fold")
FOLD_5M = Scenario(5_000_000, "fold")
HEAP_10K = Scenario(10_000, "heap")
HEAP_1M = Scenario(1_000_000, "heap")
HEAP_5M = Scenario(5_000_000, "heap")
DISK_10K = Scenario(10_000, "disk")
DISK_1M = Scenario(1_000_000, "disk")

_HERE = "sage.benchmark.workloads.checkpoint_sizes"
_NOTES = {
    "fold": "a running count: a dict",
    "heap": "a ValueState on the heap",
    "disk": "a ValueState on disk, written as a whole each time",
}


def _contestant(name: str) -> Contestant:
    scenario = globals()[name]
    return Contestant(
        name=name.lower().replace("_", " "),
        target=f"{_HERE}:{name}",
        role=Role.SAGE,
        note=_NOTES[scenario.backend],
    )


SCENARIOS = (
    "FOLD_10K",
    "FOLD_100K",
    "FOLD_1M",
    "FOLD_5M",
    "HEAP_10K",
    "HEAP_1M",
    "HEAP_5M",
    "DISK_10K",
    "DISK_1M",
)

ROW = Row(
    key="C1",
    title="a checkpoint of all keys, one of a tenth of them, and a recovery, by size and backend",
    limit="nothing: these are the costs",
    measure=f"{_HERE}:measure",
    size=100,
    quick_size=1,
    contestants=tuple(map(_contestant, SCENARIOS)),
    figures=(
        Figure(key="full_s", label="full s", digits=3),
        Figure(key="full_mb", label="full MB", digits=1),
        Figure(key="full_pause_ms", label="pause ms", digits=1),
        Figure(key="next_s", label="next s", digits=3),
        Figure(key="next_mb", label="next MB", digits=1),
        Figure(key="next_pause_ms", label="pause ms", digits=1),
        Figure(key="recovery_s", label="recovery s", digits=3),
    ),
    charted="recovery_s",
    compares_output=False,
    most_rounds=1,
)
