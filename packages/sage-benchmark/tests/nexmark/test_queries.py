"""The queries on SAGE give what the batch programs give."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cache

import msgspec
import pytest

from sage.benchmark.nexmark import queries
from sage.benchmark.nexmark.catalog import QUERIES
from sage.benchmark.nexmark.generator import Traffic, generate
from sage.benchmark.nexmark.model import Auction, Bid, Event, is_bid
from sage.benchmark.nexmark.verification import compare, run
from sage.kernel import LocalEnvironment, TumblingWindow

# 100 s of event time: ten tumbling windows, fifty sliding ones, and sessions that close.
SLOW = Traffic(events_per_s=200)


@cache
def _events(seed: int) -> Sequence[Event]:
    return tuple(generate(20_000, seed=seed, traffic=SLOW))


@cache
def _ties() -> Sequence[Event]:
    """Few bids on auctions that are all alike, with one of ten prices, at full half seconds."""
    traffic = Traffic(events_per_s=20, hot_auction_ratio=1)
    return tuple(map(_coarse, generate(5_000, seed=5, traffic=traffic)))


def _coarse(event: Event) -> Event:
    if not is_bid(event):
        return event
    return msgspec.structs.replace(
        event, price=event.price // 10_000_000, date_time=event.date_time * 2 // 1 / 2
    )


@pytest.mark.parametrize(("seed", "parallelism"), [(1, 1), (2, 1), (3, 2), (4, 2)])
@pytest.mark.parametrize("name", [name for name in QUERIES if name != "q12"])
def test_a_query_equals_its_reference(name: str, seed: int, parallelism: int) -> None:
    """On events out of order, in one subtask and in two, exactly the rows of the batch program."""
    query, events = QUERIES[name], _events(seed)
    difference = compare(query, events, run(query, events, parallelism=parallelism))
    assert not difference, str(difference)


@pytest.mark.parametrize("seed", [1, 2])
def test_processing_time_windows_follow_the_clock(seed: int) -> None:
    """With a clock driven by hand, processing-time windows hold what the clock says."""
    query, events = QUERIES["q12"], _events(seed)
    difference = compare(query, events, run(query, events))
    assert not difference, str(difference)


def test_processing_time_windows_lose_nothing_behind_an_exchange() -> None:
    """In two subtasks the windows depend on when threads run; the bids in them do not."""
    emitted = run(QUERIES["q12"], _events(1), parallelism=2)
    counted: Counter[int] = Counter()
    for bidder, bids, start, end in emitted:
        assert end - start == 10
        counted[bidder] += bids
    assert counted == Counter(event.bidder for event in _events(1) if is_bid(event))


@pytest.mark.parametrize("parallelism", [1, 2])
@pytest.mark.parametrize("name", ["q5", "q7", "q9"])
def test_ties_are_as_the_queries_say(name: str, parallelism: int) -> None:
    """All the hottest items and highest bids are there; of equal winning bids the earlier one."""
    emitted = run(QUERIES[name], _ties(), parallelism=parallelism)
    difference = compare(QUERIES[name], _ties(), emitted)
    assert not difference, str(difference)
    if name != "q9":
        assert max(Counter(end for end, *_ in emitted).values()) > 1


@pytest.mark.parametrize("parallelism", [1, 2])
def test_a_pause_as_long_as_the_gap_ends_a_session(parallelism: int) -> None:
    """Bids at full half seconds often come exactly ten seconds apart: q11 keeps them apart."""
    difference = compare(
        QUERIES["q11"], _ties(), run(QUERIES["q11"], _ties(), parallelism=parallelism)
    )
    assert not difference, str(difference)
    ends = {(bidder, end) for bidder, _, _, end in QUERIES["q11"].expected(_ties())}
    starts = {(bidder, start) for bidder, _, start, _ in QUERIES["q11"].expected(_ties())}
    assert ends & starts


def test_of_bids_at_one_time_the_last_to_arrive_is_the_last() -> None:
    """In one subtask, where order of arrival is known, q18 breaks ties by it."""
    difference = compare(QUERIES["q18"], _ties(), run(QUERIES["q18"], _ties()))
    assert not difference, str(difference)


def test_a_bid_at_the_last_instant_counts_when_the_watermark_is_there_already() -> None:
    """q9 waits until nothing of an auction's last instant can come, not just until that instant."""
    start = float(SLOW.start_s)
    auction = Auction(1_000, "", "", 1, 1, start, start + 1, 1, 10, "")
    low, high = (Bid(1_000, 1, price, start + 1, "") for price in (5, 7))
    other = Bid(1_001, 1, 1, auction.expires + queries.HOLDBACK_S, "")
    assert run(QUERIES["q9"], [auction, low, other, high]) == [(auction, high)]


def test_late_bids_go_aside_and_nowhere_else() -> None:
    """Each bid is counted in its window or given to ``late``, and windows hold only the former."""
    traffic = Traffic(events_per_s=200, late_share=0.02)
    events = tuple(generate(20_000, seed=6, traffic=traffic))
    env = LocalEnvironment()
    counts = (
        queries.q0(queries.timestamped(env.from_collection(events)))
        .key_by(lambda bid: bid.auction)
        .window(TumblingWindow(10))
        .count(emit=lambda auction, window, bids: (window.end_s, auction, bids))
    )
    emitted: list[tuple[float, int, int]] = []
    late: list[Bid] = []
    counts.sink(emitted.append)
    counts.side_output("late").sink(late.append)
    env.execute()
    bids = Counter(event for event in events if is_bid(event))
    assert 0.005 < len(late) / bids.total() < 0.02
    in_time = (bids - Counter(late)).elements()
    expected = Counter((bid.date_time // 10 * 10 + 10, bid.auction) for bid in in_time)
    assert Counter({(end, auction): count for end, auction, count in emitted}) == expected
