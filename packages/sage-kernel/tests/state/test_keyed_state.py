"""Keyed state: handles mean the current key, expired values are gone, kinds stay what they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sage.common.core.functions import AggregateFunction, ReduceFunction
from sage.common.core.state import (
    AggregatingState,
    ListState,
    MapState,
    ReducingState,
    StateDescriptor,
    StateTtl,
    ValueState,
)
from sage.common.errors import StateError
from sage.kernel.errors import KeyRefusedError, StateCodecError
from sage.kernel.state.backend import StateBackend
from sage.kernel.state.heap_backend import HeapBackend
from sage.kernel.state.keyed_state import KeyedState
from sage.kernel.state.sqlite_backend import SqliteBackend
from sage.kernel.testing import ManualClock

MAKERS: dict[str, Callable[[], StateBackend]] = {
    "heap": HeapBackend,
    "disk": SqliteBackend,
    "disk without a cache": lambda: SqliteBackend(cache_bytes=0),
}
Make = Callable[..., KeyedState]


@pytest.fixture(params=MAKERS)
def make(request: pytest.FixtureRequest) -> Iterator[Make]:
    """Makes keyed state on each backend."""
    made: list[KeyedState] = []

    def maker(**options: Any) -> KeyedState:
        made.append(KeyedState(MAKERS[request.param](), operator="op", **options))
        return made[-1]

    yield maker
    for state in made:
        state.close()


class Mean(AggregateFunction[float, tuple[float, int], float]):
    """Sum and count."""

    def create(self) -> tuple[float, int]:
        return 0.0, 0

    def add(self, acc: tuple[float, int], record: float) -> tuple[float, int]:
        return acc[0] + record, acc[1] + 1

    def result(self, acc: tuple[float, int]) -> float:
        return acc[0] / acc[1]

    def merge(self, a: tuple[float, int], b: tuple[float, int]) -> tuple[float, int]:
        return a[0] + b[0], a[1] + b[1]


class Longest(ReduceFunction[str]):
    """The longer string."""

    def reduce(self, a: str, b: str) -> str:
        return max(a, b, key=len)


def plus(a: int, b: int) -> int:
    return a + b


def at(state: KeyedState, key: Any, timestamp_s: float = 0.0) -> None:
    state.set_current_key(key)
    state.timestamp_s = timestamp_s


def test_one_handle_serves_all_keys(make: Make) -> None:
    """A handle gives and takes the value of whichever key is current."""
    state = make()
    value = state.handle(ValueState("v", default=0))
    for key in ("a", "b", "a", 0, False, (1, "x")):
        at(state, key)
        assert value.update(lambda n: n + 1) == value.get()
    counts = {}
    for key in ("a", "b", 0, (1, "x"), "never"):
        at(state, key)
        counts[key] = value.get()
    assert counts == {"a": 2, "b": 1, 0: 2, (1, "x"): 1, "never": 0}
    value.clear()
    at(state, "a")
    value.clear()
    assert value.get() == 0
    assert set(state.keys(ValueState("v"))) == {"b", 0, (1, "x")}


def test_none_is_a_value(make: Make) -> None:
    """A stored None is not the absence of a value."""
    state = make()
    value: Any = state.handle(ValueState("v", default=7))
    reduced: Any = state.handle(ReducingState("r", lambda a, b: b))
    at(state, "a")
    value.set(None)
    reduced.add(None)
    reduced.add(None)
    assert value.get() is None
    assert reduced.get() is None


def test_a_list_is_given_out_as_a_copy(make: Make) -> None:
    """Elements come in order, and changing what get returned changes nothing."""
    state = make()
    elements = state.handle(ListState[Any]("l"))
    at(state, "a")
    assert elements.get() == []
    elements.add(1)
    elements.extend(iter([(2,), [3]]))
    elements.get().append("not stored")
    assert elements.get() == [1, (2,), [3]]
    elements.set([4])
    elements.add(5)
    at(state, "b")
    assert elements.get() == []
    at(state, "a")
    assert elements.get() == [4, 5]
    elements.set([])
    assert list(state.keys(ListState("l"))) == []


def test_a_map_can_be_changed_while_it_is_gone_through(make: Make) -> None:
    """Entries are found by key, listed, and may be removed on the way."""
    state = make()
    entries = state.handle(MapState[Any, Any]("m"))
    at(state, "a")
    assert entries.is_empty()
    for n in range(5):
        entries.put((n, "x"), n)
    assert entries.contains((3, "x"))
    assert not entries.contains(3)
    assert entries.get(3, "none") == "none"
    for map_key, n in entries.items():
        if n % 2:
            entries.remove(map_key)
    assert sorted(entries.keys()) == [(0, "x"), (2, "x"), (4, "x")]
    at(state, "b")
    assert entries.is_empty()
    at(state, "a")
    entries.clear()
    assert entries.is_empty()


def test_reducing_and_aggregating_take_in_values(make: Make) -> None:
    """The first value is stored as it is, later ones are combined; nothing added gives None."""
    state = make()
    longest = state.handle(ReducingState("longest", reduce=Longest()))
    total = state.handle(ReducingState("total", reduce=plus))
    mean = state.handle(AggregatingState("mean", aggregate=Mean()))
    at(state, "a")
    assert (longest.get(), total.get(), mean.get()) == (None, None, None)
    for word in ("ab", "c", "def"):
        longest.add(word)
        total.add(len(word))
        mean.add(float(len(word)))
    assert (longest.get(), total.get(), mean.get()) == ("def", 6, 2.0)
    for handle in (longest, total, mean):
        handle.clear()
    assert (longest.get(), total.get(), mean.get()) == (None, None, None)


def test_an_equal_descriptor_gives_the_same_handle(make: Make) -> None:
    """Asking again, as a function may do at each record, declares nothing anew."""
    state = make()
    assert state.handle(ValueState("v", default=0)) is state.handle(ValueState("v", default=0))
    assert len(state.schemas) == 1


@pytest.mark.parametrize(
    "other",
    [ListState("s"), MapState("s"), ReducingState("s", max), ValueState("s", ttl=StateTtl(1.0))],
    ids=lambda d: f"{d.kind}-{d.ttl}",
)
def test_a_name_stands_for_one_kind(make: Make, other: StateDescriptor) -> None:
    """A second descriptor of the same name and another kind or expiry is refused."""
    state = make()
    state.handle(ValueState("s"))
    with pytest.raises(StateError, match="has a value state 's' without a time to live already"):
        state.handle(other)  # type: ignore[call-overload]


def test_what_is_no_descriptor_is_refused(make: Make) -> None:
    """A name alone does not say what kind of state it is."""
    with pytest.raises(StateError, match="asked for by a descriptor, got 'count'"):
        make().handle("count")  # type: ignore[call-overload]


HANDLES: list[tuple[Any, Callable[[Any], object]]] = [
    (ValueState("v"), lambda h: h.get()),
    (ValueState("v"), lambda h: h.set(1)),
    (ListState("l"), lambda h: h.add(1)),
    (MapState("m"), lambda h: h.put(1, 1)),
    (MapState("m"), lambda h: h.items()),
    (ReducingState("r", max), lambda h: h.add(1)),
    (ValueState("t", ttl=StateTtl(1.0)), lambda h: h.get()),
]


@pytest.mark.parametrize(("descriptor", "use"), HANDLES)
def test_state_without_a_key_is_an_error(
    make: Make, descriptor: Any, use: Callable[[Any], object]
) -> None:
    """Using a handle in open(), where no key is current, says so."""
    with pytest.raises(StateError, match="no current key"):
        use(make().handle(descriptor))


@pytest.mark.parametrize("key", [None, float("nan"), [], Ellipsis])
def test_a_key_that_cannot_be_one_is_refused(make: Make, key: Any) -> None:
    """The current key is a key that a stream can have."""
    with pytest.raises(KeyRefusedError):
        make().set_current_key(key)


def test_what_cannot_be_stored_fails_at_the_record_that_brings_it(make: Make) -> None:
    """The first value of a type that has no stored form is an error, in each kind of state."""
    state = make()
    at(state, "a")
    stores: list[tuple[Any, Callable[[Any], object]]] = [
        (ValueState("v"), lambda h: h.set(object())),
        (ListState("l"), lambda h: h.extend([1, object()])),
        (MapState("m"), lambda h: h.put(1, {1: object()})),
        (ReducingState("r", max), lambda h: h.add(object())),
        (ValueState("tv", ttl=StateTtl(1.0)), lambda h: h.set(object())),
        (ListState("tl", ttl=StateTtl(1.0)), lambda h: h.add(object())),
        (MapState("tm", ttl=StateTtl(1.0)), lambda h: h.put(1, object())),
    ]
    for descriptor, store in stores:
        with pytest.raises(StateCodecError, match=f"'{descriptor.name}' of operator 'op'.*object"):
            store(state.handle(descriptor))
    with pytest.raises(KeyRefusedError):
        state.handle(MapState[Any, int]("m")).put(frozenset(), 1)
    assert list(state.snapshot()) == []


def test_clearing_the_key_clears_all_its_state(make: Make) -> None:
    """After clear_key the current key has nothing in any state; other keys keep theirs."""
    state = make()
    value: Any = state.handle(ValueState("v"))
    entries: Any = state.handle(MapState("m", ttl=StateTtl(9.0)))
    for key in ("a", "b"):
        at(state, key)
        value.set(1)
        entries.put(1, 1)
    state.clear_key()
    assert (value.get(), entries.items()) == (None, [])
    at(state, "a")
    assert (value.get(), entries.items()) == (1, [(1, 1)])


def test_state_moves_with_its_schemas(make: Make) -> None:
    """A snapshot and its schemas restore every kind of state, by ranges of key groups."""
    descriptors: list[Any] = [
        ValueState("v"), ListState("l"), MapState("m"), ReducingState("r", plus),
        AggregatingState("a", Mean()), ValueState("tv", ttl=StateTtl(5.0)),
        ListState("tl", ttl=StateTtl(5.0)), MapState("tm", ttl=StateTtl(5.0)),
    ]  # fmt: skip
    state, left, right = make(), make(), make()
    for n in range(40):
        at(state, n, float(n))
        for d in descriptors:
            handle: Any = state.handle(d)
            match d.kind:
                case "value":
                    handle.set((n,))
                case "map":
                    handle.put(n, (n,))
                case _:
                    handle.add(n)
    for part, groups in ((left, range(70)), (right, range(70, 128))):
        part.restore(state.schemas, state.snapshot(groups))
        part.watermark_s = 25.0
    found = 0
    for n in range(40):
        parts = [part for part in (left, right) if n in set(part.keys(descriptors[0]))]
        assert len(parts) == 1
        found += len(parts)
        at(parts[0], n, 25.0)
        got: list[Any] = [parts[0].handle(d) for d in descriptors]
        assert [h.get() for h in (got[0], got[1], got[3], got[4])] == [(n,), [n], n, float(n)]
        assert got[2].items() == [(n, (n,))]
        alive = n > 20
        assert got[5].get() == ((n,) if alive else None)
        assert got[6].get() == ([n] if alive else [])
        assert got[7].items() == ([(n, (n,))] if alive else [])
    assert found == 40


def test_what_was_stored_as_another_kind_is_refused(make: Make) -> None:
    """State that is declared otherwise than when it was stored is an error, in either order."""
    state, first, second = make(), make(), make()
    state.handle(ValueState("s"))
    first.handle(ListState("s"))
    with pytest.raises(StateError, match="'s'"):
        first.restore(state.schemas, state.snapshot())
    second.restore(state.schemas, state.snapshot())
    with pytest.raises(StateError, match="cannot also have a list state 's'"):
        second.handle(ListState("s"))


def test_state_in_event_time_needs_timestamps(make: Make) -> None:
    """On a stream without timestamps nothing would ever expire, so it is refused."""
    state = make(event_time=False)
    with pytest.raises(StateError, match="the stream has no timestamps"):
        state.handle(ValueState("v", ttl=StateTtl(1.0)))
    state.handle(ValueState("v", ttl=StateTtl(1.0, time="processing")))


def test_a_value_is_gone_the_moment_it_expires(make: Make) -> None:
    """A value touched at t is there before t + ttl on the watermark, and not from then on."""
    state = make()
    value = state.handle(ValueState("v", default="none", ttl=StateTtl(10.0)))
    reduced = state.handle(ReducingState("r", plus, ttl=StateTtl(10.0)))
    at(state, "a", 100.0)
    value.set("x")
    reduced.add(1)
    state.watermark_s = 109.9
    assert (value.get(), reduced.get()) == ("x", 1)
    state.watermark_s = 110.0
    assert (value.get(), reduced.get()) == ("none", None)
    at(state, "a", 111.0)
    reduced.add(5)
    assert reduced.get() == 5


def test_a_late_touch_does_not_shorten_a_life(make: Make) -> None:
    """Records out of order leave a value with the newest of their times."""
    state = make()
    value: Any = state.handle(ValueState("v", ttl=StateTtl(10.0)))
    entries: Any = state.handle(MapState("m", ttl=StateTtl(10.0)))
    for timestamp_s in (100.0, 50.0):
        at(state, "a", timestamp_s)
        value.set(timestamp_s)
        entries.put(1, timestamp_s)
    state.watermark_s = 109.0
    assert (value.get(), entries.get(1)) == (50.0, 50.0)


@pytest.mark.parametrize("refresh", ["on_write", "on_read_and_write"])
def test_reading_prolongs_a_life_only_where_that_was_asked_for(make: Make, refresh: Any) -> None:
    """With on_read_and_write each read counts as a touch, in each kind of state."""
    clock = ManualClock(1000.0)
    state, ttl = make(clock=clock), StateTtl(10.0, time="processing", refresh=refresh)
    value: Any = state.handle(ValueState("v", ttl=ttl))
    elements: Any = state.handle(ListState("l", ttl=ttl))
    entries: Any = state.handle(MapState("m", ttl=ttl))
    at(state, "a")
    value.set(1)
    elements.add(1)
    entries.put(1, 1)
    entries.put(2, 2)
    clock.advance(9.0)
    assert (value.get(), elements.get(), entries.get(1)) == (1, [1], 1)
    clock.advance(9.0)
    there = refresh == "on_read_and_write"
    assert (value.get() == 1, elements.get() == [1], entries.contains(1)) == (there,) * 3
    assert not entries.contains(2)


def test_elements_and_entries_expire_one_by_one(make: Make) -> None:
    """Of a list or map, what is old goes and what is young stays."""
    state = make()
    elements: Any = state.handle(ListState("l", ttl=StateTtl(10.0)))
    entries: Any = state.handle(MapState("m", ttl=StateTtl(10.0)))
    for timestamp_s in (0.0, 5.0, 10.0):
        at(state, "a", timestamp_s)
        elements.add(timestamp_s)
        entries.put(timestamp_s, timestamp_s)
    state.watermark_s = 15.0
    assert elements.get() == [10.0]
    assert entries.keys() == [10.0]
    elements.add(11.0)
    assert elements.get() == [10.0, 11.0]


def test_expired_state_leaves_its_tables(make: Make) -> None:
    """Sweeping after each batch, as operators do, leaves only what lives; it also keeps up."""
    state = make()
    descriptors: list[Any] = [
        ValueState("v", ttl=StateTtl(10.0)),
        ListState("l", ttl=StateTtl(10.0)),
        MapState("m", ttl=StateTtl(10.0)),
        ReducingState("r", plus, ttl=StateTtl(10.0)),
    ]
    value, elements, entries, reduced = cast(Any, [state.handle(d) for d in descriptors])
    most = 0
    for n in range(1000):
        at(state, n, float(n))
        value.set(n)
        elements.add(n)
        entries.put(n, n)
        reduced.add(n)
        state.watermark_s = n - 2.0
        if n % 20 == 19:
            state.sweep()
            most = max(most, *(len(set(state.keys(d))) for d in descriptors))
    assert most < 100
    for _ in range(20):
        state.sweep()
    for descriptor in descriptors:
        assert set(state.keys(descriptor)) == set(range(988, 1000))
    state.watermark_s = float("inf")
    for _ in range(20):
        state.sweep()
    assert [list(state.keys(d)) for d in descriptors] == [[]] * 4


TOUCHES = st.lists(
    st.tuples(
        st.sampled_from(["set", "get", "clear", "advance", "sweep"]),
        st.integers(0, 2),
        st.integers(0, 30),
    ),
    max_size=60,
)


@settings(max_examples=60, deadline=None)
@given(TOUCHES, st.booleans(), st.sampled_from(sorted(MAKERS)))
def test_any_touches_are_those_of_a_naive_model(
    touches: list[tuple[str, int, int]], reading: bool, backend: str
) -> None:
    """Random writes, reads and watermarks answer as a dict of values and times does."""
    state = KeyedState(MAKERS[backend]())
    ttl = StateTtl(10.0, refresh="on_read_and_write" if reading else "on_write")
    value: Any = state.handle(ValueState("v", ttl=ttl))
    model: dict[int, tuple[int, float]] = {}
    for n, (touch, key, time_s) in enumerate(touches):
        at(state, key, float(time_s))
        if touch == "advance":
            state.watermark_s = max(state.watermark_s, float(time_s))
        elif touch == "sweep":
            state.sweep()
        elif touch == "clear":
            value.clear()
        # What has expired in the model is gone there at once.
        model = {k: v for k, v in model.items() if v[1] + 10.0 > state.watermark_s}
        before = model.get(key)
        touched = max(float(time_s), before[1] if before else float("-inf"))
        if touch == "clear":
            model.pop(key, None)
        elif touch == "set":
            value.set(n)
            model[key] = (n, touched)
        elif touch == "get":
            assert value.get() == (before[0] if before else None)
            if before and reading:
                model[key] = (before[0], touched)
    state.close()


class _Looked(float):
    """A time that counts how often any is compared."""

    count = 0

    def __gt__(self, other: float) -> bool:
        _Looked.count += 1
        return float(self) > other

    def __le__(self, other: float) -> bool:
        return not self > other


def test_appending_to_a_list_that_expires_does_not_look_at_all_of_it() -> None:
    """A thousand elements cost a few thousand looks, and what has expired is not kept."""
    backend, _Looked.count = HeapBackend(), 0
    state = KeyedState(backend)
    elements: Any = state.handle(ListState("l", ttl=StateTtl(100.0)))
    state.set_current_key("k")
    for time_s in range(1000):
        state.timestamp_s = state.watermark_s = _Looked(time_s)
        elements.add(time_s)
    assert _Looked.count < 5000
    assert len(backend.value_table("l", expires=True).get("k")) < 300
    assert elements.get() == list(range(900, 1000))


@pytest.mark.parametrize("ttl", [None, StateTtl(10.0)], ids=["stays", "expires"])
def test_a_snapshot_does_not_see_a_list_inside_a_tuple_grow(make: Make, ttl: Any) -> None:
    """What can be changed within a value that cannot be is as it was when the snapshot was made."""
    state = make()
    value: Any = state.handle(ValueState("v", ttl=ttl))
    for key in ("k", "other"):
        state.set_current_key(key)
        state.timestamp_s = state.watermark_s = 0.0
        value.set((1, [key]) if key == "k" else (1, 2))
    entries = state.snapshot()
    state.set_current_key("k")
    held = value.get()
    held[1].append("later")
    value.set(held)
    restored = make()
    again: Any = restored.handle(ValueState("v", ttl=ttl))
    restored.restore(state.schemas, entries)
    restored.set_current_key("k")
    assert again.get() == (1, ["k"])
