"""Channels and mailboxes: credits bound what is under way, and nothing is ever dropped."""

from __future__ import annotations

import threading

import pytest

from sage.kernel.checkpoint.barrier import Barrier
from sage.kernel.runtime.channel import (
    Batch,
    Channel,
    ChannelClosed,
    EndOfInput,
    LoopTracker,
    Mailbox,
    Wake,
    WatermarkMark,
)

NAMES = ("up", "down")


def test_a_sender_waits_for_a_credit() -> None:
    """With all credits out a sender waits until the receiver has worked a batch off."""
    mailbox = Mailbox()
    channel = Channel(mailbox, 0, 2, NAMES)
    channel.send(Batch([1]))
    assert channel.has_credit
    channel.send(Batch([2, 3]))
    assert not channel.has_credit
    sent = threading.Event()

    def third() -> None:
        channel.send(Batch([4]))
        sent.set()

    sender = threading.Thread(target=third)
    sender.start()
    assert mailbox.get(0) == (channel, Batch([1]))
    assert mailbox.get(0) == (channel, Batch([2, 3]))
    assert mailbox.get(0) is None
    assert not sent.is_set()
    channel.done_with()
    sender.join(10)
    assert sent.is_set()
    assert mailbox.get(0) == (channel, Batch([4]))
    assert channel.sent == 4


def test_closing_frees_a_sender_and_a_receiver() -> None:
    """A closed channel raises in who waits at it and in who sends later."""
    mailbox = Mailbox()
    channel = Channel(mailbox, 0, 1, NAMES)
    channel.send(Batch([1]))
    raised = threading.Event()

    def blocked() -> None:
        try:
            channel.send(Batch([2]))
        except ChannelClosed:
            raised.set()

    sender = threading.Thread(target=blocked)
    sender.start()
    channel.close()
    sender.join(10)
    assert raised.is_set()
    for _ in range(20):
        with pytest.raises(ChannelClosed):
            channel.send(Batch([3]))
    assert channel.sent == 1
    mailbox.close()
    with pytest.raises(ChannelClosed):
        mailbox.get()


def test_the_end_needs_no_credit_and_comes_last() -> None:
    """The end of the input follows what was sent before it, also over a full channel."""
    mailbox = Mailbox()
    channel = Channel(mailbox, 0, 1, NAMES)
    channel.send(Batch([1]))
    channel.end()
    assert mailbox.get(0) == (channel, Batch([1]))
    assert mailbox.get(0) == (channel, EndOfInput())
    assert mailbox.empty


def test_time_behind_a_barrier_is_told_behind_it() -> None:
    """A mark is renewed in place, but not across a barrier: the cut would be ahead of its sender,
    and what comes again after a recovery would be late."""
    mailbox = Mailbox()
    channel = Channel(mailbox, 0, 1, NAMES)
    channel.mark(1.0, idle=False)
    channel.mark(2.0, idle=False)
    channel.cut(Barrier(1))
    channel.mark(3.0, idle=False)
    told = [got[1] for got in iter(lambda: mailbox.get(0), None)]
    times = [each.watermark if isinstance(each, WatermarkMark) else each for each in told]
    assert times == [2.0, Barrier(1), 3.0]


def test_a_batch_is_cut_with_its_riders() -> None:
    """A slice keeps values and riders together."""
    batch = Batch([1, 2, 3], (["a", "b", "c"], [0, 0, 1]))
    assert batch.sliced(1, 3) == Batch([2, 3], (["b", "c"], [0, 1]))


def test_a_loop_ends_only_when_nothing_can_come() -> None:
    """While somebody holds the loop open, or anything is inside, its heads are not woken."""
    mailbox, loop = Mailbox(), LoopTracker()
    loop.watch(mailbox)
    loop.hold_open()
    loop.add()
    loop.remove()
    assert mailbox.empty
    loop.add()
    loop.let_go()
    assert mailbox.empty
    loop.remove()
    assert loop.under_way == 0
    assert mailbox.get(0) == (None, Wake())


def test_a_full_loop_wakes_who_was_refused() -> None:
    """Who asked for room in vain is woken as soon as something has left."""
    mailbox, loop = Mailbox(), LoopTracker()
    loop.watch(mailbox)
    loop.hold_open()
    loop.add(3)
    assert loop.has_room(3)
    loop.remove(0)  # forget that somebody asked
    while mailbox.get(0):
        pass
    assert not loop.has_room(2)
    loop.remove()
    assert mailbox.get(0) == (None, Wake())
    assert loop.has_room(2)


def test_what_waits_outside_of_a_loop_is_not_inside() -> None:
    """A batch on its way into a loop counts only when it is admitted."""
    loop = LoopTracker()
    entering = Channel(Mailbox(), 0, 4, NAMES, loop=loop, enters_loop=True)
    inside = Channel(Mailbox(), 0, 4, NAMES, loop=loop)
    entering.send(Batch([1]))
    assert loop.under_way == 0
    inside.send(Batch([1]))
    assert loop.under_way == 1
    entering.done_with()
    inside.done_with()
    assert loop.under_way == 0
