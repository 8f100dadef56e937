"""What waits for time: groups and joins, on a clock that the test moves."""

from __future__ import annotations

from typing import TypeVar

from sage.kernel.operators.gather import Gathered, GatherOperator, LiveGather
from sage.kernel.operators.join import JoinOperator, LiveJoin
from sage.kernel.operators.operator import LiveOperator
from sage.kernel.testing import ManualClock

Live = TypeVar("Live", bound=LiveOperator)


def _timed(live: Live, clock: ManualClock) -> Live:
    live.clock = clock
    return live


def test_a_group_is_given_up_after_its_timeout() -> None:
    """An incomplete group is emitted as partial when its time is over, not before."""
    clock = ManualClock(100.0)
    live = _timed(LiveGather(GatherOperator(expected=2, timeout_s=5.0)), clock)
    assert list(live.add("a", 1)) == []
    clock.advance(4.0)
    assert list(live.add("b", 2)) == []
    assert live.due_s == 105.0
    assert list(live.on_due()) == []
    clock.advance(1.0)
    assert list(live.on_due()) == [Gathered("a", (1,), partial=True)]
    assert live.held == 1
    assert list(live.add("b", 3)) == [Gathered("b", (2, 3))]
    assert live.due_s is None
    assert list(live.finish()) == []


def test_a_late_result_begins_a_new_group() -> None:
    """What comes after its group was given up is not lost: it is emitted with the next one."""
    clock = ManualClock()
    live = _timed(LiveGather(GatherOperator(expected=2, timeout_s=1.0)), clock)
    list(live.add("a", 1))
    clock.advance(2.0)
    list(live.on_due())
    list(live.add("a", 2))
    assert list(live.finish()) == [Gathered("a", (2,), partial=True)]


def test_a_row_without_partner_comes_when_none_can_come_any_more() -> None:
    """An outer join gives the padded row at the end of its time, once, and never takes it back."""
    clock = ManualClock()
    live = _timed(LiveJoin(JoinOperator(None, "left", 10.0), []), clock)
    assert list(live.add(0, "k", "left")) == []
    clock.advance(9.0)
    assert list(live.on_due()) == []
    clock.advance(1.0)
    assert list(live.on_due()) == [("left", None)]
    assert list(live.add(1, "k", "right")) == []
    assert list(live.finish()) == []


def test_a_row_with_a_partner_is_never_padded() -> None:
    """A row that found a partner in time is not given again when its time is over."""
    clock = ManualClock()
    live = _timed(LiveJoin(JoinOperator(None, "full", 10.0), []), clock)
    list(live.add(0, "k", "left"))
    assert list(live.add(1, "k", "right")) == [("left", "right")]
    clock.advance(20.0)
    assert list(live.on_due()) == []
    assert list(live.finish()) == []


def test_a_join_refuses_to_grow_without_bound() -> None:
    """One row more than ``max_rows`` is an error; none is dropped."""
    import pytest

    live = LiveJoin(JoinOperator(None, "inner", None, max_rows=2), [])
    list(live.add(0, 1, "a"))
    list(live.add(0, 2, "b"))
    with pytest.raises(MemoryError, match="max_rows"):
        list(live.add(0, 3, "c"))
