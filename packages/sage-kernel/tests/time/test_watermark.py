"""Watermarks of several inputs: the slowest counts, idle and ended ones do not, none goes back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from sage.kernel.time.watermark import START_OF_TIME, InputWatermarks, happening_at

INPUTS = "abc"
WATERMARKS = st.one_of(
    st.integers(-50, 50), st.sampled_from([START_OF_TIME, -0.5, 0.0, 7.25]), st.floats(-50, 50)
)


@dataclass
class Naive:
    """What each input said last and what it is doing; the whole is worked out anew each time."""

    said: dict[str, float] = field(default_factory=lambda: dict.fromkeys(INPUTS, START_OF_TIME))
    idle: set[str] = field(default_factory=set)
    ended: set[str] = field(default_factory=set)
    low: float = START_OF_TIME

    def now(self) -> float:
        waited_for = [w for i, w in self.said.items() if i not in self.idle | self.ended]
        self.low = max(self.low, min(waited_for) if waited_for else max(self.said.values()))
        return self.low

    def tell(self, which: str, watermark: float) -> float:
        self.said[which] = max(self.said[which], watermark)
        self.idle.discard(which)
        return self.now()


def rising(values: Sequence[float], start: float) -> list[float]:
    column, highest = [], start
    for value in values:
        highest = max(highest, value)
        column.append(highest)
    return column


@given(st.data())
def test_any_sequence_gives_what_the_naive_computation_gives(data: st.DataObject) -> None:
    """Watermarks, columns, idleness and ends in any order: as computed anew, and never back."""
    watermarks, naive = InputWatermarks(INPUTS), Naive()
    before = START_OF_TIME
    for _ in range(data.draw(st.integers(0, 20))):
        which = data.draw(st.sampled_from([i for i in INPUTS if i not in naive.ended]))
        what = data.draw(st.sampled_from(["advance", "beside", "beside", "idle", "end"]))
        if what == "advance":
            watermark = data.draw(WATERMARKS)
            assert watermarks.advance(which, watermark) == naive.tell(which, watermark)
        elif what == "beside":
            values = data.draw(st.lists(WATERMARKS, max_size=5))
            column = rising(values, data.draw(st.sampled_from([START_OF_TIME, naive.said[which]])))
            assert watermarks.beside(which, column) == [naive.tell(which, w) for w in column]
        elif what == "idle":
            naive.idle.add(which)
            assert watermarks.idle(which) == naive.now()
        else:
            naive.ended.add(which)
            naive.idle.discard(which)
            assert watermarks.end(which) == naive.now()
        assert watermarks.low == naive.low >= before
        assert watermarks.all_idle == (bool(naive.idle) and naive.idle | naive.ended == set(INPUTS))
        before = watermarks.low
        if naive.ended == set(INPUTS):
            break


def test_the_slowest_active_input_counts() -> None:
    """Time has come as far as the slowest input, whichever that is at the moment."""
    watermarks = InputWatermarks("ab")
    assert watermarks.advance("a", 10) == START_OF_TIME
    assert watermarks.advance("b", 3) == 3
    assert watermarks.advance("b", 12) == 10


def test_an_idle_input_that_wakes_up_does_not_turn_time_back() -> None:
    """While it sleeps nobody waits for it; what it says later counts again, but not backwards."""
    watermarks = InputWatermarks("ab")
    watermarks.advance("b", 3)
    watermarks.advance("a", 10)
    assert watermarks.idle("b") == 10
    assert watermarks.beside("b", [4, 5]) == [10, 10]
    assert watermarks.advance("a", 20) == 10
    assert watermarks.advance("b", 15) == 15


def test_how_far_time_has_come_does_not_depend_on_who_sleeps_first() -> None:
    """With all inputs idle, time is where the furthest left it, in whatever order they went."""
    for order in ("ab", "ba"):
        watermarks = InputWatermarks("ab")
        watermarks.advance("a", 10)
        watermarks.advance("b", 3)
        for which in order:
            watermarks.idle(which)
        assert watermarks.low == 10
        assert watermarks.all_idle


def test_an_input_that_has_ended_is_not_waited_for() -> None:
    """The others say how far time is after the end of one; the last end is no idleness."""
    watermarks = InputWatermarks("ab")
    watermarks.advance("a", 10)
    assert watermarks.end("b") == 10
    assert watermarks.cap("a") == math.inf
    watermarks.end("a")
    assert watermarks.low == 10
    assert not watermarks.all_idle


def test_a_batch_without_records_says_nothing() -> None:
    """An empty column wakes nobody up."""
    watermarks = InputWatermarks("ab")
    watermarks.advance("a", 10)
    watermarks.idle("b")
    watermarks.beside("b", [])
    assert watermarks.low == 10
    assert watermarks.advance("a", 11) == 11


def test_a_column_that_needs_no_change_is_passed_on_as_it_is() -> None:
    """A single input costs nothing per record: its own column is the answer."""
    watermarks = InputWatermarks("a")
    column: list[float] = [1, 2, 2, 5]
    assert watermarks.beside("a", column) is column
    assert watermarks.low == 5


def test_a_result_without_a_time_happens_now() -> None:
    """Now is the watermark, also below zero; before anything is known it is 0."""
    assert happening_at(-5.0) == -5.0
    assert happening_at(START_OF_TIME) == 0.0
