"""Which windows a record belongs to, exactly, and what can be no window."""

from __future__ import annotations

import math
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage.kernel import (
    AfterCount,
    AfterProcessingTime,
    AfterWatermark,
    CountWindow,
    GlobalWindow,
    SessionWindow,
    SlidingWindow,
    TumblingWindow,
    Window,
)
from sage.kernel.errors import GraphError

SECONDS = st.one_of(
    st.integers(1, 1000),
    st.floats(0.001, 1000),
    st.sampled_from([0.1, 0.3, 0.7, 1 / 3, 86400, 3600]),
)
OFFSETS = st.one_of(st.integers(-500, 500), st.floats(-500, 500))
TIMES = st.one_of(st.integers(-10_000, 10_000), st.floats(-1e6, 2e9))


@given(size_s=SECONDS, offset_s=OFFSETS, time_s=TIMES)
def test_a_record_is_in_exactly_one_tumbling_window(
    size_s: float, offset_s: float, time_s: float
) -> None:
    """The window has the record, its neighbours do not, and they meet end to start."""
    assigner = TumblingWindow(size_s, offset_s)
    [window] = assigner.windows(time_s)
    [index] = assigner.indices(time_s)
    assert time_s in window
    assert assigner.window(index - 1).end_s == window.start_s
    assert assigner.window(index + 1).start_s == window.end_s


@given(data=st.data())
def test_a_window_has_its_start_and_not_its_end(data: st.DataObject) -> None:
    """Times on a border, and the floats next to it, fall where comparing floats puts them."""
    assigner = TumblingWindow(data.draw(SECONDS), data.draw(OFFSETS))
    window = assigner.window(data.draw(st.integers(-5000, 5000)))
    assert assigner.windows(window.start_s) == [window]
    assert assigner.windows(math.nextafter(window.end_s, -math.inf)) == [window]
    assert assigner.windows(window.end_s) == [
        Window(window.end_s, assigner.windows(window.end_s)[0].end_s)
    ]


@given(data=st.data())
def test_sliding_windows_are_all_that_cover_a_record(data: st.DataObject) -> None:
    """No window that has the record is missing, also if the slide does not divide the size."""
    size_s, slide_s = data.draw(SECONDS), data.draw(SECONDS)
    if size_s / slide_s > 300:
        size_s, slide_s = slide_s, size_s
    assigner = SlidingWindow(size_s, slide_s, data.draw(OFFSETS))
    time_s = data.draw(TIMES)
    windows = assigner.windows(time_s)
    assert all(time_s in window for window in windows)
    assert windows == sorted(windows, key=lambda window: window.start_s)
    numbers = assigner.indices(time_s)
    assert time_s not in assigner.window(numbers.start - 1)
    assert time_s not in assigner.window(numbers.stop)


@given(steps=st.integers(1, 50), slide_s=SECONDS, offset_s=OFFSETS, time_s=TIMES)
def test_windows_of_whole_slides_all_have_as_many_records(
    steps: int, slide_s: float, offset_s: float, time_s: float
) -> None:
    """Where the slide divides the size, up to rounding, every record is in equally many windows."""
    assert len(SlidingWindow(slide_s * steps, slide_s, offset_s).windows(time_s)) == steps


def test_rounding_makes_neither_gap_nor_overlap() -> None:
    """0.3 is not three times 0.1 in floats, and still three windows cover each record."""
    assert [len(SlidingWindow(0.3, 0.1).windows(n / 10)) for n in range(-20, 20)] == [3] * 40


def test_a_record_between_windows_is_in_none() -> None:
    """With a slide larger than the size there are gaps."""
    assigner = SlidingWindow(2, 5)
    assert [len(assigner.windows(t)) for t in range(-5, 5)] == [1, 1, 0, 0, 0, 1, 1, 0, 0, 0]


@pytest.mark.parametrize("time_s", [1e300, -1e300, 1.7e308, 1e17 + 2])
def test_times_that_floats_cannot_tell_apart_are_refused(time_s: float) -> None:
    """A time next to which floats are further apart than windows has no window of its own."""
    for assigner in (TumblingWindow(0.1), SlidingWindow(0.3, 0.1), SessionWindow(0.1)):
        with pytest.raises(ValueError, match="is too large"):
            assigner.windows(time_s)


BAD_SECONDS: list[tuple[Any, str]] = [
    (0, "must be above 0, got 0"),
    (-1.5, "must be above 0, got -1.5"),
    (math.nan, "must be finite, got nan"),
    (math.inf, "must be finite, got inf"),
    ("60", "wants seconds, got '60'"),
    (None, "wants seconds, got None"),
    (True, "wants seconds, got True"),
    (Decimal(60), "wants seconds"),
    (timedelta(minutes=1), "wants seconds"),
]


@pytest.mark.parametrize(("value", "told"), BAD_SECONDS)
def test_sizes_that_are_none_are_refused_when_they_are_given(value: Any, told: str) -> None:
    """Zero, negative, NaN, infinite and no numbers: the message names class, argument and value."""
    for name, make in {
        "TumblingWindow: size_s": lambda: TumblingWindow(value),
        "SlidingWindow: size_s": lambda: SlidingWindow(value, 1),
        "SlidingWindow: slide_s": lambda: SlidingWindow(1, value),
        "SessionWindow: gap_s": lambda: SessionWindow(value),
        "AfterProcessingTime: delay_s": lambda: AfterProcessingTime(value),
    }.items():
        with pytest.raises(GraphError, match=f"{name} {told}"):
            make()


@pytest.mark.parametrize("value", [math.nan, math.inf, "1", None])
def test_offsets_that_are_none_are_refused(value: Any) -> None:
    """An offset may be zero or negative, but it is a finite number."""
    with pytest.raises(GraphError, match="TumblingWindow: offset_s"):
        TumblingWindow(1, value)
    with pytest.raises(GraphError, match="SlidingWindow: offset_s"):
        SlidingWindow(1, 1, value)


@pytest.mark.parametrize("value", [0, -3, 2.0, "5", True, None])
def test_counts_are_whole_numbers_of_at_least_one(value: Any) -> None:
    """Count windows and count triggers refuse anything else by name."""
    with pytest.raises(GraphError, match="CountWindow: size"):
        CountWindow(value)
    with pytest.raises(GraphError, match="AfterCount: count"):
        AfterCount(value)


def test_a_timedelta_is_told_as_seconds() -> None:
    """The hint says what to write instead."""
    with pytest.raises(GraphError) as caught:
        TumblingWindow(timedelta(minutes=1))  # type: ignore[arg-type]
    assert caught.value.hint == "size_s=60"


def test_triggers_inside_a_trigger_are_those_that_repeat() -> None:
    """A trigger by watermark cannot be early or late itself."""
    with pytest.raises(GraphError, match="early wants AfterCount or AfterProcessingTime"):
        AfterWatermark(early=AfterWatermark())  # type: ignore[arg-type]
    with pytest.raises(GraphError, match=r"late wants .* got 5"):
        AfterWatermark(late=5)  # type: ignore[arg-type]
    assert AfterWatermark(late=None) == AfterWatermark()


def test_windows_without_bounds_have_every_time() -> None:
    """The global window and windows of a number of records are not divided by time."""
    for assigner in (GlobalWindow(), CountWindow(3)):
        assert assigner.windows(5) == [Window(-math.inf, math.inf)]
        assert 5 in assigner.windows(5)[0]
