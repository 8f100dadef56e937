"""``from_source``, ``from_collection``, ``from_batch``: where records come from.

Three kinds of source need three kinds of reader, which the runtime has; this module only says which
kind a user's object is:

* a *sequence* is sliced (it can be replayed and, at higher parallelism, divided);
* a `SourceFunction` is polled;
* anything that is *iterated* (a generator, an iterable, a `BatchFunction`) may block in the user's
  code, so it is read on a thread of its own.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sage.common.core.functions import BatchFunction, Function, SourceFunction, StopSignal
from sage.kernel.errors import FunctionError, GraphError
from sage.kernel.operators.function_spec import FunctionShape, FunctionSpec, LiveFunction
from sage.kernel.operators.operator import LiveOperator, Operator

__all__ = ["LiveSource", "SourceOperator"]

SOURCE = FunctionShape("from_source", SourceFunction, "read")
BATCH = FunctionShape("from_source", BatchFunction, "execute")


class LiveSource(LiveOperator):
    """A source in one subtask: exactly one of ``sequence``, ``polled`` and ``iterated`` is set."""

    sequence: Sequence[Any] | None = None
    polled: SourceFunction[Any] | None = None
    iterated: Callable[[], Iterator[Any]] | None = None


@dataclass(frozen=True)
class SourceOperator(Operator):
    """A source, from whatever the user gave.

    Args:
        given: A class, an instance, a generator function or another callable, or an iterable.
        args: Positional arguments of a class or callable.
        kwargs: Keyword arguments of a class or callable.
    """

    kind = "source"
    starts_chain = True
    given: Any
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self._shape is not None:
            FunctionSpec(self._shape, self.given, self.args, self.kwargs)
        elif inspect.isclass(self.given) and issubclass(self.given, Function):
            raise FunctionError(f"from_source wants a source, but {self.given.__name__} is none")
        elif isinstance(self.given, (str, bytes)):
            raise FunctionError(
                f"from_source got {type(self.given).__name__} {self.given!r:.80}, "
                f"which would be read letter by letter",
                hint="for a file: env.read_text(path); for one record: env.from_collection([...])",
            )
        elif not callable(self.given) and not isinstance(self.given, Iterable):
            raise FunctionError(
                f"from_source wants a source, got {type(self.given).__name__}: {self.given!r:.80}",
                hint="give a SourceFunction, a generator function or an iterable",
            )

    @property
    def label(self) -> str:
        """A name for it when the user gave none."""
        if isinstance(self.given, Function):
            return type(self.given).__name__
        return str(getattr(self.given, "__name__", self.kind))

    @property
    def bounded(self) -> bool:
        """Whether it ends by itself, as far as can be known; iterables are believed to."""
        if inspect.isclass(self.given):  # where it can be either, an option says which
            config = self.args[0] if self.args and isinstance(self.args[0], Mapping) else {}
            for options in (self.kwargs, config):
                if "bounded" in options:
                    return bool(options["bounded"])
        return bool(getattr(self.given, "bounded", True))

    @property
    def replayable(self) -> bool:
        """Whether it can be read again from where a checkpoint was made."""
        shape = self._shape
        if shape is None:
            return isinstance(self.given, Sequence)
        return all(hasattr(self.given, name) for name in ("snapshot_position", "seek"))

    @property
    def _shape(self) -> FunctionShape | None:
        cls = self.given if inspect.isclass(self.given) else type(self.given)
        if issubclass(cls, SourceFunction):
            return SOURCE
        return BATCH if issubclass(cls, BatchFunction) else None

    def live(self, *, may_share: bool = True) -> LiveSource:
        """Make the source of one subtask."""
        shape = self._shape
        if shape is None:
            return self._live_iterable()
        spec = FunctionSpec(shape, self.given, self.args, self.kwargs)
        function = spec.live(may_share=may_share)
        source = LiveSource(self, [function])
        if isinstance(function.owner, SourceFunction):
            source.polled = function.owner
        else:
            source.iterated = lambda: _batches(function)
        return source

    def _live_iterable(self) -> LiveSource:
        source = LiveSource(self, [])
        if isinstance(self.given, Sequence):
            source.sequence = self.given
        elif callable(self.given) and not isinstance(self.given, Iterable):
            source.iterated = lambda: iter(self.given(*self.args, **self.kwargs))
        else:
            self._check_unread()
            source.iterated = lambda: iter(self.given)
        return source

    def _check_unread(self) -> None:
        """A generator can be read once; a second run must not look like an empty source."""
        if not inspect.isgenerator(self.given):
            return
        if inspect.getgeneratorstate(self.given) != inspect.GEN_CREATED:
            raise GraphError(
                f"the generator {self.label!r} has been read already and cannot be read again",
                hint="give the generator function instead of calling it: every run calls it anew",
            )


def _batches(function: LiveFunction) -> Iterator[Any]:
    """Yield what a `BatchFunction` gives, until None or a stop signal."""
    execute = function.call
    while True:
        record = execute()
        if record is None or record is StopSignal or isinstance(record, StopSignal):
            return
        yield record
