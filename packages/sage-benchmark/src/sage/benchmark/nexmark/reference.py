"""The right answers: each query as a plain batch program over the complete list of events.

Written to be obviously right, not fast, and apart from the engine in every way: no code of it is
used, there are no watermarks, and time is counted in whole milliseconds instead of the engine's
float seconds. Each function takes all events in the order in which they arrived and returns the
result as a sorted list, which is a multiset: rows that come twice are in it twice.

The docstrings are the definitions of the queries. They follow nexmark-flink's SQL, and Apache Beam
for q6, which Flink's SQL cannot express. A streaming query that improves a result step by step (q4,
q6, q18) is compared by the last row that it emitted for each key; where a docstring says nothing
about it, every row is emitted once and final.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import TypeVar

from sage.benchmark.nexmark.model import (
    Auction,
    Bid,
    Event,
    Person,
    is_auction,
    is_bid,
    is_person,
)

__all__ = [
    *("q0", "q1", "q2", "q3", "q4", "q5", "q6", "q7", "q8", "q9", "q11", "q12", "q18"),
]

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)

WINDOW_MS = 10_000
SLIDE_MS = 2_000
GAP_MS = 10_000


def q0(events: Sequence[Event]) -> list[Bid]:
    """Pass through: every bid as it is."""
    return sorted(_bids(events))


def q1(events: Sequence[Event]) -> list[tuple[int, int, float, float, str]]:
    """Convert currency: every bid as a tuple, its price in dollars times 0.908, in euros."""
    return sorted(
        (bid.auction, bid.bidder, bid.price * 0.908, bid.date_time, bid.extra)
        for bid in _bids(events)
    )


def q2(events: Sequence[Event]) -> list[tuple[int, int]]:
    """Select: ``(auction, price)`` of each bid on an auction whose id 123 divides."""
    return sorted((bid.auction, bid.price) for bid in _bids(events) if bid.auction % 123 == 0)


def q3(events: Sequence[Event]) -> list[tuple[str, str, str, int]]:
    """Suggest local items: who from OR, ID or CA sells in category 10, and in which auction.

    ``(name, city, state, auction id)`` of each pair of such a person and such an auction. A pair is
    emitted when its second half arrives, whichever that is and however long it takes.
    """
    people = {person.id: person for person in _persons(events)}
    return sorted(
        (seller.name, seller.city, seller.state, auction.id)
        for auction in _auctions(events)
        if auction.category == 10
        and (seller := people.get(auction.seller)) is not None
        and seller.state in ("OR", "ID", "CA")
    )


def q4(events: Sequence[Event]) -> list[tuple[int, float]]:
    """Average the closing prices by category.

    The closing price of an auction is the highest bid from its opening to its expiry, both times
    included; an auction without one counts for nothing. ``(category, mean)``.

    In a stream: a new mean for each auction that closes, in any order; the last one is compared.
    """
    by_category = _grouped(_winners(events), lambda sale: sale[0].category)
    return sorted(
        (category, _mean([bid.price for _, bid in sales]))
        for category, sales in by_category.items()
    )


def q5(events: Sequence[Event]) -> list[tuple[float, int, int]]:
    """Find hot items: the auctions with the most bids in the last 10 s, every 2 s.

    ``(end of the window, auction, bids)`` for each auction that no other one exceeds: ties are all
    in the result. Ends are multiples of 2 s and not part of the window; a window without bids has
    no result.
    """
    counts: defaultdict[int, Counter[int]] = defaultdict(Counter)
    for bid in _bids(events):
        newest_start = _ms(bid.date_time) // SLIDE_MS * SLIDE_MS
        for start in range(newest_start, newest_start - WINDOW_MS, -SLIDE_MS):
            counts[start + WINDOW_MS][bid.auction] += 1
    most = {end: max(window.values()) for end, window in counts.items()}
    return sorted(
        (end / 1_000, auction, count)
        for end, window in counts.items()
        for auction, count in window.items()
        if count == most[end]
    )


def q6(events: Sequence[Event]) -> list[tuple[int, float]]:
    """Average the selling price by seller, over the last ten auctions that closed.

    Closing prices are q4's; auctions close in the order of expiry, at the same time in the order of
    their ids. ``(seller, mean)``.

    In a stream: a new mean for each auction that closes, in any order; the last one is compared.
    """
    by_seller = _grouped(_winners(events), lambda sale: sale[0].seller)
    result = []
    for seller, sales in by_seller.items():
        sales.sort(key=lambda sale: (_ms(sale[0].expires), sale[0].id))
        result.append((seller, _mean([bid.price for _, bid in sales[-10:]])))
    return sorted(result)


def q7(events: Sequence[Event]) -> list[tuple[float, Bid]]:
    """Find the highest bid of each 10 s: ``(end of the window, bid)``, of equal bids all."""
    windows = _grouped(_bids(events), lambda bid: _window_end(bid.date_time))
    highest = {end: max(bid.price for bid in bids) for end, bids in windows.items()}
    return sorted(
        (end / 1_000, bid)
        for end, bids in windows.items()
        for bid in bids
        if bid.price == highest[end]
    )


def q8(events: Sequence[Event]) -> list[tuple[int, str, float]]:
    """Monitor new users: who registered and opened an auction within the same 10 s.

    ``(id, name, start of the window)``, once for each person, however many auctions it were.
    """
    sellers = {(auction.seller, _window_end(auction.date_time)) for auction in _auctions(events)}
    return sorted(
        (person.id, person.name, (end - WINDOW_MS) / 1_000)
        for person in _persons(events)
        if (person.id, (end := _window_end(person.date_time))) in sellers
    )


def q9(events: Sequence[Event]) -> list[tuple[Auction, Bid]]:
    """Find the winning bid of each auction: ``(auction, bid)``.

    It is the highest one from opening to expiry, both times included; of equal bids the earlier
    one; of equal bids at the same time that of the smaller bidder's id, then of the smaller
    ``extra``. An auction without a bid has no result. Emitted when the auction has expired.
    """
    return sorted(_winners(events))


def q11(events: Sequence[Event]) -> list[tuple[int, int, float, float]]:
    """Count the bids of each user's sessions: ``(bidder, bids, start, end)``.

    A session ends with the first pause of 10 s or more; its end is its last bid plus 10 s.
    """
    result = []
    for bidder, bids in _grouped(_bids(events), lambda bid: bid.bidder).items():
        times = sorted(_ms(bid.date_time) for bid in bids)
        session = [times[0]]
        for time in times[1:]:
            if time - session[-1] >= GAP_MS:
                result.append(_session(bidder, session))
                session = []
            session.append(time)
        result.append(_session(bidder, session))
    return sorted(result)


def q12(events: Sequence[Event], readings: Iterable[float]) -> list[tuple[int, int, float, float]]:
    """Count each user's bids in 10 s of processing time: ``(bidder, bids, start, end)``.

    Args:
        events: In the order in which they arrived.
        readings: What the clock said when each of the bids was processed, in seconds.
    """
    counts = Counter(
        (bid.bidder, _window_end(reading))
        for bid, reading in zip(_bids(events), readings, strict=False)
    )
    return sorted(
        (bidder, count, (end - WINDOW_MS) / 1_000, end / 1_000)
        for (bidder, end), count in counts.items()
    )


def q18(events: Sequence[Event]) -> list[Bid]:
    """Find the last bid of each bidder on each auction; of several at a time the last to arrive.

    In a stream: the newest bid so far, after each bid; the last one is compared.
    """
    last: dict[tuple[int, int], Bid] = {}
    for bid in sorted(_bids(events), key=lambda bid: _ms(bid.date_time)):
        last[bid.bidder, bid.auction] = bid
    return sorted(last.values())


def _winners(events: Sequence[Event]) -> list[tuple[Auction, Bid]]:
    """Return each auction that sold, with its winning bid, as q9 says."""
    auctions = {auction.id: auction for auction in _auctions(events)}
    offers: defaultdict[int, list[Bid]] = defaultdict(list)
    for bid in _bids(events):
        auction = auctions.get(bid.auction)
        if auction is not None and auction.date_time <= bid.date_time <= auction.expires:
            offers[auction.id].append(bid)
    return [
        (
            auctions[number],
            min(bids, key=lambda bid: (-bid.price, bid.date_time, bid.bidder, bid.extra)),
        )
        for number, bids in offers.items()
    ]


def _persons(events: Sequence[Event]) -> list[Person]:
    return [event for event in events if is_person(event)]


def _auctions(events: Sequence[Event]) -> list[Auction]:
    return [event for event in events if is_auction(event)]


def _bids(events: Sequence[Event]) -> list[Bid]:
    return [event for event in events if is_bid(event)]


def _grouped(records: Iterable[T], key: Callable[[T], K]) -> Mapping[K, list[T]]:
    groups: defaultdict[K, list[T]] = defaultdict(list)
    for record in records:
        groups[key(record)].append(record)
    return groups


def _ms(time_s: float) -> int:
    return round(time_s * 1_000)


def _window_end(time_s: float) -> int:
    """Return the end of the 10 s that a time is in, in milliseconds."""
    return (_ms(time_s) // WINDOW_MS + 1) * WINDOW_MS


def _session(bidder: int, times: Sequence[int]) -> tuple[int, int, float, float]:
    return bidder, len(times), times[0] / 1_000, (times[-1] + GAP_MS) / 1_000


def _mean(numbers: Sequence[int]) -> float:
    return sum(numbers) / len(numbers)
