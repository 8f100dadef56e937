"""How batches are divided for their way between processes."""

from __future__ import annotations

import threading

from sage.kernel.runtime.channel import Batch
from sage.kernel.runtime.ray.wiring import pieces


def test_a_batch_of_small_records_is_one_piece() -> None:
    """What costs nothing to send is not divided."""
    batch = Batch(list(range(4096)))
    assert list(pieces(batch)) == [batch]


def test_a_batch_of_large_records_is_divided() -> None:
    """Pieces have some megabytes, keep their riders and the order."""
    batch = Batch([bytes(1 << 20)] * 10, (list(range(10)),))
    parts = list(pieces(batch))
    assert [len(part.values) for part in parts] == [3, 3, 3, 1]
    assert [key for part in parts for key in part.riders[0]] == list(range(10))


def test_a_record_larger_than_a_piece_goes_alone() -> None:
    """Nothing is too large to be sent."""
    assert [len(part.values) for part in pieces(Batch([bytes(9 << 20)] * 2))] == [1, 1]


def test_what_cannot_be_measured_is_not_divided() -> None:
    """Whether it can be sent is told when it is."""
    batch = Batch([threading.Lock()] * 3)
    assert list(pieces(batch)) == [batch]
