"""Functions on keyed streams remember for each key, on the heap and on disk alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from sage.common.core.functions import MapFunction, ProcessFunction
from sage.common.core.state import MapState, StateTtl, ValueState
from sage.common.errors import StateError
from sage.kernel import LocalEnvironment
from sage.kernel.errors import JobFailedError


@pytest.fixture(params=["heap", "disk"])
def env(request: pytest.FixtureRequest, tmp_path: Path) -> LocalEnvironment:
    """An environment with each backend."""
    return LocalEnvironment(config={"state_backend": request.param, "state_dir": str(tmp_path)})


class Counted(MapFunction[str, tuple[str, int]]):
    """Says how often a word has come."""

    def open(self, context: Any) -> None:
        self.seen = context.state(ValueState("seen", default=0))

    def map(self, record: str) -> tuple[str, int]:
        return record, self.seen.update(lambda n: n + 1)


@pytest.mark.parametrize("parallelism", [1, 3])
def test_a_map_remembers_for_each_key(env: LocalEnvironment, parallelism: int) -> None:
    """Each key counts for itself, however keys are spread over subtasks."""
    words = [f"w{n * n % 37}" for n in range(2000)]
    keyed = env.from_collection(words).key_by(lambda word: word)
    counted = keyed.map(Counted, parallelism=parallelism).collect()
    assert {word: max(n for w, n in counted if w == word) for word in set(words)} == Counter(words)
    assert len(counted) == len(words)


class Remembers(ProcessFunction[tuple[str, float], tuple[float, Any, list[float]]]):
    """Looks, five seconds after each record, at what it knows of the key."""

    def open(self, context: Any) -> None:
        self.last = context.state(ValueState("last", ttl=StateTtl(10.0)))
        self.times = context.state(MapState("times", ttl=StateTtl(4.0)))

    def process(self, record: tuple[str, float], ctx: Any) -> None:
        self.last.set(record)
        self.times.put(ctx.timestamp, True)
        ctx.timers.set_event_timer(ctx.timestamp + 5)

    def on_timer(self, timestamp_s: float, ctx: Any) -> Iterable[Any]:
        return [(timestamp_s, self.last.get(), sorted(self.times.keys()))]


@pytest.mark.parametrize("others", [[], [("b", 100.0)], [("a", 1000.0)]])
def test_state_is_as_old_as_the_timer_that_looks_at_it(
    env: LocalEnvironment, others: list[tuple[str, float]]
) -> None:
    """A watermark that jumps, or the end of the input, takes no value away before its timer."""
    records = [("a", 0.0), ("a", 2.0), *others]
    timed = env.from_collection(records).assign_timestamps(lambda r: r[1])
    fired = timed.key_by(lambda r: r[0]).process(Remembers).collect()
    # At 5, what came at 0 has expired (0 + 4), what came at 2 has not.
    assert fired[:2] == [(5.0, ("a", 2.0), [2.0]), (7.0, ("a", 2.0), [])]
    assert [(time, last) for time, last, _ in fired[2:]] == [(r[1] + 5, r) for r in others]


def test_a_value_without_a_stored_form_names_operator_record_and_state(
    env: LocalEnvironment,
) -> None:
    """The record that brings such a value fails the job, and the cause says what it is."""

    class Keeps(MapFunction[int, int]):
        def open(self, context: Any) -> None:
            self.kept = context.state(ValueState("kept"))

        def map(self, record: int) -> int:
            self.kept.set(record if record < 3 else object())
            return record

    with pytest.raises(JobFailedError, match=r"'keeper' failed.* at record 3.*'kept'.*object"):
        env.from_collection(range(5)).key_by(lambda n: n).map(Keeps, name="keeper").collect()


def test_event_time_expiry_without_timestamps_fails_before_any_record(
    env: LocalEnvironment,
) -> None:
    """State that could never expire is refused when it is declared."""
    keyed = env.from_collection([("a", 0.0)]).key_by(lambda r: r[0])
    with pytest.raises(Exception, match="assign_timestamps") as caught:
        keyed.process(Remembers).collect()
    assert isinstance(caught.value, StateError) or isinstance(caught.value.__cause__, StateError)


def test_nothing_is_left_of_state_on_disk(tmp_path: Path) -> None:
    """A job that has ended, well or not, leaves no files."""
    env = LocalEnvironment(config={"state_backend": "disk", "state_dir": str(tmp_path)})
    env.from_collection(["a"]).key_by(lambda w: w).map(Counted).collect()
    assert list(tmp_path.iterdir()) == []
