"""Errors on their way between processes.

A pickled exception loses its cause and its traceback. Both are sent beside it: the cause as itself
where it can travel, the traceback as text in a note.
"""

from __future__ import annotations

import copy
import traceback
from typing import Any

from ray import cloudpickle
from ray.exceptions import RayActorError

from sage.kernel.errors import JobFailedError, RemoteError, WorkerDiedError

__all__ = ["actor_died", "packed", "reason_of", "travelling", "unpacked"]


def packed(error: BaseException, where: str) -> bytes:
    """Return an error, ready to be sent.

    Args:
        error: Any exception, a `JobFailedError` with its cause and record.
        where: Where it was raised, for the note that shows the traceback.
    """
    cause = error.__cause__
    shown = travelling(error)
    if isinstance(error, JobFailedError) and cause is not None:
        note = f"{where}:\n{_trace(cause)}"
        return cloudpickle.dumps((shown, travelling(cause), note))  # type: ignore[no-any-return]
    note = f"{where}:\n{_trace(error)}"
    return cloudpickle.dumps((shown, None, note))  # type: ignore[no-any-return]


def unpacked(data: bytes) -> BaseException:
    """Return the error that was sent, as it was raised."""
    error: BaseException
    error, cause, note = cloudpickle.loads(data)
    if cause is not None:
        cause.add_note(note)
        error.__cause__ = cause
    else:
        error.add_note(note)
    return error


def actor_died(
    operator: str, subtask: int, why: str, error: BaseException | None = None
) -> JobFailedError:
    """Return the error of a job that has lost an actor.

    Args:
        operator: Name of the vertex that it ran.
        subtask: Which subtask.
        why: What is known of its death.
        error: Ray's error, if that told of it.
    """
    told = f"the Ray actor of {operator!r}, subtask {subtask}, died: {why}"
    died = WorkerDiedError(told, operator=operator, subtask=subtask)
    died.__cause__ = error
    return JobFailedError(operator, died)


def reason_of(error: RayActorError) -> str:
    """Return the last thing that Ray says of an actor's death."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def travelling(error: BaseException) -> BaseException:
    """Return the error, or what stands for it if it cannot be rebuilt elsewhere."""
    if _travels(error):
        return error
    if isinstance(error, JobFailedError):  # its record does not travel; the message shows it
        bare = copy.copy(error)
        bare.record = None
        return bare
    return RemoteError(type(error).__name__, str(error))


def _travels(value: Any) -> bool:
    try:
        cloudpickle.loads(cloudpickle.dumps(value))
    except Exception:  # whatever a user's class does there
        return False
    return True


def _trace(error: BaseException) -> str:
    """Return the traceback from the user's first line on."""
    step = start = error.__traceback__
    while step is not None:
        if step.tb_frame.f_code.co_filename.startswith("<sage chain"):
            start = step.tb_next or start
        step = step.tb_next
    return "".join(traceback.format_exception(type(error), error, start)).rstrip()
