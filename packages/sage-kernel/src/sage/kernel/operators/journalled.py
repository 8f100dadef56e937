"""Functions whose results are journalled: what they are known by, and the call that looks first.

Results belong to a function with its config. Another class or another config gives other results,
so those in the journal are left alone; a changed body does not, since they are what the run would
have given that was cut short.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from sage.common.core import functions as fn
from sage.kernel.errors import FunctionError, GraphError, StateCodecError
from sage.kernel.operators.function_spec import FunctionSpec

if TYPE_CHECKING:
    from sage.kernel.checkpoint.journal import Journal, JournalFolder
    from sage.kernel.operators.operator import Operator

__all__ = ["HITS", "JournalledCall", "check_journal", "function_identity", "journal_of"]

HITS = "journal_hits"
"""The operator's counter of results that were taken from the journal."""


def check_journal(journal: Any, spec: FunctionSpec) -> None:
    """Refuse what cannot be journalled, when the pipeline is built.

    Raises:
        GraphError: if ``journal`` is neither true nor false.
        FunctionError: if the function keeps state, which a result from the journal would not bring.
    """
    if not isinstance(journal, bool):
        raise GraphError(f"journal must be True or False, got {journal!r:.80}")
    if not journal:
        return
    target = spec.target if isinstance(spec.target, type) else type(spec.target)
    if issubclass(target, fn.Function) and target.snapshot_state is not fn.Function.snapshot_state:
        raise FunctionError(
            f"{spec.label} keeps state of its own (snapshot_state), and a result from the journal "
            f"stands for a call that is not made: the state would miss it",
            hint="keep the state in an operator before or behind it, or leave journal out",
        )


def function_identity(spec: FunctionSpec) -> str:
    """Return what a function is known by: its name and a digest of its config.

    Arguments that cannot be stored count by their type.

    Example:
        >>> from sage.kernel.operators.function_spec import MAP
        >>> def shout(text):
        ...     return text.upper()
        >>> function_identity(FunctionSpec(MAP, shout))
        'shout'
    """
    from hashlib import blake2b  # half a millisecond that other jobs need not wait for

    target: Any = spec.target
    if isinstance(target, functools.partial):
        name, config = _name_of(target.func), [*target.args, dict(target.keywords)]
    elif spec.args or spec.kwargs:
        args, kwargs = spec.arguments()
        name, config = _name_of(target), [*args, dict(kwargs)]
    elif inspect.ismethod(target):
        name, config = _name_of(target), [_storable_fields(target.__self__)]
    elif hasattr(target, "__qualname__"):
        name, config = _name_of(target), [{}]
    else:
        name, config = _name_of(type(target)), [_storable_fields(target)]
    if config == [{}]:
        return name
    digest = blake2b(b"".join(map(_bytes_of, config)), digest_size=8)
    return f"{name} {digest.hexdigest()}"


def _name_of(target: Any) -> str:
    return getattr(target, "__qualname__", None) or type(target).__qualname__


def _storable_fields(instance: Any) -> dict[str, Any]:
    """Return what a user gave to an instance, but for what only this process can hold."""
    fields = getattr(instance, "__dict__", {})
    return {name: value for name, value in fields.items() if _encoded(value) is not None}


def _bytes_of(config: Any) -> bytes:
    if isinstance(config, Mapping):
        return b"".join(
            repr(name).encode() + _bytes_of(config[name]) for name in sorted(config, key=repr)
        )
    encoded = _encoded(config)
    return encoded if encoded is not None else type(config).__qualname__.encode()


def _encoded(value: Any) -> bytes | None:
    from sage.kernel.state.codec import StateCodec

    try:
        return StateCodec().encode(value)
    except StateCodecError:
        return None


def journal_of(
    operator: Operator, journals: JournalFolder, *, uid: str, name: str, subtask: int
) -> Journal | None:
    """Return the journal of one subtask of an operator, or None if it keeps none.

    Args:
        operator: The operator.
        journals: Those of the job.
        uid: The operator's uid.
        name: Its name.
        subtask: Which subtask.
    """
    if not operator.is_journalled:
        return None
    return journals.journal(uid, subtask, function_identity(operator.specs[0]), name=name)


class JournalledCall:
    """Calls a function for records of which the journal has no result.

    The result is durable before it is returned, which costs one sync of the disk for each call.

    Args:
        journal: The journal.
        function: What is called with a record.
        counters: The operator's custom counters.
        listed: Makes of what the function returned something that is all there, such as a list.
    """

    def __init__(
        self,
        journal: Journal,
        function: Callable[[Any], Any],
        counters: dict[str, int],
        listed: Callable[[Any], Any] | None = None,
    ) -> None:
        self._journal = journal
        self._function = function
        self._counters = counters
        self._listed = listed
        counters.setdefault(HITS, 0)

    def __call__(self, record: Any) -> Any:
        """Return the result for a record.

        Raises:
            StateCodecError: if the record or the result cannot be stored.
            JournalError: if the result cannot be written.
        """
        journal = self._journal
        journal.check()
        digest = journal.digest(record)
        recalled = journal.recall(digest)
        if recalled is not None:
            self._counters[HITS] += 1
            entry, result = recalled
        else:
            result = self._function(record)
            if self._listed is not None:
                result = self._listed(result)
            entry = journal.append(digest, result)
            journal.sync()
        journal.passed_on((entry,))  # no barrier comes before the chain is done with it
        return result
