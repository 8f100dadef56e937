"""The heap backend keeps the promises of every backend, and its own of speed."""

from __future__ import annotations

import pytest

from sage.kernel.errors import StateCodecError
from sage.kernel.state.heap_backend import HeapBackend
from sage.kernel.testing.state_backend import StateBackendConformance


class TestHeapBackend(StateBackendConformance):
    """Run by pytest."""

    def make_backend(self) -> HeapBackend:
        return HeapBackend("op")


def test_a_value_table_is_a_dict() -> None:
    """Reading and writing state on the heap is a dict's own reading and writing."""
    table = HeapBackend().value_table("v")
    assert isinstance(table, dict)
    assert type(table).get is dict.get
    assert type(table).__setitem__ is dict.__setitem__


def test_a_snapshot_encodes_when_it_is_read() -> None:
    """Taking a snapshot copies only what somebody else holds, whom no table can stop."""
    backend = HeapBackend()
    values, maps, held = backend.value_table("v"), backend.map_table("m"), [1]
    values["held"], values["not storable"] = held, object()
    maps.put("k", "held", held)
    maps.put("k", "not storable", object())
    snapshot = backend.snapshot()
    with pytest.raises(StateCodecError):
        list(snapshot)
    values["not storable"] = not_storable = object()
    with pytest.raises(StateCodecError):
        backend.snapshot()
    del not_storable


def test_a_table_is_a_dict_again_when_its_snapshots_are_read() -> None:
    """Only while a snapshot waits does state on the heap cost more than a dict."""
    for read in (list, lambda snapshot: snapshot.close(), lambda snapshot: None):
        backend = HeapBackend()
        for table in (backend.value_table("v"), backend.value_table("e", expires=True)):
            table["a"] = [1]
            before, snapshot = type(table), backend.snapshot()
            assert type(table) is not before
            read(snapshot)
            del snapshot
            table.get("a")
            assert type(table) is before
