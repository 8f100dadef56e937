"""The queries on SAGE's API, one function each: the stream of events in, the stream of results out.

What they mean is said once, in `sage.benchmark.nexmark.reference`. The events have timestamps and a
watermark four seconds behind them (`timestamped`); every query works at any parallelism.
"""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Iterable
from typing import Any, TypeAlias, cast

from sage.benchmark.nexmark.model import (
    Auction,
    Bid,
    Event,
    Person,
    is_auction,
    is_bid,
    is_person,
)
from sage.common.core.state import ListState, StateTtl, ValueState
from sage.kernel import (
    AggregateFunction,
    DataStream,
    ProcessFunction,
    SessionWindow,
    SlidingWindow,
    TumblingWindow,
)

__all__ = [
    "HOLDBACK_S",
    "timestamped",
    *("q0", "q1", "q2", "q3", "q4", "q5", "q6", "q7", "q8", "q9", "q11", "q12", "q18"),
]

HOLDBACK_S = 4.0
"""How far the watermark stays behind the newest event."""

Sale: TypeAlias = tuple[Auction, Bid]
"""An auction and the bid that won it."""


def timestamped(events: DataStream[Event]) -> DataStream[Event]:
    """Give each event its time, and the stream its watermark."""
    return events.assign_timestamps(lambda e: e.date_time, max_out_of_orderness_s=HOLDBACK_S)


def q0(events: DataStream[Event]) -> DataStream[Bid]:
    """Pass through."""
    return _bids(events)


def q1(events: DataStream[Event]) -> DataStream[tuple[int, int, float, float, str]]:
    """Convert currency."""
    return _bids(events).map(lambda b: (b.auction, b.bidder, b.price * 0.908, b.date_time, b.extra))


def q2(events: DataStream[Event]) -> DataStream[tuple[int, int]]:
    """Select."""
    return (
        _bids(events)
        .filter(lambda bid: bid.auction % 123 == 0)
        .map(lambda bid: (bid.auction, bid.price))
    )


def q3(events: DataStream[Event]) -> DataStream[tuple[str, str, str, int]]:
    """Suggest local items: a join that waits for either side for ever."""
    sellers = _persons(events).filter(lambda person: person.state in ("OR", "ID", "CA"))
    items = _auctions(events).filter(lambda auction: auction.category == 10)
    return sellers.key_by(lambda person: person.id).join(
        items.key_by(lambda auction: auction.seller),
        lambda person, auction: (person.name, person.city, person.state, auction.id),
    )


def q4(events: DataStream[Event]) -> DataStream[tuple[int, float]]:
    """Average the closing prices by category: a running mean over what `WinningBids` finds."""
    return _sales(events).key_by(lambda sale: sale[0].category).aggregate(MeanPrice)


def q5(events: DataStream[Event]) -> DataStream[tuple[float, int, int]]:
    """Find hot items: count in sliding windows by auction, then compare the counts of a window.

    A count has the time just before the end of its window, so that windows as long as the slide
    bring together the counts of one sliding window and of no other.
    """
    return (
        _bids(events)
        .key_by(lambda bid: bid.auction)
        .window(SlidingWindow(10.0, 2.0))
        .count(emit=lambda auction, window, bids: (window.end_s, auction, bids))
        .window(TumblingWindow(2.0))
        .apply(_most_bids)
    )


def q6(events: DataStream[Event]) -> DataStream[tuple[int, float]]:
    """Average the selling price by seller, over the last ten auctions that closed."""
    return _sales(events).key_by(lambda sale: sale[0].seller).aggregate(MeanOfLastTen)


def q7(events: DataStream[Event]) -> DataStream[tuple[float, Bid]]:
    """Find the highest bid of each 10 s."""
    return (
        _bids(events)
        .window(TumblingWindow(10.0))
        .aggregate(
            HighestBids, emit=lambda _key, window, bids: [(window.end_s, bid) for bid in bids]
        )
        .flat_map(lambda rows: rows)
    )


def q8(events: DataStream[Event]) -> DataStream[tuple[int, str, float]]:
    """Monitor new users: a window join, and of its pairs one for each person."""
    return (
        _persons(events)
        .key_by(lambda person: person.id)
        .window_join(
            _auctions(events).key_by(lambda auction: auction.seller),
            TumblingWindow(10.0),
            lambda person, _auction: (person.id, person.name, person.date_time // 10 * 10),
        )
        .key_by(lambda row: row[0])
        .deduplicate(within_s=10.0)
    )


def q9(events: DataStream[Event]) -> DataStream[Sale]:
    """Find the winning bid of each auction."""
    return _sales(events)


def q11(events: DataStream[Event]) -> DataStream[tuple[int, int, float, float]]:
    """Count the bids of each user's sessions."""
    return (
        _bids(events)
        .key_by(lambda bid: bid.bidder)
        .window(SessionWindow(10.0))
        .count(emit=lambda bidder, window, bids: (bidder, bids, window.start_s, window.end_s))
    )


def q12(events: DataStream[Event]) -> DataStream[tuple[int, int, float, float]]:
    """Count each user's bids in 10 s of processing time."""
    return (
        _bids(events)
        .key_by(lambda bid: bid.bidder)
        .window(TumblingWindow(10.0), time="processing")
        .count(emit=lambda bidder, window, bids: (bidder, bids, window.start_s, window.end_s))
    )


def q18(events: DataStream[Event]) -> DataStream[Bid]:
    """Find the last bid of each bidder on each auction."""
    return (
        _bids(events)
        .key_by(lambda bid: (bid.bidder, bid.auction))
        .reduce(lambda last, bid: bid if bid.date_time >= last.date_time else last)
    )


class WinningBids(ProcessFunction[Auction | Bid, Sale]):
    """Waits until the auction has expired, remembering the best bid only.

    Bids may come before their auction. Such a bid waits for as long as an auction that was open at
    its time may still come: until the watermark has passed it, which is when its time to live is
    over. A millisecond is enough, because the watermark is four seconds late already.
    """

    def open(self, context: Any) -> None:
        """Get the three handles."""
        self.auction = context.state(ValueState[Auction]("auction"))
        self.best = context.state(ValueState[Bid]("best"))
        self.early = context.state(ListState[Bid]("early", ttl=StateTtl(0.001)))

    def process(self, record: Auction | Bid, ctx: Any) -> None:
        """Take an auction or a bid on it."""
        if isinstance(record, Auction):
            self.auction.set(record)
            # The first instant at which no bid of the auction's last instant can come any more.
            ctx.timers.set_event_timer(math.nextafter(record.expires, math.inf))
            for bid in self.early.get():
                self.offer(record, bid)
            self.early.clear()
        elif (auction := self.auction.get()) is None:
            self.early.add(record)
        else:
            self.offer(auction, record)

    def offer(self, auction: Auction, bid: Bid) -> None:
        """Keep a bid if it is in time and better than the best so far."""
        if not auction.date_time <= bid.date_time <= auction.expires:
            return
        best = self.best.get()
        if best is None or _rank(bid) < _rank(best):
            self.best.set(bid)

    def on_timer(self, timestamp_s: float, ctx: Any) -> Iterable[Sale]:
        """The auction has expired."""
        auction, best = self.auction.get(), self.best.get()
        self.auction.clear()
        self.best.clear()
        return [(auction, best)] if best is not None else []


class MeanPrice(AggregateFunction[Sale, tuple[int, int, int], tuple[int, float]]):
    """Category, and the mean of the prices paid in it."""

    def create(self) -> tuple[int, int, int]:
        """Category, sum, count."""
        return (0, 0, 0)

    def add(self, acc: tuple[int, int, int], record: Sale) -> tuple[int, int, int]:
        """Count a sale."""
        auction, bid = record
        return (auction.category, acc[1] + bid.price, acc[2] + 1)

    def result(self, acc: tuple[int, int, int]) -> tuple[int, float]:
        """Integers are added, so the mean does not depend on the order."""
        return acc[0], acc[1] / acc[2]

    def merge(self, a: tuple[int, int, int], b: tuple[int, int, int]) -> tuple[int, int, int]:
        """Both have the same category."""
        return (a[0], a[1] + b[1], a[2] + b[2])


class MeanOfLastTen(AggregateFunction[Sale, list[tuple[float, int, int, int]], tuple[int, float]]):
    """Seller, and the mean of the prices of the auctions that closed last."""

    def create(self) -> list[tuple[float, int, int, int]]:
        """Sales in the order of closing: expiry, id, price, seller."""
        return []

    def add(
        self, acc: list[tuple[float, int, int, int]], record: Sale
    ) -> list[tuple[float, int, int, int]]:
        """Sort a sale in; it need not be the last."""
        auction, bid = record
        insort(acc, (auction.expires, auction.id, bid.price, auction.seller))
        return acc[-10:]

    def result(self, acc: list[tuple[float, int, int, int]]) -> tuple[int, float]:
        """The mean of what is kept."""
        return acc[0][3], sum(price for _, _, price, _ in acc) / len(acc)

    def merge(
        self, a: list[tuple[float, int, int, int]], b: list[tuple[float, int, int, int]]
    ) -> list[tuple[float, int, int, int]]:
        """The last ten of both."""
        return sorted(a + b)[-10:]


class HighestBids(AggregateFunction[Bid, list[Bid], list[Bid]]):
    """All bids of the highest price."""

    def create(self) -> list[Bid]:
        """None yet."""
        return []

    def add(self, acc: list[Bid], record: Bid) -> list[Bid]:
        """Replace lower bids, stand beside equal ones."""
        if not acc or record.price > acc[0].price:
            return [record]
        if record.price == acc[0].price:
            acc.append(record)
        return acc

    def result(self, acc: list[Bid]) -> list[Bid]:
        """The bids."""
        return acc

    def merge(self, a: list[Bid], b: list[Bid]) -> list[Bid]:
        """Whichever is higher, or both."""
        if not a or not b or a[0].price == b[0].price:
            return a + b
        return max(a, b, key=lambda bids: bids[0].price)


def _persons(events: DataStream[Event]) -> DataStream[Person]:
    return cast("DataStream[Person]", events.filter(is_person))


def _auctions(events: DataStream[Event]) -> DataStream[Auction]:
    return cast("DataStream[Auction]", events.filter(is_auction))


def _bids(events: DataStream[Event]) -> DataStream[Bid]:
    return cast("DataStream[Bid]", events.filter(is_bid))


def _sales(events: DataStream[Event]) -> DataStream[Sale]:
    """Return each auction that sold, with its winning bid, when it has expired."""
    return (
        cast("DataStream[Auction | Bid]", events.filter(lambda event: not is_person(event)))
        .key_by(lambda event: event.auction if isinstance(event, Bid) else event.id)
        .process(WinningBids)
    )


def _most_bids(
    _key: object, _window: object, counts: Iterable[tuple[float, int, int]]
) -> list[tuple[float, int, int]]:
    """Return the counts that none exceeds."""
    counts = list(counts)
    most = max(count for _, _, count in counts)
    return [row for row in counts if row[2] == most]


def _rank(bid: Bid) -> tuple[int, float, int, str]:
    """The smallest wins."""
    return -bid.price, bid.date_time, bid.bidder, bid.extra
