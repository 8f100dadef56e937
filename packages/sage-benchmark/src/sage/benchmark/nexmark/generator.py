"""A seeded stream of auction events, out of order by a bounded amount.

The traffic is the one that the Nexmark papers and Apache Beam's suite describe: of each 50 events
one is a person, three are auctions, 46 are bids; half of the bids go to one hot auction out of the
newest hundred, three of four bids come from a hot bidder, three of four auctions from a hot seller.

Two invariants. The stream is a function of the seed and the settings alone: everything is derived
from ``random.Random(seed).random()``, the one method whose sequence Python promises to keep from
version to version. And an event that is not meant to be late arrives at most ``max_delay_s`` (and
the distance of two events) after its time, so that a watermark that stays further behind the newest
timestamp than that loses nothing.

Event ``n`` happens at ``n / events_per_s``. The published rate is 10,000 a second; the default here
is a tenth of it, because then a million events last 1,000 s: a hundred of the queries' windows
close, and users pause for longer than the gap of a session.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from sage.benchmark.nexmark.model import Auction, Bid, Event, Person

__all__ = ["FIRST_AUCTION", "FIRST_CATEGORY", "FIRST_PERSON", "STATES", "Traffic", "generate"]

FIRST_PERSON = FIRST_AUCTION = 1_000
FIRST_CATEGORY = 10
CATEGORIES = 5

PERSONS, AUCTIONS, BIDS = 1, 3, 46
ROUND = PERSONS + AUCTIONS + BIDS
HOT_GROUP = 100
"""Of so many auctions or people in the order of their ids, one is the hot one."""

LEAD = 10
"""Ids so far ahead of the newest one are used too: somebody is known before they register."""

STATES = ("AZ", "CA", "ID", "OR", "WA", "WY")
_CITIES = (
    *("Bend", "Boise", "Cheyenne", "Kent", "Los Angeles"),
    *("Phoenix", "Portland", "Redmond", "San Francisco", "Seattle"),
)
_FIRST_NAMES = ("Ada", "Barbara", "Donald", "Edsger", "Frances", "Grace", "Jim", "Leslie", "Tony")
_LAST_NAMES = ("Allen", "Gray", "Hoare", "Hopper", "Knuth", "Lamport", "Liskov", "Lovelace")

_TEXT_LENGTH = 1 << 14
_PERSON_BYTES, _AUCTION_BYTES, _BID_BYTES = 200, 500, 100


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """What the stream is like; the defaults are the published ones, but for the rate.

    Args:
        events_per_s: Events in a second of event time.
        start_s: Time of the first event, in whole seconds since the epoch.
        delayed_share: How many of the events arrive late but in time, 0 to 1.
        max_delay_s: How late those are at most; the delay is uniform.
        late_share: How many arrive after any watermark that holds ``max_delay_s`` back, 0 to 1.
        late_by_s: How late those are at least; at most twice as much.
        hot_auction_ratio: One bid of so many goes to any auction, the rest to the hot one.
        hot_bidder_ratio: One bid of so many comes from anybody, the rest from the hot bidder.
        hot_seller_ratio: One auction of so many is anybody's, the rest the hot seller's.
        auctions_in_flight: How many auctions are open at a time, in the mean.
        active_people: Only the newest so many people sell and bid.

    Raises:
        ValueError: if a number is out of its range.

    Example:
        >>> stream = generate(50, seed=1, traffic=Traffic(delayed_share=0))
        >>> [type(event).__name__ for event in stream][:6]
        ['Person', 'Auction', 'Auction', 'Auction', 'Bid', 'Bid']
    """

    events_per_s: int = 1_000
    start_s: int = 1_436_918_400
    delayed_share: float = 0.1
    max_delay_s: float = 3.0
    late_share: float = 0.0
    late_by_s: float = 10.0
    hot_auction_ratio: int = 2
    hot_bidder_ratio: int = 4
    hot_seller_ratio: int = 4
    auctions_in_flight: int = 100
    active_people: int = 1_000

    def __post_init__(self) -> None:
        shares = self.delayed_share, self.late_share, self.delayed_share + self.late_share
        if not all(0 <= share <= 1 for share in shares):
            raise ValueError(f"delayed_share and late_share make up 0 to 1, got {shares[:2]}")
        if self.max_delay_s < 0 or self.late_by_s <= self.max_delay_s:
            raise ValueError(
                f"0 <= max_delay_s < late_by_s is needed, got {self.max_delay_s}, {self.late_by_s}"
            )
        counts = ("events_per_s", "auctions_in_flight", "active_people")
        ratios = ("hot_auction_ratio", "hot_bidder_ratio", "hot_seller_ratio")
        for name in (*counts, *ratios):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is at least 1, got {getattr(self, name)}")


def generate(count: int, *, seed: int = 0, traffic: Traffic | None = None) -> Iterator[Event]:
    """Yield events in the order in which they arrive.

    Args:
        count: How many.
        seed: Another seed gives another stream.
        traffic: What it is like.

    Example:
        >>> first, second = (list(generate(1000, seed=3)) for _ in range(2))
        >>> len(first), first == second
        (1000, True)
    """
    traffic = traffic or Traffic()
    uniform = random.Random(seed).random
    factory = _Factory(traffic, uniform)
    delayed_until, late_until = traffic.delayed_share, traffic.delayed_share + traffic.late_share
    under_way: list[tuple[int, int, Event]] = []
    for number in range(count):
        now_ms = number * 1_000 // traffic.events_per_s
        while under_way and under_way[0][0] <= now_ms:
            yield heapq.heappop(under_way)[2]
        event = factory.event(number, now_ms)
        fate = uniform()
        if fate >= late_until:
            yield event
            continue
        share = uniform()
        delay_s = (
            share * traffic.max_delay_s if fate < delayed_until else (1 + share) * traffic.late_by_s
        )
        heapq.heappush(under_way, (now_ms + int(delay_s * 1_000), number, event))
    while under_way:
        yield heapq.heappop(under_way)[2]


class _Factory:
    """Makes event ``n``; ids follow from ``n`` alone, everything else from the random numbers."""

    def __init__(self, traffic: Traffic, uniform: Callable[[], float]) -> None:
        self.traffic = traffic
        self.uniform = uniform
        letters = "abcdefghijklmnopqrstuvwxyz "
        self.text = "".join(letters[int(uniform() * 27)] for _ in range(_TEXT_LENGTH))
        events_in_flight = traffic.auctions_in_flight * ROUND // AUCTIONS
        self.longest_ms = max(2 * events_in_flight * 1_000 // traffic.events_per_s, 1)
        self.start_ms = traffic.start_s * 1_000

    def event(self, number: int, after_ms: int) -> Event:
        """Return event ``number``, which happens ``after_ms`` after the first."""
        turn, place = divmod(number, ROUND)
        at_ms = self.start_ms + after_ms
        if place >= PERSONS + AUCTIONS:
            return self.bid(turn, (turn + 1) * AUCTIONS - 1, at_ms)
        if place >= PERSONS:
            return self.auction(turn, turn * AUCTIONS + place - PERSONS, at_ms)
        return self.person(turn, at_ms)

    def person(self, number: int, at_ms: int) -> Person:
        name = f"{self.one_of(_FIRST_NAMES)} {self.one_of(_LAST_NAMES)}"
        return Person(
            FIRST_PERSON + number,
            name,
            f"{self.words(7)}@{self.words(5)}.com".replace(" ", "-"),
            " ".join(f"{self.below(10_000):04d}" for _ in range(4)),
            self.one_of(_CITIES),
            self.one_of(STATES),
            at_ms / 1_000,
            self.filler(_PERSON_BYTES - 70),
        )

    def auction(self, newest_person: int, number: int, at_ms: int) -> Auction:
        seller = (
            newest_person // HOT_GROUP * HOT_GROUP
            if self.below(self.traffic.hot_seller_ratio)
            else self.anybody(newest_person)
        )
        initial_bid = self.price()
        return Auction(
            FIRST_AUCTION + number,
            self.words(20),
            self.words(100),
            initial_bid,
            initial_bid + self.price(),
            at_ms / 1_000,
            (at_ms + 1 + self.below(self.longest_ms)) / 1_000,
            FIRST_PERSON + seller,
            FIRST_CATEGORY + self.below(CATEGORIES),
            self.filler(_AUCTION_BYTES - 170),
        )

    def bid(self, newest_person: int, newest_auction: int, at_ms: int) -> Bid:
        auction = (
            newest_auction // HOT_GROUP * HOT_GROUP
            if self.below(self.traffic.hot_auction_ratio)
            else self.any_auction(newest_auction)
        )
        # The second of its hundred, so that the hot bidder is not the hot seller.
        bidder = (
            newest_person // HOT_GROUP * HOT_GROUP + 1
            if self.below(self.traffic.hot_bidder_ratio)
            else self.anybody(newest_person)
        )
        return Bid(
            FIRST_AUCTION + auction,
            FIRST_PERSON + bidder,
            self.price(),
            at_ms / 1_000,
            self.filler(_BID_BYTES - 32),
        )

    def anybody(self, newest: int) -> int:
        active = min(newest + 1, self.traffic.active_people)
        return newest + 1 - active + self.below(active + LEAD)

    def any_auction(self, newest: int) -> int:
        oldest = max(newest - self.traffic.auctions_in_flight, 0)
        return oldest + self.below(newest - oldest + 1 + LEAD)

    def price(self) -> int:
        """Return 1 to 1 M currency units, in cents, each power of ten as likely as another."""
        return round(10 ** (self.uniform() * 6) * 100)

    def below(self, limit: int) -> int:
        return int(self.uniform() * limit)

    def one_of(self, choices: Sequence[str]) -> str:
        return choices[self.below(len(choices))]

    def words(self, length: int) -> str:
        start = self.below(_TEXT_LENGTH - length)
        return self.text[start : start + length]

    def filler(self, length: int) -> str:
        """Return text of this length, give or take a fifth."""
        return self.words(length - length // 5 + self.below(2 * (length // 5) + 1))
