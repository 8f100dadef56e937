"""W6: a checkpoint each second, on W2 for half a minute and more.

Words come in a Zipf distribution and each is followed by its running count, as in W2, but from a
source that goes round a list of them, behind every key once, so that all keys are in the state from
the start. The limit is the same job without checkpoints. A pause is the longest time between two
reads of the source within one second; its p99 over all seconds is what a user would notice.
"""

from __future__ import annotations

import gc
import itertools
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any, overload

from sage.benchmark.row import Contestant, Figure, Request, Role, Row, Sample, Target
from sage.benchmark.statistics import percentile

__all__ = [
    "LARGE_ROW",
    "SMALL_ROW",
    "Round",
    "measure_large",
    "measure_small",
    "pauses",
    "with_checkpoints",
    "without_checkpoints",
]

INTERVAL_S = 1.0
ROUND = 1_600_000
EXPONENT = 1.0
SEED = 20

Config = Callable[[str], dict[str, Any]]


class Round(Sequence[str]):
    """All keys once, and then the same words again and again; remembers when it was read.

    Args:
        keys: How many keys.
        length: How many words in all.
    """

    def __init__(self, keys: int, length: int) -> None:
        chooser = random.Random(SEED)
        self._first = [f"word{number:07d}" for number in range(keys)]
        weights = list(itertools.accumulate((n + 1) ** -EXPONENT for n in range(keys)))
        self._round = chooser.choices(self._first, cum_weights=weights, k=min(ROUND, length))
        self._length = length
        self.read_at: list[float] = []

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        """Return some words; what is read goes over an end of the list only if it has to."""
        if isinstance(index, int):
            return self[index : index + 1][0]
        self.read_at.append(time.perf_counter())
        words, start = self._first, index.start
        if start >= len(words):
            start = (start - len(words)) % len(self._round)
            words = self._round
        part = words[start : start + index.stop - index.start]
        missing = index.stop - index.start - len(part)
        return part + self._round[:missing] if missing else part


def pauses(read_at: Sequence[float]) -> list[float]:
    """Return the longest time between two reads in each second, the first second left out."""
    longest: dict[int, float] = {}
    for before, after in itertools.pairwise(read_at):
        second = int(after - read_at[0])
        longest[second] = max(longest.get(second, 0.0), after - before)
    longest.pop(0, None)
    return list(longest.values()) or [0.0]


def without_checkpoints(folder: str) -> dict[str, Any]:
    """The limit."""
    return {}


def with_checkpoints(folder: str) -> dict[str, Any]:
    """One each second, exactly once."""
    options = {"checkpoint_dir": folder, "checkpoint_interval": INTERVAL_S}
    return {"fault_tolerance": options}


def measure_small(contestant: Config, request: Request) -> Sample:
    """Run with 50,000 keys."""
    return _measured(contestant, 50_000, request["size"])


def measure_large(contestant: Config, request: Request) -> Sample:
    """Run with a million keys."""
    return _measured(contestant, 1_000_000, request["size"])


def _measured(contestant: Config, keys: int, size: int) -> Sample:
    from sage.kernel import LocalEnvironment

    words = Round(keys, size)
    with tempfile.TemporaryDirectory() as folder:
        env = LocalEnvironment("words", config=contestant(folder))
        counted: Any = env.from_collection(words).key_by(lambda word: word).count()
        counted.sink(lambda record: None)
        gc.collect()
        cpu, started = time.process_time(), time.perf_counter()
        metrics = env.execute().metrics
        elapsed = time.perf_counter() - started
        cpu = time.process_time() - cpu
    if metrics.operators[-1].received != size:
        raise ValueError(f"{metrics.operators[-1].received} records of {size} came out")
    seen = metrics.checkpoints
    longest = pauses(words.read_at)
    return {
        "elapsed_s": elapsed,
        "m_records_per_s": size / elapsed / 1e6,
        "cpu_ns": cpu / size * 1e9,
        "p99_pause_ms": percentile(longest, 0.99) * 1e3,
        "median_pause_ms": percentile(longest, 0.5) * 1e3,
        "checkpoints": seen.completed if seen is not None else 0,
    }


_HERE = "sage.benchmark.workloads.w6_checkpoints"


def _row(key: str, keys: str, measure: Callable[..., Sample]) -> Row:
    return Row(
        key=key,
        title=f"a checkpoint each second, running counts of {keys} keys, 120 M words",
        limit="the same job without checkpoints",
        measure=f"{_HERE}:{measure.__name__}",
        size=120_000_000,
        quick_size=2_000_000,
        contestants=(
            Contestant(
                name="SAGE, no checkpoints",
                target=f"{_HERE}:without_checkpoints",
                role=Role.LIMIT,
                note="a pause is what the machine, the collector and other programs make",
            ),
            Contestant(
                name="SAGE",
                target=f"{_HERE}:with_checkpoints",
                role=Role.SAGE,
                judged=True,
                note="exactly once; what changed since the checkpoint before is written",
            ),
        ),
        figures=(
            Figure(key="m_records_per_s", label="M words/s", digits=2),
            Figure(key="cpu_ns", label="CPU ns/word", digits=0),
            Figure(key="p99_pause_ms", label="p99 pause ms", digits=1),
            Figure(key="median_pause_ms", label="median pause ms", digits=1),
            Figure(key="checkpoints", label="checkpoints", digits=0),
        ),
        targets=(
            Target(figure="ratio", must=0.90, aim=0.97),
            Target(figure="p99_pause_ms", must=50, aim=20, at_most=True),
        ),
        compares_output=False,
        most_rounds=5,
    )


SMALL_ROW = _row("W6a", "50 k", measure_small)
LARGE_ROW = _row("W6b", "1 M", measure_large)
