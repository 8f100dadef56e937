"""What the sinks have in common whose output appears with the checkpoint that covers it.

A `StagedSink` writes at once in a job without checkpoints. In one with checkpoints it hands every
call of a `TransactionalSink` to its `Stage`, which keeps what is written where only a commit makes
it visible: in hidden files, in a table or in lists beside the target. Invariant of every stage:
what an epoch wrote is visible exactly if the epoch is committed, whoever commits it and however
often.
"""

from __future__ import annotations

import logging
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, Protocol

from sage.common.core.functions import SinkFunction
from sage.common.errors import StorageError

__all__ = ["Share", "Stage", "StagedSink"]

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Share:
    """The part of a sink's work that one subtask is in charge of.

    Args:
        subtask: Which subtask, from 0.
        parallelism: How many there are.
        is_exact: Whether output that will be written again is an error, or a warning.
        logger: Where warnings go.

    Example:
        >>> share = Share(subtask=1, parallelism=2)
        >>> [subtask for subtask in range(5) if share.owns(subtask)]
        [1, 3]
    """

    subtask: int = 0
    parallelism: int = 1
    is_exact: bool = True
    logger: logging.Logger = _logger

    @classmethod
    def of(cls, context: Any, logger: logging.Logger) -> Share | None:
        """Return the share of a subtask, or None in a job without checkpoints."""
        mode = getattr(context, "checkpoint_mode", None)
        if mode is None:
            return None
        is_exact = mode == "exactly_once"
        return cls(context.parallel_index, context.parallelism, is_exact, logger)

    def owns(self, subtask: int) -> bool:
        """Tell whether what a subtask of an earlier run has left is this one's to settle."""
        return subtask % self.parallelism == self.subtask

    def refuse_twice(self, error: StorageError) -> None:
        """Raise what says that output would be there twice; only warn where that may be."""
        if self.is_exact:
            raise error
        self.logger.warning("%s", error.message)


class Stage(Protocol):
    """Where the output of one subtask waits for its commit; see `TransactionalSink`."""

    def begin(self, epoch: int) -> None:
        """Start an epoch."""

    def prepare(self, epoch: int) -> str | None:
        """Make what an epoch wrote durable; return its name, or None if nothing was written."""

    def commit(self, epoch: int) -> None:
        """Make what an epoch wrote visible."""

    def abort(self, epoch: int) -> None:
        """Throw away what an epoch wrote, unless it is committed."""

    def start_over(self) -> None:
        """Remove what an earlier run has written."""


class StagedSink(SinkFunction[Any]):
    """A sink that stages its output in a job with checkpoints."""

    _stage: Stage | None = None

    @abstractmethod
    def _target(self) -> str:
        """Return what it writes to, for messages."""

    def begin(self, epoch: int) -> None:
        """Start an epoch."""
        self._staged().begin(epoch)

    def prepare(self, epoch: int) -> str | None:
        """Make what an epoch wrote durable; return its name, or None if nothing was written."""
        return self._staged().prepare(epoch)

    def commit(self, epoch: int) -> None:
        """Make what an epoch wrote visible; doing so again changes nothing."""
        self._staged().commit(epoch)

    def abort(self, epoch: int) -> None:
        """Throw away what an epoch wrote, unless it is committed."""
        self._staged().abort(epoch)

    def start_over(self) -> None:
        """Remove what an earlier run has written."""
        self._staged().start_over()

    def _staged(self) -> Stage:
        if self._stage is None:
            raise StorageError(
                f"{self._target()} was opened without checkpoints and has no epochs",
                hint="the context that open() is given says checkpoint_mode",
            )
        return self._stage
