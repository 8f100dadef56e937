"""Side outputs: ``process`` with ``ctx.output(tag, record)``, and ``route`` by predicates.

Example:
    >>> from sage.kernel import LocalEnvironment
    >>> numbers = LocalEnvironment().from_collection([1, 2, 3])
    >>> ways = numbers.route({"even": lambda n: n % 2 == 0, "odd": lambda n: True})
    >>> ways["even"].collect(), ways["odd"].collect()
    ([2], [1, 3])
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sage.common.core.functions import ProcessFunction
from sage.kernel.errors import FunctionError, no_keys
from sage.kernel.operators.flat_map import items_of
from sage.kernel.operators.function_spec import FunctionShape, FunctionSpec
from sage.kernel.operators.operator import LiveOperator, Operator
from sage.kernel.time.watermark import START_OF_TIME

if TYPE_CHECKING:
    from sage.common.core.state import StateDescriptor
    from sage.kernel.operators.loop import Loop

__all__ = ["PROCESS", "ProcessContext", "ProcessOperator", "RouteOperator", "has_timers"]

PROCESS = FunctionShape("process", ProcessFunction, "process")


class ProcessContext:
    """What ``process(record, ctx)`` gets beside the record.

    Attributes:
        current_key: The record's key on a keyed stream, else None.
        timestamp: The record's timestamp in seconds, or None on a stream without timestamps.
        watermark: How far event time has come, this record included.
        silent: Whether the current record has given no side output yet.
        beside: What rides beside the current record and goes on with its side outputs.
    """

    def __init__(self, live: LiveOperator) -> None:
        self._live = live
        self.current_key: Any = None
        self.timestamp: Any = None
        self.watermark = START_OF_TIME
        self.silent = True
        self.beside: dict[str, Any] = {}

    def output(self, tag: str, record: Any) -> None:
        """Send a record to the side output of that name; counted if nothing reads it."""
        if self.silent:
            self.silent = False
            self._live.statistics.empty -= 1  # the loop counts the record as empty until now
        side = self._live.sides.get(tag)
        if side is not None:
            side.append_row((record, *map(self.beside.get, side.layout)))
        else:
            counts = self._live.statistics.custom
            name = f"unread side output {tag!r}"
            counts[name] = counts.get(name, 0) + 1

    def state(self, descriptor: StateDescriptor) -> Any:
        """Return the handle of what is remembered for each key; best asked for in ``open``.

        Raises:
            StateError: if the stream has no keys.
        """
        if self._live.keyed is None:
            raise no_keys(descriptor.name)
        return self._live.keyed.handle(descriptor)

    @property
    def timers(self) -> Any:
        """The timers of the current key, for functions that define ``on_timer``."""
        raise FunctionError(
            "timers are for a ProcessFunction that defines on_timer(timestamp_s, ctx)",
            hint="give process a class with on_timer, on a keyed stream",
        )

    def let_go(self) -> None:
        """Forget the last record's request: one that nothing refers to any more is answered."""
        self.beside.pop("request", None)


def has_timers(spec: FunctionSpec) -> bool:
    """Whether a process function defines ``on_timer``; it is then run by `keyed_process`."""
    target = spec.target
    cls = target if isinstance(target, type) else type(target)
    return issubclass(cls, ProcessFunction) and cls.on_timer is not ProcessFunction.on_timer


@dataclass(frozen=True)
class ProcessOperator(Operator):
    """Calls ``process(record, ctx)`` and emits what it returns or yields."""

    kind = "process"
    has_state = True
    one_to_one = False
    reads_time = True
    function: FunctionSpec
    keyed: bool = False

    @property
    def specs(self) -> tuple[FunctionSpec, ...]:
        """The function."""
        return (self.function,)

    def write(self, loop: Loop, live: LiveOperator) -> None:
        """As ``flat_map``, with a context."""
        context = ProcessContext(live)
        ctx = loop.bind(context, "c")
        if self.keyed:
            loop.line(f"{ctx}.current_key = {loop.key}")
        if "time" in loop.riders:
            loop.line(f"{ctx}.timestamp = {loop.riders['time']}")
            loop.line(f"{ctx}.watermark = {loop.riders['watermark']}")
        known = {name for side in live.sides.values() for name in side.layout}
        beside = ", ".join(
            f"{n!r}: {variable}" for n, variable in loop.riders.items() if n in known
        )
        if beside:
            loop.line(f"{ctx}.beside = {{{beside}}}")
            loop.at_end(f"{ctx}.let_go()")
        function = loop.bind(live.functions[0].call)
        loop.line(f"{ctx}.silent = True")
        items = loop.bind(items_of("process"))
        loop.each_of(f"{function}({loop.value}, {ctx})", context=ctx, items=items)


@dataclass(frozen=True)
class RouteOperator(Operator):
    """Sends each record to the side output of the first predicate that accepts it.

    A record that none accepts is counted as filtered.
    """

    kind = "route"
    one_to_one = False
    routes: tuple[tuple[str, FunctionSpec], ...]

    @property
    def specs(self) -> tuple[FunctionSpec, ...]:
        """The predicates."""
        return tuple(spec for _, spec in self.routes)

    @property
    def label(self) -> str:
        """Its verb: a predicate's name would mislead."""
        return self.kind

    def write(self, loop: Loop, live: LiveOperator) -> None:
        """``if p0(v): side0(v); continue`` for each route."""
        for (tag, _), function in zip(self.routes, live.functions, strict=True):
            test = f"{loop.bind(function.call)}({loop.value})"
            side = live.sides.get(tag)
            if side is not None:
                send = loop.collecting(side)
            else:
                send = [f"{loop.bind(_unread(live, tag), 'o')}({loop.value})"]
            loop.block(f"if {test}:", [*send, "continue"])
        loop.drop_if("True", "filtered")


def _unread(live: LiveOperator, tag: str) -> Callable[[Any], None]:
    context = ProcessContext(live)
    context.silent = False  # a route counts no records as empty
    return lambda record: context.output(tag, record)
