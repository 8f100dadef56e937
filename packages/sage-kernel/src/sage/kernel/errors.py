"""What the engine raises, under the root of ``sage.common.errors``.

The tree::

    SageError
    ├── GraphError                 a pipeline that cannot run, found while it is built
    │   ├── FunctionError          a function that does not fit the verb it was given to
    │   └── UnknownVerbError       a verb that the stream does not have
    ├── JobError                   a job that did not end well
    │   ├── JobFailedError         an operator raised; names operator, subtask and record
    │   ├── JobCancelledError      the job was cancelled before its end
    │   └── JobTimeoutError        it did not end within the time that was given
    ├── KeyRefusedError            a key of a type that cannot be routed
    ├── TimestampError             a timestamp that is no finite number of seconds
    ├── StateError                 keyed state declared wrongly (in ``sage.common.errors``)
    │   └── StateCodecError        a value that cannot be stored, or bytes that cannot be read
    ├── CheckpointError            a checkpoint that cannot be written, found or used
    │   ├── DamagedCheckpointError its files are truncated, changed or gone
    │   ├── NewerFormatError       it was written by a newer release
    │   ├── JournalError           results cannot be journalled any more
    │   ├── StateMismatchError     state that does not fit the plan; names the operator
    │   └── FencedError            another run of the same job has taken over
    ├── RemoteError                stands for a user's exception that cannot leave its process
    └── WorkerDiedError            a worker process ended in the middle of its work
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sage.common.errors import Problem, SageError, StateError

__all__ = [
    "CheckpointError",
    "DamagedCheckpointError",
    "FencedError",
    "FunctionError",
    "GraphError",
    "JobCancelledError",
    "JobError",
    "JobFailedError",
    "JobTimeoutError",
    "JournalError",
    "KeyRefusedError",
    "NewerFormatError",
    "RemoteError",
    "StateCodecError",
    "StateMismatchError",
    "TimestampError",
    "UnknownVerbError",
    "WorkerDiedError",
]


def no_keys(state: str) -> StateError:
    """Return the error for state that is asked for where there are no keys."""
    return StateError(
        f"state {state!r} belongs to a key, and this stream has none",
        hint="call .key_by(selector) just before this operator, and give it a function class",
        state=state,
    )


class GraphError(SageError):
    """A pipeline cannot run; it lists every problem that was found while building it."""

    code = "graph-error"

    def __init__(
        self, message: str, *, problems: Sequence[Problem] = (), hint: str | None = None
    ) -> None:
        self.problems = list(problems)
        text = message + "".join(f"\n  - {problem}" for problem in self.problems)
        super().__init__(text, hint=hint, problems=[str(p) for p in self.problems])


class FunctionError(GraphError):
    """A function does not fit the verb it was given to."""

    code = "function-error"


class UnknownVerbError(GraphError, AttributeError):
    """A stream does not have this verb."""

    code = "unknown-verb"


class JobError(SageError):
    """A job did not end well."""

    code = "job-error"


class JobFailedError(JobError):
    """An operator raised, and its policy was to fail the job.

    The user's exception is the ``__cause__``.

    Attributes:
        operator: Name of the operator.
        record: The record it was working on, or None if it was between records.
        has_record: Whether ``record`` means something.
        attempts: How often the function was called with it.
    """

    code = "job-failed"

    def __init__(
        self,
        operator: str,
        error: BaseException,
        *,
        record: Any = None,
        has_record: bool = False,
        doing: str = "",
        attempts: int = 1,
    ) -> None:
        self.operator = operator
        self.record = record
        self.has_record = has_record
        self.doing = doing
        self.attempts = attempts
        at = f" at record {record!r:.200}" if has_record else ""
        during = f" in {doing}" if doing else ""
        tried = f" after {attempts} attempts" if attempts > 1 else ""
        super().__init__(
            f"operator {operator!r} failed{during}{at}{tried}: {type(error).__name__}: {error}",
            operator=operator,
            record=repr(record) if has_record else None,
            error=f"{type(error).__name__}: {error}",
        )
        self.__cause__ = error


class JobCancelledError(JobError):
    """The job was cancelled before its end; what was in flight was not delivered."""

    code = "job-cancelled"


class JobTimeoutError(JobError, TimeoutError):
    """The job did not end within the time that was given; it goes on."""

    code = "job-timeout"


class KeyRefusedError(SageError):
    """A key of a type that cannot be routed the same way in every process."""

    code = "key-refused"


class TimestampError(SageError):
    """A timestamp, or a watermark of one's own, is no finite number of seconds.

    Attributes:
        timestamp: What the function returned.
    """

    code = "timestamp-refused"

    def __init__(self, timestamp: Any, *, what: str = "a timestamp") -> None:
        self.timestamp = timestamp
        super().__init__(
            f"{what} must be a finite number of seconds, got {timestamp!r:.80}",
            hint=_seconds_of(timestamp),
        )


def _seconds_of(timestamp: Any) -> str:
    """Return what to do about a timestamp that is none."""
    if timestamp is None:
        return "does its function return what it computes?"
    if isinstance(timestamp, str):
        return "float(text) for a number, datetime.fromisoformat(text).timestamp() for a date"
    if hasattr(timestamp, "timestamp"):
        return "its .timestamp() is the number of seconds"
    return "drop such a record before, or set on_error='skip' or 'dead_letter'"


class StateCodecError(StateError):
    """A value cannot be stored, or what was stored cannot be read here.

    Attributes:
        operator: The operator whose state it is, or "".
        state: The name of the state, or "".
        type_name: The type at fault.
    """

    code = "state-codec"

    def __init__(
        self, reason: str, *, operator: str, state: str, type_name: str, hint: str | None = None
    ) -> None:
        self.operator, self.state, self.type_name = operator, state, type_name
        where = f"state {state!r}" if state else "state"
        if operator:
            where += f" of operator {operator!r}"
        super().__init__(
            f"{where}: {reason}", hint=hint, operator=operator, state=state, type=type_name
        )


class CheckpointError(SageError):
    """A checkpoint cannot be written, found, read or used."""

    code = "checkpoint-error"


class DamagedCheckpointError(CheckpointError):
    """A file of a checkpoint is truncated, changed or gone; an older checkpoint may be whole."""

    code = "checkpoint-damaged"


class NewerFormatError(CheckpointError):
    """A checkpoint was written by a newer release; nobody may go on behind its back."""

    code = "checkpoint-newer-format"


class JournalError(CheckpointError):
    """Results cannot be journalled any more; the job ends, whatever an operator's policy is."""

    code = "journal-error"


class StateMismatchError(CheckpointError):
    """The state of a checkpoint does not fit the plan that is to go on with it.

    Attributes:
        operator: The operator at fault.
    """

    code = "state-mismatch"

    def __init__(self, message: str, *, operator: str, hint: str | None = None) -> None:
        self.operator = operator
        super().__init__(message, hint=hint, operator=operator)


class FencedError(CheckpointError):
    """Another run of the same job has taken over; this one must not write any more."""

    code = "fenced"


class RemoteError(SageError):
    """A user's exception that could not leave the process it was raised in, told in words.

    Attributes:
        type_name: The name of its type.
    """

    code = "remote-error"

    def __init__(self, type_name: str, message: str) -> None:
        self.type_name = type_name
        super().__init__(f"{type_name}: {message}", type_name=type_name)


class WorkerDiedError(SageError):
    """A worker process ended in the middle of its work: killed, crashed, or exited by its user."""

    code = "worker-died"
