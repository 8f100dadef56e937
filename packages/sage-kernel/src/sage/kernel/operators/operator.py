"""What an operator is: an immutable description that knows its line of generated code.

An operator has no threads, no queues and no input or output. It says three things:

* how to make its live functions for one subtask (``live``);
* how it treats one record, as source text (``write``), from which the chain compiler makes one
  loop for a whole chain;
* what it has to say at the end of the input (``finish``).

The invariant that every ``write`` keeps: for each value that enters, control either falls through
with the output in ``loop.value``, or reaches ``continue`` after counting the fate of the value.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from sage.common.errors import StateError
from sage.kernel.metrics.fates import OperatorStatistics
from sage.kernel.operators.function_spec import FunctionSpec, LiveFunction
from sage.kernel.time.clock import Clock, system_clock

if TYPE_CHECKING:
    from sage.kernel.checkpoint.journal import Journal
    from sage.kernel.checkpoint.operator_state import OperatorState, RestoredState
    from sage.kernel.operators.inline_expression import InlinedFunction
    from sage.kernel.operators.loop import Loop
    from sage.kernel.state.keyed_state import KeyedState

__all__ = ["LiveOperator", "Operator", "Prove", "Row", "SideOutput", "with_rider"]


class SideOutput(Protocol):
    """Where records of a side output are collected."""

    layout: tuple[str, ...]
    values: list[Any]
    riders: tuple[list[Any], ...]

    def append_row(self, row: Sequence[Any]) -> None:
        """Add a record with its riders, in the order of ``layout``."""


class Row(tuple[Any, ...]):
    """A record with its riders, where a life-cycle method emits both."""

    __slots__ = ()


class Prove(Protocol):
    """Says what a function returns as an expression; see `sage.kernel.optimizer.inlining`."""

    def __call__(self, spec: FunctionSpec, parameters: int = 1) -> InlinedFunction | None:
        """Return the expression, or None where there is no proof."""


class LiveOperator:
    """An operator in one subtask: its functions and whatever state it keeps.

    Attributes:
        operator: The description.
        functions: Its live functions, in the order of ``operator.specs``.
        sides: The side outputs that something reads, by tag; set before the loop is written.
        statistics: Where its counts go.
        clock: Processing time, in seconds since the epoch.
        keyed: What its functions remember for each key, on a keyed stream; the deployment sets it.
        is_checkpointed: Whether snapshots will be taken; set before the loop is written.
        journal: Where its results are journalled; set before it is opened.
    """

    def __init__(self, operator: Operator, functions: list[LiveFunction]) -> None:
        self.operator = operator
        self.functions = functions
        self.sides: dict[str, SideOutput] = {}
        self.statistics = OperatorStatistics()
        self.clock: Clock = system_clock
        self.keyed: KeyedState | None = None
        self.is_checkpointed = False
        self.journal: Journal | None = None

    def open(self, context: Any) -> None:
        """Attach the context and open every function, in order."""
        for function in self.functions:
            if function.owner is not None:
                function.owner.attach(context)
                function.owner.open(context)
        if self.journal is not None and self.keyed is not None and self.keyed.schemas:
            raise StateError(
                f"operator {self.operator.label!r} journals its results and keeps keyed state: a "
                f"result from the journal stands for a call that is not made, and the state would "
                f"miss it",
                hint="keep the state in an operator before or behind it",
                state=self.keyed.schemas[0].name,
            )

    @property
    def held(self) -> int:
        """How many records it has taken in and not yet decided, between two batches."""
        return 0

    @property
    def due_s(self) -> float | None:
        """When ``on_due`` wants to be called, on ``clock``, or None."""
        return None

    def on_due(self) -> Iterable[Any]:
        """Yield what has waited long enough."""
        return ()

    def advance(self, watermark: float) -> None:
        """Learn how far event time has come."""

    def forwarded(self, watermark: float) -> float:
        """Return how far it has come for those behind, when this is how far it is here."""
        return watermark

    def is_idle(self, idle: bool) -> bool:
        """Return whether those behind need not wait for it, when that is how it is here."""
        return idle

    def snapshot(self, state: OperatorState, *, full: bool = True) -> None:
        """Put everything that has to be remembered into ``state``; see `OperatorState`.

        Called on the task's thread between two batches; what goes on must not reach it.

        Args:
            state: Where to put it.
            full: Whether everything is wanted, or what changed since the snapshot before is enough
                (``put_lazily(..., changes=True)``).
        """
        for number, function in enumerate(self.functions):
            own = function.owner.snapshot_state() if function.owner is not None else None
            if own is not None:
                state.put_whole(f"function {number}", own)
        if self.keyed is not None:
            state.put_keyed_state(self.keyed)

    def restore(self, state: RestoredState) -> None:
        """Take back what `snapshot` put in; called behind ``open``, before any record.

        Raises:
            StateMismatchError: if it cannot be spread over another number of subtasks.
        """
        for number, function in enumerate(self.functions):
            if function.owner is None:
                continue  # a function that had state is refused then
            own = state.whole(f"function {number}")
            if not own:
                continue
            if state.is_rescaled:
                name = self.operator.label
                raise state.refuse_rescale(name, "its function keeps state of its own")
            function.owner.restore_state(own[0])
        if self.keyed is not None:
            state.into(self.keyed)

    def finish(self) -> Iterable[Any]:
        """Yield what is still buffered at the end of the input."""
        for function in self.functions:
            if function.owner is not None:
                yield from function.owner.finish() or ()

    def flush(self) -> None:
        """Make what was written visible; sinks only."""

    def close(self) -> None:
        """Close every function and the journal, all of them; the first error is raised."""
        first: Exception | None = None
        closing = [f.owner.close for f in self.functions if f.owner is not None]
        if self.journal is not None:
            closing.append(self.journal.close)
        for close in closing:
            try:
                close()
            except Exception as error:
                first = first or error
        if self.keyed is not None:
            self.keyed.close()
        if first is not None:
            raise first


@dataclass(frozen=True)
class Operator:
    """Base of the operators; see the module's docstring.

    Attributes:
        kind: Its verb, for plans and metrics.
        one_to_one: Whether every record that is not dropped gives exactly one output.
        terminal: Whether nothing can follow it.
        starts_chain: Whether it insists on a task of its own, at whose head it stands.
        ends_segment: Whether it collects its results itself, for another loop behind it.
        uses_time: Whether its records must have timestamps.
        reads_time: Whether it makes use of timestamps where there are any.
        has_state: Whether its function may remember things for each key (`context.state`).
    """

    kind: ClassVar[str] = "operator"
    one_to_one: ClassVar[bool] = True
    terminal: ClassVar[bool] = False
    starts_chain: ClassVar[bool] = False
    ends_segment: ClassVar[bool] = False
    uses_time: ClassVar[bool] = False
    reads_time: ClassVar[bool] = False
    has_state: ClassVar[bool] = False

    @property
    def specs(self) -> tuple[FunctionSpec, ...]:
        """The functions that users gave to it."""
        return ()

    @property
    def is_journalled(self) -> bool:
        """Whether results of its function are journalled, so that no call is made again."""
        return False

    @property
    def label(self) -> str:
        """A name for it when the user gave none."""
        return self.specs[0].label if self.specs else self.kind

    @property
    def state_kind(self) -> str:
        """What its state means: a checkpoint of another kind is refused, not misread."""
        return self.kind

    @property
    def note(self) -> str:
        """What people should know about it who look at the plan."""
        return "results are journalled" if self.is_journalled else ""

    def layout_after(self, layout: tuple[str, ...]) -> tuple[str, ...]:
        """Return the riders behind this operator, given those that come in."""
        return layout

    def live(self, *, may_share: bool = True) -> LiveOperator:
        """Make the operator of one subtask."""
        return LiveOperator(self, [spec.live(may_share=may_share) for spec in self.specs])

    def inlined(self, prove: Prove) -> Operator:
        """Return the operator with what its functions return, where that can be proved."""
        return self

    def write(self, loop: Loop, live: LiveOperator) -> None:
        """Write how one record is treated."""
        raise NotImplementedError


def with_rider(layout: tuple[str, ...], name: str) -> tuple[str, ...]:
    """Return the layout behind an operator that gives every record a rider of that name."""
    return layout if name in layout else (*layout, name)
