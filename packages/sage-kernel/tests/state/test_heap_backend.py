"""The heap backend keeps the promises of every backend, and its own of speed."""

from __future__ import annotations

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
