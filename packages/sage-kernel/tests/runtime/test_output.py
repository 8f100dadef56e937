"""Output edges: how records are spread, and that each goes exactly where it should."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage.kernel.checkpoint.barrier import Barrier
from sage.kernel.errors import KeyRefusedError
from sage.kernel.graph.transformation import Partitioning
from sage.kernel.runtime.channel import Batch, Channel, EndOfInput, Mailbox, WatermarkMark
from sage.kernel.runtime.output import Columns, OutputEdge
from sage.kernel.state.key_group import key_group, subtask_of_group


def edge_of(
    partitioning: Partitioning, receivers: int, *, batch_size: int = 4, credits: int = 1000
) -> tuple[OutputEdge, list[Mailbox], list[Any]]:
    mailboxes = [Mailbox() for _ in range(receivers)]
    channels = [Channel(mailbox, 0, credits, ("up", "down")) for mailbox in mailboxes]
    refused: list[Any] = []
    edge = OutputEdge(
        partitioning,
        channels,
        layout=("key",) if partitioning is Partitioning.HASH else (),
        batch_size=batch_size,
        refuse=lambda record, riders, error: refused.append((record, riders, error)),
    )
    return edge, mailboxes, refused


def arrived(mailbox: Mailbox) -> list[Batch]:
    batches = []
    while (got := mailbox.get(0)) is not None:
        if isinstance(got[1], Batch):
            batches.append(got[1])
        else:
            assert got[1] == EndOfInput()
    return batches


@given(st.lists(st.integers()), st.integers(1, 5), st.integers(1, 7))
@pytest.mark.parametrize("kind", [Partitioning.REBALANCE, Partitioning.FORWARD])
def test_each_record_goes_to_one_receiver(
    kind: Partitioning, records: list[int], receivers: int, batch_size: int
) -> None:
    """Every record arrives once, in batches of the greatest size at most, in order."""
    edge, mailboxes, _ = edge_of(kind, receivers, batch_size=batch_size)
    edge.columns.extend(Batch(records))
    edge.end()
    batches = [batch for mailbox in mailboxes for batch in arrived(mailbox)]
    assert Counter(r for b in batches for r in b.values) == Counter(records)
    assert all(1 <= len(b.values) <= batch_size for b in batches)
    if receivers == 1:
        assert [r for b in batches for r in b.values] == records


def test_records_are_dealt_out_in_turn() -> None:
    """``rebalance`` gives every receiver its share."""
    edge, mailboxes, _ = edge_of(Partitioning.REBALANCE, 3, batch_size=2)
    edge.columns.extend(Batch(list(range(12))))
    edge.flush()
    assert [sum(len(b.values) for b in arrived(m)) for m in mailboxes] == [4, 4, 4]


def test_a_broadcast_reaches_everybody() -> None:
    """``broadcast`` gives every receiver every record, in order."""
    edge, mailboxes, _ = edge_of(Partitioning.BROADCAST, 3)
    edge.columns.extend(Batch(list(range(10))))
    edge.end()
    for mailbox in mailboxes:
        assert [r for b in arrived(mailbox) for r in b.values] == list(range(10))


@given(st.lists(st.one_of(st.integers(0, 5), st.text(max_size=1), st.none())))
def test_keys_decide_the_receiver(keys: list[Any]) -> None:
    """Each record goes to the owner of its key's group; what is no key is refused, not lost."""
    edge, mailboxes, refused = edge_of(Partitioning.HASH, 3)
    edge.columns.extend(Batch(list(range(len(keys))), (keys,)))
    edge.flush()
    got = 0
    for subtask, mailbox in enumerate(mailboxes):
        for batch in arrived(mailbox):
            got += len(batch.values)
            for record, key in zip(batch.values, batch.riders[0], strict=True):
                assert keys[record] == key
                assert subtask_of_group(key_group(key), 3) == subtask
    assert got == sum(key is not None for key in keys)
    nones = [n for n, key in enumerate(keys) if key is None]
    assert [record for record, _, _ in refused] == nones
    assert all(riders == {"key": None} for _, riders, _ in refused)
    assert all(isinstance(error, KeyRefusedError) for _, _, error in refused)


def test_the_linger_thread_sends_only_where_there_is_room() -> None:
    """``try_flush`` never waits: without a credit the records stay where they are."""
    edge, mailboxes, _ = edge_of(Partitioning.FORWARD, 1, credits=1)
    edge.columns.append_row((1,))
    edge.try_flush()
    edge.columns.append_row((2,))
    edge.try_flush()
    assert edge.waiting == 1
    assert [b.values for b in arrived(mailboxes[0])] == [[1]]
    edge.channels[0].done_with()
    edge.try_flush()
    assert [b.values for b in arrived(mailboxes[0])] == [[2]]


def test_only_complete_rows_are_taken() -> None:
    """A row whose riders are not there yet stays: another thread is appending it."""
    columns = Columns(("key",))
    columns.extend(Batch([1, 2], (["a", "b"],)))
    columns.values.append(3)
    assert columns.take() == Batch([1, 2], (["a", "b"],))
    columns.riders[0].append("c")
    assert columns.take() == Batch([3], (["c"],))
    assert columns.take() == Batch([], ([],))


def test_a_barrier_comes_behind_the_newest_time_on_every_channel() -> None:
    """Also on those that no record went to: all receivers are at one time when they cut."""
    mailboxes = [Mailbox(), Mailbox(), Mailbox()]
    edge = OutputEdge(
        Partitioning.HASH,
        [Channel(mailbox, 0, 8, ("up", "down")) for mailbox in mailboxes],
        layout=("key", "time", "watermark"),
        batch_size=4,
        refuse=lambda *_: None,
    )
    edge.columns.append_row(("value", "key", 7.0, 7.0))
    edge.watermark = 7.0
    edge.cut(Barrier(1))
    for mailbox in mailboxes:
        items = []
        while (got := mailbox.get(0)) is not None:
            items.append(got[1])
        assert items[-1] == Barrier(1)
        marks = [item.watermark for item in items if isinstance(item, WatermarkMark)]
        assert marks[-1:] == [7.0]
