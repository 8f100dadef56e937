"""How batches are divided for their way between processes, and what an actor takes from others."""

from __future__ import annotations

import threading

from sage.kernel.checkpoint.barrier import Barrier
from sage.kernel.runtime.channel import Batch
from sage.kernel.runtime.ray.wiring import ActorWiring, pieces
from sage.kernel.runtime.wiring import Link

LINK = Link((0, 0), (1, 0), 0, 2, ("a", "b"))


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


def test_a_barrier_comes_behind_its_batches_and_needs_no_credit() -> None:
    """A mailbox that is full takes a barrier, in its place."""
    wiring = ActorWiring("now")
    channel = wiring.incoming(LINK)
    assert wiring.deliver("now", LINK.key, [1, 2], ())
    assert not channel.has_credit
    assert wiring.deliver("now", LINK.key, Barrier(7, "there"), ())
    mailbox = wiring.mailbox(LINK.receiver)
    got = [mailbox.get(0), mailbox.get(0)]
    assert got == [(channel, Batch([1, 2])), (channel, Barrier(7, "there"))]


def test_who_belongs_to_another_run_is_refused() -> None:
    """A sender that was stopped and goes on in a later run of the actor puts nothing in."""
    wiring = ActorWiring("now")
    wiring.incoming(LINK)
    for said in ([1], Barrier(7, "there"), None):
        assert not wiring.deliver("before", LINK.key, said, ())
    assert wiring.mailbox(LINK.receiver).empty
