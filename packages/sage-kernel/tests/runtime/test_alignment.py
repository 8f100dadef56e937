"""Barriers cut every input at the same place, whatever comes in between."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sage.kernel.checkpoint.barrier import Barrier
from sage.kernel.runtime.alignment import Alignment
from sage.kernel.runtime.channel import Channel, Mailbox

END = "end"


class Head:
    """Does with its inputs what a task does, and remembers what came before each cut."""

    def __init__(self, inputs: int, *, blocks: bool = True) -> None:
        mailbox = Mailbox()
        self.channels = [Channel(mailbox, i, 8, ("a", "b")) for i in range(inputs)]
        self.alignment = Alignment(self.channels, blocks=blocks)
        self.before: dict[int, list[list[Any]]] = {}
        self.seen: list[list[Any]] = [[] for _ in range(inputs)]

    def receive(self, channel: Channel, item: Any) -> None:
        """Take an item as it comes."""
        alignment = self.alignment
        if isinstance(item, Barrier):
            for each in alignment.deliver(channel, item):
                self.receive(*each)
        elif not alignment.keeps(channel, item):
            if item == END:
                alignment.end(channel)
            else:
                self.seen[self.channels.index(channel)].append(item)
        self.cut()

    def ask(self, barrier: Barrier) -> None:
        """Learn of a checkpoint from the coordinator."""
        for each in self.alignment.ask(barrier):
            self.receive(*each)
        self.cut()

    def cut(self) -> None:
        """Cut if it is due."""
        if self.alignment.is_due:
            barrier, freed = self.alignment.take()
            self.before[barrier.checkpoint] = [list(seen) for seen in self.seen]
            for each in freed:
                self.receive(*each)


@st.composite
def interleavings(draw: st.DrawFn) -> tuple[int, list[list[Any]], list[int]]:
    """Inputs with numbered records, the barriers 1 to n in each (some end early), and an order."""
    inputs, barriers = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    sequences: list[list[Any]] = []
    for _ in range(inputs):
        sequence: list[Any] = []
        last = draw(st.integers(0, barriers))
        for checkpoint in range(1, last + 1):
            sequence += range(len(sequence), len(sequence) + draw(st.integers(0, 3)))
            sequence.append(Barrier(checkpoint))
        sequence += range(len(sequence), len(sequence) + draw(st.integers(0, 3)))
        sequences.append([*sequence, END])
    order = draw(st.permutations([i for i, s in enumerate(sequences) for _ in s]))
    return inputs, sequences, list(order)


@given(interleavings())
def test_a_cut_has_exactly_what_came_before_the_barrier_of_each_input(
    case: tuple[int, list[list[Any]], list[int]],
) -> None:
    """Whatever the interleaving, and whichever inputs end early, a cut is a cut."""
    inputs, sequences, order = case
    head = Head(inputs)
    at = [0] * inputs
    for which in order:
        head.receive(head.channels[which], sequences[which][at[which]])
        at[which] += 1
    for checkpoint, seen in head.before.items():
        for which, sequence in enumerate(sequences):
            barrier = Barrier(checkpoint)
            end = sequence.index(barrier) if barrier in sequence else len(sequence)
            wanted = [item for item in sequence[:end] if type(item) is int]
            assert seen[which] == wanted
    assert head.seen == [[item for item in s if type(item) is int] for s in sequences]


def test_a_task_without_inputs_cuts_when_it_is_asked() -> None:
    """A source, and a task whose inputs have ended, wait for nobody."""
    head = Head(0)
    head.ask(Barrier(1))
    assert list(head.before) == [1]
    ended = Head(1)
    ended.receive(ended.channels[0], END)
    ended.ask(Barrier(2))
    assert list(ended.before) == [2]


def test_what_was_given_up_is_followed_by_the_next_one() -> None:
    """A barrier that only some inputs delivered does not stop the next checkpoint."""
    head = Head(2)
    first, second = head.channels
    head.receive(first, Barrier(1))
    head.receive(first, "kept back")
    head.receive(first, Barrier(2))
    assert head.seen == [["kept back"], []]  # the first checkpoint is given up
    head.receive(second, Barrier(2))
    assert head.before == {2: [["kept back"], []]}
    head.receive(second, Barrier(1))  # from far behind
    assert list(head.before) == [2]


def test_at_least_once_keeps_nothing_back() -> None:
    """Without exactly-once the faster input goes on while the slower one is waited for."""
    head = Head(2, blocks=False)
    head.receive(head.channels[0], Barrier(1))
    head.receive(head.channels[0], "behind")
    assert head.seen[0] == ["behind"]
    head.receive(head.channels[1], Barrier(1))
    assert head.before == {1: [["behind"], []]}
