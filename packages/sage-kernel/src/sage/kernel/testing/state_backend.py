"""The conformance suite of state backends: what every backend promises, as tests.

A backend's own test file is this long::

    class TestMyBackend(StateBackendConformance):
        def make_backend(self):
            return MyBackend(...)

pytest finds the tests in the subclass. ``make_backend`` may be called several times in one test;
every backend that it made is closed at the end.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, TypeVar

from sage.common.errors import StateError
from sage.kernel.errors import StateCodecError
from sage.kernel.state.backend import ALL_GROUPS, StateBackend, StateEntry
from sage.kernel.state.codec import StateCodec
from sage.kernel.state.key_group import key_group
from sage.kernel.testing.backend_snapshots import SnapshotsBesideChanges

__all__ = ["StateBackendConformance"]

_KEYS: tuple[Any, ...] = (
    "", "a", "ключ", "\ud800", b"a", b"", 0, -1, 7, 10**30, 0.5, float("inf"), (), ("a", 1),
    ((1, 2), b"x"), datetime(2024, 2, 29), datetime(2024, 2, 29, tzinfo=UTC),
)  # fmt: skip
_VALUES: tuple[Any, ...] = (None, 0, True, 1.0, "x", b"x", (1, (2,)), [1, "a"], {1: (2,)}, {3})
_ONE_INSTANT = (
    datetime(2024, 1, 1, 12, tzinfo=UTC),
    datetime(2024, 1, 1, 13, tzinfo=timezone(timedelta(hours=1))),
)


class StateBackendConformance(ABC):
    """Subclass it, say how a backend is made, and run it with pytest."""

    @abstractmethod
    def make_backend(self) -> StateBackend:
        """Return a new, empty backend."""

    @contextmanager
    def _backends(self, count: int = 1) -> Iterator[list[StateBackend]]:
        made = [self.make_backend() for _ in range(count)]
        try:
            yield made
        finally:
            for backend in made:
                backend.close()

    def test_a_value_is_there_until_it_is_discarded(self) -> None:
        """A table gives what was stored last under a key, and the default before and after."""
        with self._backends() as [backend]:
            table, missing = backend.value_table("v"), object()
            for value in _VALUES:
                for key in _KEYS:
                    table[key] = value
                for key in _KEYS:
                    assert table.get(key, missing) == value
                    assert type(table.get(key)) is type(value)
            assert len(table) == len(_KEYS)
            for key in _KEYS:
                table.discard(key)
                table.discard(key)
                assert table.get(key, missing) is missing
            assert len(table) == 0
            assert list(table.all_keys()) == []

    def test_equal_keys_are_one_key(self) -> None:
        """Keys that are equal in Python share a value, as they share a key group."""
        with self._backends() as [backend]:
            values, maps = backend.value_table("v"), backend.map_table("m")
            for equal in ((0, 0.0, False, -0.0), (1, True, 1.0), ((1, 2), (1.0, 2)), _ONE_INSTANT):
                for n, key in enumerate(equal):
                    values[key] = n
                    maps.put(key, key, n)
                    for filler in range(100, 120):  # pushes the key out of a small cache
                        values[filler] = filler
                        maps.put(filler, filler, filler)
                    for other in equal:
                        assert values.get(other) == n
                        assert maps.get(other, other) == n
            assert len(values) == len(maps) == 4 + 20
            restored = {_decoded(entry.key) for entry in backend.snapshot() if entry.state == "v"}
            assert {type(key) for key in restored} == {int, tuple, datetime}

    def test_states_do_not_see_each_other(self) -> None:
        """Two states of one backend are apart, also when their keys are the same."""
        with self._backends() as [backend]:
            one, two = backend.value_table("one"), backend.value_table("two")
            one["k"] = 1
            two["k"] = 2
            one.discard("k")
            assert two.get("k") == 2
            assert backend.value_table("two") is two

    def test_a_map_is_read_whole_and_by_entry(self) -> None:
        """A map table gives single entries, all entries of a key, and no other key's."""
        with self._backends() as [backend]:
            table = backend.map_table("m")
            map_keys = [*_KEYS, None]
            for key in ("a", "b"):
                for n, map_key in enumerate(map_keys):
                    table.put(key, map_key, (key, n))
            assert len(table) == 2 * len(map_keys)
            table.put("a", "a", "new")
            table.remove("a", "")
            table.remove("a", "never there")
            assert table.get("a", "", "gone") == "gone"
            assert table.get("a", None) == ("a", len(map_keys) - 1)
            assert ("a", "new") in table.items("a")
            assert len(table.items("a")) == len(map_keys) - 1
            assert dict(table.items("b"))[""] == ("b", 0)
            table.clear("b")
            assert table.items("b") == []
            assert list(table.all_keys()) == ["a"]

    def test_clearing_a_key_clears_all_its_states(self) -> None:
        """After clear_key, no table has anything of that key, and every other key is as before."""
        with self._backends() as [backend]:
            values, maps = backend.value_table("v"), backend.map_table("m", expires=True)
            for key in ("a", "b"):
                values[key] = 1
                maps.put(key, 1, 2)
            backend.clear_key("a")
            assert values.get("a") is None
            assert maps.items("a") == []
            assert (values.get("b"), maps.items("b")) == (1, [(1, 2)])

    def test_a_state_keeps_its_kind(self) -> None:
        """A name that is a value table cannot be asked for as a map table."""
        with self._backends() as [backend]:
            backend.value_table("s")
            assert "'s'" in str(_refusal(StateError, lambda: backend.map_table("s")))

    def test_a_snapshot_is_what_was_there_when_it_was_taken(self) -> None:
        """What happens after the call changes no entry, whether values are replaced or mutated."""
        with self._backends(2) as [backend, other]:
            values, maps = backend.value_table("v"), backend.map_table("m")
            shared = [1, 2]
            for n in range(300):
                values[n] = n
                maps.put(n % 7, n, n)
            values["mutable"] = shared
            begun, untouched = backend.snapshot(), backend.snapshot()
            first = next(begun)
            shared.append(3)
            values["mutable"] = shared
            values["new"] = 1
            for n in range(300):
                values[n] = -1
                maps.remove(n % 7, n)
                if n % 2:
                    values.discard(n)
            entries = [first, *begun]
            assert sorted(entries, key=repr) == sorted(untouched, key=repr)
            self._restored(other, entries)
            again, again_maps = other.value_table("v"), other.map_table("m")
            assert [again.get(n) for n in range(300)] == list(range(300))
            assert again.get("mutable") == [1, 2]
            assert again.get("new", "absent") == "absent"
            assert sorted(again_maps.items(3)) == [(n, n) for n in range(3, 300, 7)]

    def test_a_snapshot_can_be_read_by_another_thread(self) -> None:
        """A thread that writes checkpoints reads a snapshot while the state is used."""
        with self._backends() as [backend], ThreadPoolExecutor(1) as checkpointer:
            values, maps = backend.value_table("v"), backend.map_table("m")
            for n in range(2000):
                values[n] = (n, [n])
                maps.put(n % 5, n, n)
            reading = checkpointer.submit(list, backend.snapshot())
            for n in range(2000):
                values[n] = (n, [-1])
                values.get(n // 2)[1].append(-1)
                maps.remove(n % 5, n)
            read = {_decoded(e.key): _decoded(e.value) for e in reading.result() if e.state == "v"}
            assert read == {n: (n, [n]) for n in range(2000)}

    def test_no_snapshot_shows_what_happens_behind_it(self) -> None:
        """Values that are changed in place and stored again do not change in older snapshots.

        That is so for what was got before a snapshot and after it, and for snapshots that are read
        late, in any order, or not at all.
        """
        for seed in range(12):
            with self._backends() as [backend]:
                SnapshotsBesideChanges(random.Random(seed), backend, ("a", 7, 0.5)).run(500)

    def test_a_snapshot_goes_by_key_group(self) -> None:
        """Entries come in the order of their groups; a range of groups gives those and no other."""
        with self._backends(2) as [backend, other]:
            values, maps = backend.value_table("v"), backend.map_table("m")
            for n in range(500):
                values[f"k{n}"] = n
                maps.put(f"k{n}", n, n)
            everything = list(backend.snapshot())
            assert [e.group for e in everything] == sorted(e.group for e in everything)
            assert all(key_group(_decoded(e.key)) == e.group for e in everything)
            parts = [list(backend.snapshot(r)) for r in (ALL_GROUPS[:50], ALL_GROUPS[50:])]
            assert [len(part) > 0 for part in parts] == [True, True]
            assert sorted(parts[0] + parts[1], key=repr) == sorted(everything, key=repr)
            self._restored(other, parts[1])
            assert {key_group(k) >= 50 for k in other.value_table("v").all_keys()} == {True}

    def test_restoring_gives_back_values_with_their_types(self) -> None:
        """A snapshot restored elsewhere has every key and value, each of its type."""
        with self._backends(2) as [backend, other]:
            values, maps = backend.value_table("v"), backend.map_table("m")
            for n, key in enumerate((*_KEYS, True, 2.0)):
                values[key] = _VALUES[n % len(_VALUES)]
                maps.put(key, key, _VALUES[n % len(_VALUES)])
            self._restored(other, list(backend.snapshot()))
            again = {
                repr(k): other.value_table("v").get(k) for k in other.value_table("v").all_keys()
            }
            for n, key in enumerate((*_KEYS, True, 2.0)):
                value = again[repr(key)]
                assert (value, type(value)) == (
                    _VALUES[n % len(_VALUES)],
                    type(_VALUES[n % len(_VALUES)]),
                )
                assert other.map_table("m").items(key) == [(key, value)]
            assert sorted(other.snapshot(), key=repr) == sorted(backend.snapshot(), key=repr)

    def test_a_snapshot_of_something_else_is_refused(self) -> None:
        """An entry of an unknown state, or of another kind of state, is an error that names it."""
        with self._backends(2) as [backend, other]:
            backend.value_table("s")["k"] = 1
            entries = list(backend.snapshot())
            for prepare in (lambda: None, lambda: other.map_table("s")):
                prepare()
                assert "'s'" in str(_refusal(StateError, lambda: other.restore(entries)))

    def test_a_value_that_cannot_be_stored_is_an_error_by_the_next_snapshot(self) -> None:
        """Nothing is stored as something similar: the error names state and type."""
        with self._backends() as [backend]:

            def store() -> None:
                backend.value_table("s")["k"] = object()
                list(backend.snapshot())

            error = _refusal(StateCodecError, store)
            assert (error.state, error.type_name) == ("s", "object")
            backend.value_table("s").discard("k")

    def test_expired_values_go_without_a_scan(self) -> None:
        """Repeated calls remove whatever is expired, a bounded number at a time, nothing else."""
        for order in (range(200), range(199, -1, -1)):
            with self._backends() as [backend]:
                values = backend.value_table("v", expires=True)
                maps = backend.map_table("m", expires=True)
                for n in order:
                    values[n] = n
                    maps.put(n % 3, n, n)
                values[5] = 1000
                maps.put(2, 5, 1000)
                for table in (values, maps):
                    gone = [table.expire(lambda value: value < 100, 10) for _ in range(400)]
                    assert max(gone) <= 10
                    assert sum(gone) == 99
                left = [5, *range(100, 200)]
                assert sorted(values.all_keys()) == left
                assert [n for n in range(200) if values.get(n) is not None] == left
                assert sorted(key for k in range(3) for key, _ in maps.items(k)) == left
                assert [n for n in range(200) if maps.get(n % 3, n) is not None] == left

    def test_what_was_forgotten_does_not_expire_again(self) -> None:
        """Entries that were removed, cleared or discarded are not met when others expire."""
        with self._backends() as [backend]:
            values = backend.value_table("v", expires=True)
            maps = backend.map_table("m", expires=True)
            for n in range(40):
                values[n] = n
                maps.put(n % 4, n, n)
            for n in range(0, 40, 4):
                values.discard(n)
                maps.remove(1, n + 1)
            maps.clear(2)
            backend.clear_key(3)
            gone = [sum(table.expire(bool, 10) for _ in range(60)) for table in (values, maps)]
            assert gone == [29, 9]  # 0 is not true: it does not expire, and was discarded

    def test_any_sequence_of_calls_is_that_of_a_dict(self) -> None:
        """Random calls on both kinds of tables answer as plain dicts do, also after restoring."""
        for seed in range(12):
            with self._backends(2) as backends:
                _Comparison(random.Random(seed), backends).run(600)

    def test_it_says_how_large_it_is(self) -> None:
        """Ten thousand more keys make a backend larger, by no less than their bytes."""
        with self._backends() as [backend]:
            table = backend.value_table("v")
            table[0] = 0
            before = backend.size_bytes()
            for n in range(10_000):
                table[n] = "x" * 50
            len(table)
            assert backend.size_bytes() - before > 500_000

    def test_closing_twice_is_closing_once(self) -> None:
        """A backend that is closed again does nothing, also with a snapshot half read."""
        backend = self.make_backend()
        for n in range(1000):
            backend.value_table("v")[n] = n
        snapshot = backend.snapshot()
        next(snapshot)
        backend.close()
        snapshot.close()
        backend.close()

    @staticmethod
    def _restored(backend: StateBackend, entries: list[StateEntry]) -> None:
        backend.value_table("v")
        backend.map_table("m")
        backend.restore(entries)


E = TypeVar("E", bound=Exception)


def _refusal(error_type: type[E], call: Callable[[], object]) -> E:
    """Return the error that the call raises."""
    try:
        call()
    except error_type as error:
        return error
    raise AssertionError(f"no {error_type.__name__} was raised")


def _decoded(data: bytes) -> Any:
    return StateCodec().decode(data)


class _Comparison:
    """A backend beside dicts, given the same calls; now and then it moves to a fresh backend."""

    def __init__(self, chance: random.Random, backends: list[StateBackend]) -> None:
        self.chance = chance
        self.backend, self.spare = backends
        self.values: dict[Any, Any] = {}
        self.maps: dict[Any, dict[Any, Any]] = {}

    def run(self, calls: int) -> None:
        moves_at = self.chance.randrange(calls)
        for n in range(calls):
            self.value_call()
            self.map_call()
            if n == moves_at:
                StateBackendConformance._restored(self.spare, list(self.backend.snapshot()))
                self.backend = self.spare
        assert len(self.backend.value_table("v")) == len(self.values)
        assert set(self.backend.value_table("v").all_keys()) == set(self.values)
        assert set(self.backend.map_table("m").all_keys()) == set(self.maps)

    def value_call(self) -> None:
        table, key = self.backend.value_table("v"), self.chance.choice(_KEYS)
        match self.chance.randrange(4):
            case 0:
                table.discard(key)
                self.values.pop(key, None)
            case 1:
                table[key] = self.values[key] = self.chance.choice(_VALUES)
        assert table.get(key, "absent") == self.values.get(key, "absent")

    def map_call(self) -> None:
        table, key = self.backend.map_table("m"), self.chance.choice(_KEYS)
        map_key = self.chance.choice(_KEYS)
        entries = self.maps.setdefault(key, {})
        match self.chance.randrange(12):
            case 0:
                table.clear(key)
                entries.clear()
            case 1 | 2:
                table.remove(key, map_key)
                entries.pop(map_key, None)
            case 3 | 4 | 5 | 6 | 7:
                entries[map_key] = self.chance.choice(_VALUES)
                table.put(key, map_key, entries[map_key])
        assert table.get(key, map_key, "absent") == entries.get(map_key, "absent")
        assert sorted(table.items(key), key=repr) == sorted(entries.items(), key=repr)
        if not entries:
            del self.maps[key]
