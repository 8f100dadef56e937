"""Events: their times are exact, the collector ignores them, and files give them back."""

from __future__ import annotations

import gc
import math

from hypothesis import given
from hypothesis import strategies as st

from sage.benchmark.nexmark.generator import generate
from sage.benchmark.nexmark.model import decode, encode, is_auction, is_bid, is_person

MILLISECONDS_2004_TO_2037 = st.integers(2**30 * 1_000, 2**31 * 1_000 - 20_000)


@given(MILLISECONDS_2004_TO_2037, st.integers(0, 10))
def test_whole_seconds_are_added_without_rounding(at_ms: int, seconds: int) -> None:
    """A time and a window's size make the float that the exact sum makes."""
    assert at_ms / 1_000 + seconds == (at_ms + seconds * 1_000) / 1_000


@given(MILLISECONDS_2004_TO_2037)
def test_milliseconds_stay_apart(at_ms: int) -> None:
    """Two neighbouring milliseconds are two floats, in order, and each leads back to its number."""
    assert at_ms / 1_000 < (at_ms + 1) / 1_000
    assert round(at_ms / 1_000 * 1_000) == at_ms
    assert math.floor(at_ms / 1_000) == at_ms // 1_000


def test_the_garbage_collector_ignores_events() -> None:
    """No event is tracked: a million of them in state costs a collection nothing."""
    assert not any(gc.is_tracked(event) for event in generate(100))


def test_a_file_gives_back_every_event() -> None:
    """Encoding and decoding keep kind, order and content of events."""
    events = list(generate(500, seed=5))
    assert decode(encode(events)) == events


def test_each_event_is_of_one_kind() -> None:
    """Exactly one of the three questions is answered with yes."""
    for event in generate(100):
        assert is_person(event) + is_auction(event) + is_bid(event) == 1
