"""What a task tells the coordinator; plain values that travel between processes.

The messages of one task arrive in the order in which it gave them: an acknowledgement before the
news that it has finished.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sage.kernel.checkpoint.operator_state import Section
from sage.kernel.checkpoint.state_file import WrittenFile

__all__ = ["Acknowledged", "Committed", "Declined", "Finished", "Message", "TaskName"]

TaskName = tuple[int, int]  # vertex and subtask


@dataclass(frozen=True)
class Acknowledged:
    """A task's part of a checkpoint is written.

    Attributes:
        task: Who says so.
        checkpoint: Which checkpoint.
        file: What was written.
        bases: For operator and name of keyed state, the files before this one that it rests on.
    """

    task: TaskName
    checkpoint: int
    file: WrittenFile
    bases: Mapping[tuple[str, str], tuple[WrittenFile, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Declined:
    """A task could not take part.

    Attributes:
        fatal: Whether trying again would not help, so that the job has to fail.
    """

    task: TaskName
    checkpoint: int
    error: BaseException
    fatal: bool = False


@dataclass(frozen=True)
class Finished:
    """A task has come to its end; what it has to remember from now on.

    Attributes:
        operators: Of each operator its state: counts, positions, and what a sink has prepared.
    """

    task: TaskName
    operators: tuple[tuple[str, tuple[Section, ...]], ...]


@dataclass(frozen=True)
class Committed:
    """The sinks of a task have committed everything up to a checkpoint."""

    task: TaskName
    checkpoint: int


Message = Acknowledged | Declined | Finished | Committed
