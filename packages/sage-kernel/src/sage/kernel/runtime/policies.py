"""What becomes of a record at which a function raised: the last word of every error policy.

Invariant: a record that is set aside is counted under exactly one fate before anybody hears of it,
so the counts of a job add up also when it fails here.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Protocol

from sage.kernel.errors import JobFailedError, JournalError, KeyRefusedError
from sage.kernel.operators.map_batches import BatchFailed
from sage.kernel.runtime.chain_compiler import Failure
from sage.kernel.runtime.segment import Node
from sage.kernel.state.key_group import check_key

__all__ = ["NO_RIDERS", "DeadLetterHandler", "Naming", "refused_key_behind", "set_aside"]

NO_RIDERS: Mapping[str, Any] = MappingProxyType({})


class DeadLetterHandler(Protocol):
    """Takes what is set aside."""

    def __call__(
        self,
        node: Node,
        record: Any,
        error: BaseException,
        attempts: int,
        *,
        is_input: bool = True,
    ) -> None:
        """Keep it; ``is_input`` says whether it came into the operator as it is."""


def set_aside(
    node: Node,
    record: Any,
    error: Exception,
    attempts: int,
    dead_letter: DeadLetterHandler,
    riders: Mapping[str, Any] = NO_RIDERS,
) -> None:
    """Do what the operator's policy says with a record that failed for good.

    A record that belongs to a caller's request fails that request, and never the job.

    Raises:
        JobFailedError: if the policy is to fail.
    """
    request = riders.get("request")
    if request is not None:
        node.statistics.skipped += 1
        request.fail(_failure(node, record, error, attempts))
    elif isinstance(error, JournalError):
        node.statistics.failed += 1  # it is no fault of the record
        raise _failure(node, record, error, attempts) from error
    elif node.policy.action == "skip":
        node.statistics.skipped += 1
    elif node.policy.action == "dead_letter":
        node.statistics.dead_lettered += 1
        dead_letter(node, record, error, attempts)
    else:
        node.statistics.failed += 1
        raise _failure(node, record, error, attempts) from error


def _failure(node: Node, record: Any, error: Exception, attempts: int) -> JobFailedError:
    return JobFailedError(
        node.transformation.name, error, record=record, has_record=True, attempts=attempts
    )


def refused_key_behind(failure: Failure, error: Exception) -> Exception:
    """Where a keyed operator could not even hash its key, say that it is no key, and why."""
    if isinstance(error, TypeError) and "key" in failure.layout:
        try:
            check_key(failure.riders[failure.layout.index("key")])
        except KeyRefusedError as refused:
            return refused
    return error


class Naming:
    """Names the operator in an error that a life-cycle method raised."""

    def __init__(self, node: Node, doing: str) -> None:
        self._node, self._doing = node, doing

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, (JobFailedError, BatchFailed)):
            raise JobFailedError(
                self._node.transformation.name, error, doing=self._doing
            ) from error
