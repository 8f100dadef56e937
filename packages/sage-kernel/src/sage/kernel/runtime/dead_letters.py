"""Records that were set aside because a function raised at them."""

from __future__ import annotations

import threading
import time
import traceback as tb
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from sage.kernel.graph.transformation import Transformation

__all__ = ["DeadLetter", "DeadLetters"]


@dataclass(frozen=True)
class DeadLetter:
    """A record that was set aside.

    Attributes:
        record: The record as it came into the operator.
        error: ``Type: message`` of the last error.
        traceback: The user's traceback, as text.
        operator: Name of the operator.
        uid: The operator's stable identity.
        attempts: How often the function was called.
        timestamp_s: When it was set aside, in seconds since the epoch.
        is_input: Whether it came into the operator. What a window or a timer could not make of
            several records did not: it tells what it was about, and cannot be replayed.
    """

    record: Any
    error: str
    traceback: str
    operator: str
    uid: str
    attempts: int
    timestamp_s: float
    is_input: bool = True

    @classmethod
    def of(
        cls,
        transformation: Transformation,
        record: Any,
        error: BaseException,
        attempts: int,
        *,
        is_input: bool = True,
    ) -> DeadLetter:
        """Make the letter of a record that failed just now."""
        return cls(
            record,
            f"{type(error).__name__}: {error}",
            "".join(tb.format_exception(error)),
            transformation.name,
            transformation.uid,
            attempts,
            time.time(),
            is_input,
        )


class DeadLetters:
    """The dead letters of one job, up to a limit; none is ever dropped to make room."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._letters: list[DeadLetter] = []
        self._lock = threading.Lock()

    def add(self, letter: DeadLetter) -> bool:
        """Keep a letter; return False if the limit is reached."""
        with self._lock:
            if len(self._letters) >= self._limit:
                return False
            self._letters.append(letter)
            return True

    def take_all(self) -> list[DeadLetter]:
        """Remove and return every letter."""
        with self._lock:
            letters, self._letters = self._letters, []
            return letters

    def remove(self, letters: Iterable[DeadLetter]) -> None:
        """Forget letters that were dealt with."""
        gone = {id(letter) for letter in letters}
        with self._lock:
            self._letters = [letter for letter in self._letters if id(letter) not in gone]

    def __iter__(self) -> Iterator[DeadLetter]:
        return iter(list(self._letters))

    def __len__(self) -> int:
        return len(self._letters)
