"""A model of what a state backend's snapshots have to show, for its conformance suite.

Functions that take values out of the state, change them where they are and store them again, and
checkpoints whose snapshots are taken at any moment and read later, in any order, or not at all.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Generator, Sequence
from typing import Any

from sage.kernel.state.backend import StateBackend, StateEntry
from sage.kernel.state.codec import StateCodec

__all__ = ["SnapshotsBesideChanges"]

_Place = tuple[str, Any, Any]  # table, key, map key
_MAP_KEYS = ("", "b", 3)
_KINDS = 10


class SnapshotsBesideChanges:
    """Drives a backend at random, and compares each snapshot with what was stored at its moment.

    Args:
        chance: Makes the choices.
        backend: An empty backend.
        keys: Keys to use.
    """

    def __init__(self, chance: random.Random, backend: StateBackend, keys: Sequence[Any]) -> None:
        self._chance, self._backend, self._keys = chance, backend, keys
        self._values: dict[str, Any] = {
            name: backend.value_table(name, expires=name == "expiring values")
            for name in ("values", "expiring values")
        }
        self._maps: dict[str, Any] = {
            name: backend.map_table(name, expires=name == "expiring maps")
            for name in ("maps", "expiring maps")
        }
        self._stored: dict[_Place, Any] = {}
        self._held: list[tuple[_Place, list[Any]]] = []
        self._waiting: list[tuple[Generator[StateEntry, None, None], dict[_Place, Any]]] = []

    def run(self, calls: int) -> None:
        """Make that many calls, and read what waits then."""
        for n in range(calls):
            name = self._chance.choice([*self._values, *self._maps])
            map_key = self._chance.choice(_MAP_KEYS) if name in self._maps else None
            self._call(n, (name, self._chance.choice(self._keys), map_key))
        while self._waiting:
            self._read(*self._waiting.pop())

    def _call(self, n: int, place: _Place) -> None:
        match self._chance.randrange(_KINDS):
            case 0 if len(self._waiting) < 3:
                self._waiting.append((self._backend.snapshot(), copy.deepcopy(self._stored)))
            case 0 | 1 if self._waiting:
                self._read(*self._waiting.pop(self._chance.randrange(len(self._waiting))))
            case 2 if self._waiting and self._chance.random() < 0.2:
                snapshot, _ = self._waiting.pop()
                snapshot.close()
            case 2:
                self._forget(place)
            case 3 | 4 if self._held:
                place, held = self._chance.choice(self._held)
                held.append(n)
                self._store(place, held)
            case 5:
                self._store(place, self._chance.choice([[n], ([n], n), n, {n: [n]}, (n, "x")]))
            case _:
                self._change(place, n)

    def _change(self, place: _Place, n: int) -> None:
        """Change what is there, down to its parts, and store it again."""
        value = self._got(place)
        assert value == self._stored.get(place)
        if type(value) is list:
            value.append(n)
            self._held.append((place, value))
        elif type(value) is dict:
            value[n] = [n]
            value[min(value)].append(n)
        elif type(value) is tuple and type(value[0]) is list:
            value[0].append(n)
        else:
            value = [n]
        self._store(place, value)

    def _got(self, place: _Place) -> Any:
        name, key, map_key = place
        if name in self._values:
            return self._values[name].get(key)
        if self._chance.random() < 0.5:
            return dict(self._maps[name].items(key)).get(map_key)
        return self._maps[name].get(key, map_key)

    def _store(self, place: _Place, value: Any) -> None:
        name, key, map_key = place
        if name in self._values:
            self._values[name][key] = value
        else:
            self._maps[name].put(key, map_key, value)
        self._stored[place] = copy.deepcopy(value)

    def _forget(self, place: _Place) -> None:
        name, key, map_key = place
        if name in self._values:
            self._values[name].discard(key)
        elif self._chance.random() < 0.5:
            self._maps[name].remove(key, map_key)
        else:
            self._maps[name].clear(key)
            for other in _MAP_KEYS:
                self._stored.pop((name, key, other), None)
        self._stored.pop(place, None)

    def _read(
        self, snapshot: Generator[StateEntry, None, None], expected: dict[_Place, Any]
    ) -> None:
        decode = StateCodec().decode
        read = {
            (
                entry.state,
                decode(entry.key),
                None if entry.map_key is None else decode(entry.map_key),
            ): decode(entry.value)
            for entry in snapshot
        }
        assert read == expected
