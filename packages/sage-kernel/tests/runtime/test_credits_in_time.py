"""Credits are bounded by time: what waits for a slow receiver is little, so no barrier is stuck."""

from __future__ import annotations

import threading

import pytest

from sage.kernel import LocalEnvironment
from sage.kernel.graph.transformation import Partitioning
from sage.kernel.runtime.channel import UNLIMITED, Batch, Channel, Mailbox
from sage.kernel.runtime.output import OutputEdge

PATIENCE_S = 30


def channel(credits: int = 8) -> Channel:
    """A channel that has not heard of its receiver."""
    made = Channel(Mailbox(), 0, credits, ("a", "b"))
    made.start_slowly()
    return made


@pytest.mark.parametrize("record_s", [1e-6, 1e-3, 0.05, 10.0])
def test_what_waits_in_a_channel_is_worked_off_within_half_a_second(record_s: float) -> None:
    """However slow the receiver is; at least one record is always in a batch."""
    made = channel()
    for _ in range(3):
        made.pace(10, 10 * record_s)
    assert made.most_records >= 1
    assert made.most_records == 1 or made.most_records * made.capacity * record_s <= 0.5


def test_a_receiver_that_becomes_slow_is_believed_at_once() -> None:
    """And one that becomes fast after a while."""
    made = channel()
    made.pace(100, 1e-4)
    fast = made.most_records
    made.pace(1, 1.0)
    assert made.most_records == 1
    made.pace(1_000, 1e-3)
    assert made.most_records < fast
    for _ in range(100):
        made.pace(1_000, 1e-3)
    assert made.most_records > 0.9 * fast


def test_batches_are_small_until_the_receiver_has_been_heard_of() -> None:
    """The first records of a fast source do not fill the channels of a slow receiver."""
    assert channel().most_records < 100
    assert channel(credits=UNLIMITED).most_records > 1_000_000  # in a loop nothing ever waits


def test_an_edge_sends_no_more_in_a_batch_than_its_slowest_receiver_takes() -> None:
    """A buffer that is larger is sent in pieces."""
    quick, slow = channel(100), channel(100)
    for _ in range(50):
        quick.pace(1_000, 1e-6)
    slow.pace(1, 1e-3)
    edge = OutputEdge(
        Partitioning.REBALANCE,
        [quick, slow],
        layout=(),
        batch_size=1024,
        refuse=lambda record, riders, error: None,
    )
    assert edge.batch_size == slow.most_records
    edge.columns.extend(Batch(list(range(20))))
    edge.flush()
    sent = []
    for made in (quick, slow):
        while not made.mailbox.empty:
            got = made.mailbox.get(0)
            assert got is not None
            sent.append(len(got[1].values))
    assert sum(sent) == 20
    assert max(sent) == slow.most_records


def test_a_source_reads_no_more_than_a_slow_receiver_takes() -> None:
    """Most of a long collection is not read while the first records are worked on."""
    release, begun = threading.Event(), threading.Event()
    read: list[int] = []

    def seen(n: int) -> int:
        read.append(n)
        return n

    def stuck(n: int) -> int:
        begun.set()
        release.wait(PATIENCE_S)
        return n

    env = LocalEnvironment()
    env.from_collection(list(range(100_000))).map(seen).rebalance().map(stuck, parallelism=2).sink(
        str
    )
    job = env.submit()
    assert begun.wait(PATIENCE_S)
    assert len(read) < 2_000
    job.cancel()
    release.set()
    job.join(PATIENCE_S)
