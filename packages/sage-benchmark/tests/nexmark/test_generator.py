"""The stream: it is the seed's, has the published proportions, and is late only as far as said."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sage.benchmark.nexmark.generator import FIRST_AUCTION, FIRST_PERSON, Traffic, generate
from sage.benchmark.nexmark.model import Event, encode, is_auction, is_bid, is_person

HOLDBACK_S = 4.0


def _lags(events: Sequence[Event]) -> list[float]:
    """How far behind the newest time before it each event came."""
    newest, lags = events[0].date_time, []
    for event in events:
        lags.append(newest - event.date_time)
        newest = max(newest, event.date_time)
    return lags


def test_a_seed_gives_these_very_events() -> None:
    """The stream of a seed is the same in each run and each version of Python."""
    assert zlib.crc32(encode(list(generate(5_000, seed=42)))) == 123646150
    assert list(generate(100, seed=1)) != list(generate(100, seed=2))


def test_a_longer_stream_happens_no_other_way() -> None:
    """Asking for more events changes none that happened before; only the last may arrive later."""
    short, long = list(generate(2_000)), list(generate(20_000))
    assert set(short) <= set(long)


def test_of_fifty_events_three_are_auctions_and_one_is_a_person() -> None:
    """The published proportions hold exactly."""
    kinds = Counter(type(event).__name__ for event in generate(5_000))
    assert kinds == {"Person": 100, "Auction": 300, "Bid": 4_600}


def test_ids_are_given_once_and_without_gaps() -> None:
    """Persons and auctions are numbered from 1,000 on, in the order in which they happen."""
    events = sorted(generate(5_000), key=lambda event: event.date_time)
    assert [e.id for e in events if is_person(e)] == list(range(FIRST_PERSON, FIRST_PERSON + 100))
    assert [e.id for e in events if is_auction(e)] == list(
        range(FIRST_AUCTION, FIRST_AUCTION + 300)
    )


def test_half_of_the_bids_go_to_hot_auctions() -> None:
    """Hot auctions, bidders and sellers get the published share of the traffic."""
    events = list(generate(50_000))
    bids = [event for event in events if is_bid(event)]
    auctions = [event for event in events if is_auction(event)]
    assert sum(bid.auction % 100 == 0 for bid in bids) / len(bids) == pytest.approx(0.5, abs=0.02)
    assert sum(bid.bidder % 100 == 1 for bid in bids) / len(bids) == pytest.approx(0.75, abs=0.02)
    hot_sellers = sum(auction.seller % 100 == 0 for auction in auctions)
    assert hot_sellers / len(auctions) == pytest.approx(0.75, abs=0.03)


def test_as_many_auctions_are_open_as_asked_for() -> None:
    """The mean length of an auction is the time in which so many others open."""
    auctions = [event for event in generate(50_000) if is_auction(event)]
    mean_s = sum(auction.expires - auction.date_time for auction in auctions) / len(auctions)
    assert mean_s == pytest.approx(100 / 60, rel=0.05)
    assert all(auction.expires > auction.date_time for auction in auctions)


@given(st.integers(0, 2**32), st.sampled_from([100, 1_000, 10_000]))
@settings(max_examples=10, deadline=None)
def test_a_watermark_four_seconds_behind_loses_nothing(seed: int, events_per_s: int) -> None:
    """Events come out of order, by more than two seconds and by less than what is held back."""
    traffic = Traffic(events_per_s=events_per_s)
    lags = _lags(list(generate(10 * events_per_s, seed=seed, traffic=traffic)))
    assert 2 < max(lags) < HOLDBACK_S


def test_late_events_are_late() -> None:
    """The asked-for share comes more than ten seconds behind; nothing comes in between."""
    traffic = Traffic(late_share=0.05, late_by_s=10)
    lags = _lags(list(generate(100_000, traffic=traffic)))
    late = [lag for lag in lags if lag >= HOLDBACK_S]
    assert len(late) / len(lags) == pytest.approx(0.05, abs=0.01)
    # Those that the end of the stream cuts short come earlier; nothing happens any more by then.
    assert sum(lag < 9.9 for lag in late) < 0.1 * len(late)
    assert max(late) <= 20.1


def test_nothing_is_out_of_order_when_nothing_is_delayed() -> None:
    """Without delays the events arrive as they happen."""
    assert max(_lags(list(generate(5_000, traffic=Traffic(delayed_share=0))))) <= 0


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"delayed_share": 0.7, "late_share": 0.4}, "delayed_share and late_share"),
        ({"late_share": -0.1}, "delayed_share and late_share"),
        ({"max_delay_s": 10.0, "late_by_s": 10.0}, "max_delay_s < late_by_s"),
        ({"events_per_s": 0}, "events_per_s is at least 1, got 0"),
        ({"hot_seller_ratio": 0}, "hot_seller_ratio is at least 1"),
        ({"active_people": 0}, "active_people is at least 1"),
    ],
)
def test_traffic_that_cannot_be_is_refused(wrong: dict[str, float], message: str) -> None:
    """A setting out of its range is an error that says what was expected."""
    with pytest.raises(ValueError, match=message):
        Traffic(**wrong)  # type: ignore[arg-type]
