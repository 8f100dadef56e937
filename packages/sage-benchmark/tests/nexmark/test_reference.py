"""The references, against answers worked out by hand."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from sage.benchmark.nexmark import reference
from sage.benchmark.nexmark.model import Auction, Bid, Event, Person

T0 = 1_436_918_400.0


def person(number: int, at_s: float = 0.0, *, state: str = "OR") -> Person:
    """A person who registers so many seconds after the start."""
    return Person(number, f"name {number}", "", "", "Bend", state, T0 + at_s, "")


def auction(
    number: int, opens_s: float, closes_s: float, *, seller: int = 1, category: int = 10
) -> Auction:
    """An auction that is open for these seconds after the start."""
    return Auction(number, "", "", 1, 2, T0 + opens_s, T0 + closes_s, seller, category, "")


def bid(number: int, price: int, at_s: float, *, bidder: int = 1, extra: str = "") -> Bid:
    """A bid on the auction of this number."""
    return Bid(number, bidder, price, T0 + at_s, extra)


def test_bids_pass_are_converted_and_selected() -> None:
    """q0 gives all bids and nothing else, q1 euros, q2 the auctions that 123 divides."""
    bids = [bid(123, 1_000, 2.0), bid(124, 500, 1.0), bid(246, 7, 3.0), bid(123, 1_000, 2.0)]
    events: list[Event] = [person(1), auction(123, 0, 9), *bids]
    assert reference.q0(events) == sorted(bids)
    assert reference.q1(events)[0] == (123, 1, 908.0, T0 + 2, "")
    assert reference.q2(events) == [(123, 1_000), (123, 1_000), (246, 7)]


def test_local_items_need_state_category_and_seller() -> None:
    """q3 pairs each auction of category 10 with its seller from OR, ID or CA."""
    events: list[Event] = [
        *(auction(10, 0, 9, seller=1), auction(11, 5, 9, seller=1)),
        auction(12, 0, 9, seller=1, category=11),
        *(auction(13, 0, 9, seller=2), auction(14, 0, 9, seller=3), auction(15, 0, 9, seller=4)),
        *(person(1, 3), person(2, state="WA"), person(3, state="ID")),
    ]
    assert reference.q3(events) == [
        ("name 1", "Bend", "OR", 10),
        ("name 1", "Bend", "OR", 11),
        ("name 3", "Bend", "ID", 14),
    ]


def test_closing_prices_come_from_bids_while_the_auction_is_open() -> None:
    """q4 averages the highest bids in time, the first and last instant included."""
    events: list[Event] = [
        bid(10, 100, 1.0),
        auction(10, 1, 5),
        *(bid(10, 90, 3.0), bid(10, 900, 5.001), bid(10, 999, 0.999)),
        *(auction(11, 1, 5), bid(11, 300, 5.0)),
        auction(12, 1, 5),
        *(auction(13, 0, 9, category=11), bid(13, 7, 4.0)),
        bid(99, 5_000, 2.0),
    ]
    assert reference.q4(events) == [(10, 200.0), (11, 7.0)]


def test_hot_items_are_all_that_tie() -> None:
    """q5 reports every auction with the highest count, in each of a bid's five windows."""
    events = [bid(10, 1, 1.0), bid(11, 1, 1.5), bid(12, 1, 3.0), bid(12, 1, 11.999)]
    assert reference.q5(events) == [
        *((T0 + 2, 10, 1), (T0 + 2, 11, 1)),
        *((end, number, 1) for end in (T0 + 4, T0 + 6, T0 + 8, T0 + 10) for number in (10, 11, 12)),
        (T0 + 12, 12, 2),
        *((end, 12, 1) for end in (T0 + 14, T0 + 16, T0 + 18, T0 + 20)),
    ]


def test_only_the_last_ten_sales_of_a_seller_count() -> None:
    """q6 orders sales by expiry, then by id, and forgets all but the last ten."""
    events: list[Event] = []
    for number in range(12):
        events += [auction(number, 0, 20 - number), bid(number, 10**number, 5.0)]
    events += [auction(20, 0, 20, seller=2), bid(20, 3, 1.0), auction(19, 0, 20), bid(19, 1, 1.0)]
    kept = [*(10**number for number in range(9)), 1]
    assert reference.q6(events) == [(1, sum(kept) / 10), (2, 3.0)]


def test_the_highest_bids_of_a_window_are_all_that_tie() -> None:
    """q7 reports each bid of the highest price; an end belongs to the next window."""
    high, same, last = bid(10, 9, 0.0), bid(11, 9, 9.999), bid(12, 3, 10.0)
    assert reference.q7([high, bid(10, 8, 5.0), same, last]) == [
        *((T0 + 10, high), (T0 + 10, same)),
        (T0 + 20, last),
    ]


def test_new_users_sell_in_the_window_in_which_they_register() -> None:
    """q8 reports a person once, and only for auctions of the same ten seconds."""
    events: list[Event] = [
        *(auction(10, 1, 30, seller=1), person(1, 9.999), auction(11, 2, 30, seller=1)),
        *(person(2, 9.999), auction(12, 10.0, 30, seller=2)),
        *(person(3, 15.0), auction(13, 19.0, 30, seller=3)),
    ]
    assert reference.q8(events) == [(1, "name 1", T0), (3, "name 3", T0 + 10)]


def test_of_equal_bids_the_earlier_one_wins() -> None:
    """q9 breaks ties by time, then bidder, then filler, whatever the order of arrival."""
    item, other = auction(10, 0, 9), auction(11, 0, 9)
    winner = bid(11, 5, 3.0, bidder=2, extra="a")
    events: list[Event] = [
        *(bid(10, 5, 4.0), bid(10, 5, 3.0), bid(10, 4, 1.0), item, auction(12, 0, 9)),
        *(other, bid(11, 5, 3.0, bidder=3), bid(11, 5, 3.0, bidder=2, extra="b"), winner),
    ]
    assert reference.q9(events) == [(item, bid(10, 5, 3.0)), (other, winner)]


def test_a_pause_of_ten_seconds_ends_a_session() -> None:
    """q11 starts a new session after exactly the gap, and not a millisecond earlier."""
    events = [
        *(bid(10, 1, 9.999), bid(10, 1, 0.0), bid(10, 1, 19.999)),
        bid(10, 1, 3.0, bidder=2),
    ]
    assert reference.q11(events) == [
        (1, 1, T0 + 19.999, T0 + 29.999),
        (1, 2, T0, T0 + 19.999),
        (2, 1, T0 + 3, T0 + 13),
    ]


def test_processing_time_is_what_the_clock_said() -> None:
    """q12 counts by the reading at each bid, not by the bid's own time."""
    events: list[Event] = [bid(10, 1, 500.0), person(1), bid(10, 1, 0.0), bid(10, 1, 0.0)]
    assert reference.q12(events, [100.0, 109.5, 110.0]) == [
        (1, 1, 110.0, 120.0),
        (1, 2, 100.0, 110.0),
    ]


def test_the_last_bid_is_the_latest_then_the_last_to_arrive() -> None:
    """q18 keeps one bid for each bidder and auction."""
    kept = bid(10, 2, 5.0, extra="second")
    events = [
        *(bid(10, 1, 5.0, extra="first"), kept, bid(10, 9, 4.0)),
        *(bid(10, 7, 1.0, bidder=2), bid(11, 8, 0.0)),
    ]
    assert reference.q18(events) == sorted([kept, events[3], events[4]])


BIDS = st.lists(
    st.builds(
        bid,
        st.integers(1, 3),
        st.integers(1, 3),
        st.integers(0, 60_000).map(lambda at_ms: at_ms / 1_000),
        bidder=st.integers(1, 2),
    ),
    max_size=40,
)


@given(BIDS)
def test_each_bid_is_counted_as_often_as_it_should_be(bids: Sequence[Bid]) -> None:
    """Sessions hold each bid once; no window's highest bid is exceeded in that window."""
    assert sum(count for _, count, _, _ in reference.q11(bids)) == len(bids)
    for end, highest in reference.q7(bids):
        inside = [other for other in bids if end - 10 <= other.date_time < end]
        assert highest.price == max(other.price for other in inside)
    for end, number, count in reference.q5(bids):
        auctions = [other.auction for other in bids if end - 10 <= other.date_time < end]
        assert count == auctions.count(number) == max(map(auctions.count, auctions))
