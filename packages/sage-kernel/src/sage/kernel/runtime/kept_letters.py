"""Dead letters in a checkpoint: what was set aside before the cut is not lost with the process.

They are numbered and written once each, as changes of the snapshot before. A record that cannot be
stored is kept as text: it can be read after a recovery, and not be replayed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from sage.kernel.checkpoint.operator_state import OperatorState, RestoredState, chunks_of
from sage.kernel.errors import StateCodecError
from sage.kernel.runtime.dead_letters import DeadLetter
from sage.kernel.runtime.segment import Node
from sage.kernel.state.codec import StateCodec

__all__ = ["KeptLetters"]

_LETTERS = "#letters"


class KeptLetters:
    """The dead letters of one operator in one subtask.

    Args:
        node: The operator.
        codec: Encodes their records.
    """

    def __init__(self, node: Node, codec: StateCodec) -> None:
        self._node = node
        self._codec = codec
        self._written = 0

    def put_into(self, state: OperatorState, *, full: bool) -> None:
        """Put in all letters, or those since the snapshot before."""
        letters, written = self._node.letters, self._written
        first = 0 if full else written
        rows = [(n, self._row(letters[n])) for n in range(first, len(letters))]
        self._written = len(letters)
        if letters:
            state.put_lazily(_LETTERS, chunks_of(rows), changes=not full)

    def restore(self, state: RestoredState, keep: Callable[[DeadLetter], Any]) -> None:
        """Take letters back, and hand each on.

        Args:
            state: What was put in.
            keep: Takes a letter.
        """
        t = self._node.transformation
        for _, row in state.keyed(_LETTERS):
            record, error, traceback, attempts, timestamp_s, is_input = row
            letter = DeadLetter(
                self._codec.decode(record),
                error,
                traceback,
                t.name,
                t.uid,
                attempts,
                timestamp_s,
                is_input,
            )
            self._node.letters.append(letter)
            keep(letter)

    def _row(self, letter: DeadLetter) -> tuple[Any, ...]:
        try:
            record = self._codec.encode(letter.record)
        except StateCodecError:
            letter = replace(letter, is_input=False)
            record = self._codec.encode(repr(letter.record))
        return (
            record,
            letter.error,
            letter.traceback,
            letter.attempts,
            letter.timestamp_s,
            letter.is_input,
        )
