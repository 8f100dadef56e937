"""Timers come out once, in the order of time, and equal times in the order of setting."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sage.kernel.errors import TimestampError
from sage.kernel.time.timer import Timer, TimerQueue


def test_timers_of_one_time_come_out_as_they_were_set() -> None:
    """Time decides, then the order of setting; keys are never compared."""
    timers = TimerQueue()
    for key in ("b", 1, ("a",), "a", 0):
        timers.set(key, 5)
    timers.set("late", 6.0)
    timers.set("early", -1.0)
    assert [t.key for t in timers.pop_due(5.0)] == ["early", "b", 1, ("a",), "a", 0]
    assert len(timers) == 1


def test_setting_twice_is_setting_once() -> None:
    """A key has one timer for each time, with the place of the first setting."""
    timers = TimerQueue()
    timers.set("a", 1.0)
    timers.set("b", 1.0)
    timers.set("a", 1)
    assert list(timers.pop_due(1.0)) == [Timer("a", 1.0), Timer("b", 1.0)]
    assert list(timers.pop_due(1.0)) == []


def test_a_timer_that_was_deleted_and_set_again_comes_out_once() -> None:
    """Deleting frees key and time; setting anew puts the timer behind its equals."""
    timers = TimerQueue()
    timers.set("a", 1.0)
    timers.set("b", 1.0)
    timers.delete("a", 1.0)
    timers.delete("never", 1.0)
    timers.set("a", 1.0)
    assert [t.key for t in timers.pop_due(2.0)] == ["b", "a"]


def test_the_next_time_is_never_that_of_a_deleted_timer() -> None:
    """A deleted timer wakes nobody."""
    timers = TimerQueue()
    timers.set("a", 1.0)
    timers.set("b", 2.0)
    timers.delete("a", 1.0)
    assert timers.due_s == 2.0
    timers.delete("b", 2.0)
    assert timers.due_s is None


def test_a_timer_set_while_firing_fires_in_the_same_round_if_its_time_has_come() -> None:
    """A chain of timers up to the time that has come is gone through in one round."""
    timers = TimerQueue()
    timers.set("a", 1.0)
    fired = []
    for timer in timers.pop_due(4.0):
        fired.append(timer.timestamp_s)
        timers.set("a", timer.timestamp_s + 1)
        timers.set("b", timer.timestamp_s + 1)
        timers.delete("b", timer.timestamp_s + 1)
    assert fired == [1.0, 2.0, 3.0, 4.0]
    assert timers.due_s == 5.0


def test_all_timers_of_a_key_can_be_deleted() -> None:
    """Only the timers of that key go."""
    timers = TimerQueue()
    for when in (1.0, 2.0, 3.0):
        timers.set("a", when)
        timers.set("b", when)
    timers.delete_all("a")
    assert {t.key for t in timers.pop_due(9.0)} == {"b"}


def test_deleted_timers_do_not_pile_up() -> None:
    """Setting and deleting over and over, as sessions do, needs memory for what waits only."""
    timers = TimerQueue()
    timers.set("first", 0.0)
    for when in range(1, 10_000):
        timers.set("a", when)
        timers.delete("a", when - 1)
    assert len(timers) == 2
    assert len(timers._heap) <= 65


@pytest.mark.parametrize("when", [None, float("nan"), float("inf"), -float("inf"), "1", True])
def test_a_time_that_is_none_is_refused(when: Any) -> None:
    """A timer needs a finite number of seconds."""
    with pytest.raises(TimestampError):
        TimerQueue().set("a", when)


KEYS, TIMES = st.sampled_from("abc"), st.integers(-3, 6) | st.sampled_from([0.5, 2.0, -0.0])
CALLS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), KEYS, TIMES),
        st.tuples(st.just("delete"), KEYS, TIMES),
        st.tuples(st.just("pop"), st.none(), TIMES),
        st.tuples(st.just("restore"), st.none(), st.none()),
    ),
    max_size=40,
)


@settings(max_examples=200, deadline=None)
@given(CALLS)
def test_any_calls_are_those_of_a_sorted_list(calls: list[tuple[str, Any, Any]]) -> None:
    """Random calls, with snapshots restored in between, answer as a list that is sorted would."""
    timers, waiting = TimerQueue(), list[Timer]()
    for call, key, when in calls:
        if call == "set":
            timers.set(key, when)
            if (key, when) not in waiting:
                waiting.append(Timer(key, when))
        elif call == "delete":
            timers.delete(key, when)
            waiting = [timer for timer in waiting if timer != (key, when)]
        elif call == "pop":
            due = sorted((t for t in waiting if t.timestamp_s <= when), key=lambda t: t.timestamp_s)
            assert list(timers.pop_due(when)) == due
            waiting = [timer for timer in waiting if timer not in due]
        else:
            snapshot = timers.snapshot()
            timers = TimerQueue()
            timers.restore(snapshot)
            assert timers.snapshot() == snapshot
        assert timers.due_s == min((t.timestamp_s for t in waiting), default=None)
        assert len(timers) == len(waiting)
