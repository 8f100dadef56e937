"""What stands in a task for an operator whose functions are in a worker process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sage.common.core.functions import Function
from sage.kernel.config import ErrorPolicy
from sage.kernel.graph.transformation import Transformation
from sage.kernel.operators.function_spec import FunctionSpec
from sage.kernel.operators.operator import LiveOperator
from sage.kernel.runtime.process.launch import check_platform
from sage.kernel.runtime.process.portable import check_portable, not_portable, take_modules_along
from sage.kernel.runtime.process.protocol import Codec, Travelling
from sage.kernel.runtime.services import ServiceFactory, Services

if TYPE_CHECKING:
    from sage.kernel.checkpoint.operator_state import OperatorState, RestoredState

__all__ = ["LiveInProcess"]


class LiveInProcess(LiveOperator):
    """Stands in a task for an operator whose functions are in a worker process.

    Args:
        transformation: The operator.
        policy: What happens to a record at which it raises.
        services: The job's services.

    Attributes:
        keeps_state: Whether a function says that it has state of its own.
        state: What the functions said of it last, by number; None if more was done since.
        restored: What they had in the checkpoint that the job goes on from, by number.

    Raises:
        FunctionError: if a function cannot travel.
        GraphError: on a system without POSIX processes.
    """

    def __init__(
        self, transformation: Transformation, policy: ErrorPolicy, services: Services
    ) -> None:
        check_platform()
        super().__init__(transformation.operator, [])
        self.codec = Codec()
        self.context: Any = None
        self.held_there = 0
        self.keeps_state = any(map(_keeps_state, self.operator.specs))
        self.state: dict[int, Any] | None = None
        self.restored: dict[int, Any] = {}
        self.close_failure: Exception | None = None
        self._policy = policy
        self._services = {n: self._if_portable(make) for n, make in services.portable().items()}
        for spec in self.operator.specs:
            check_portable(spec)
            take_modules_along(spec)
        self._check()

    def travelling(self, *, goes_on: bool) -> bytes:
        """Return what the worker is made of, encoded.

        Args:
            goes_on: Whether a record that fails for good must not stop the others.
        """
        policy = ErrorPolicy("dead_letter", self._policy.retry) if goes_on else self._policy
        return self.codec.dumps(Travelling(self.operator, policy, self._services))

    def open(self, context: Any) -> None:
        """Keep the context; the functions are opened where they are."""
        self.context = context

    @property
    def held(self) -> int:
        """How many records are in the worker's buffer, as last reported."""
        return self.held_there

    def snapshot(self, state: OperatorState, *, full: bool = True) -> None:
        """Put in what the functions said, as if they were here.

        Records that the operator holds are in flight and come again, so they have not entered yet.
        """
        for number, own in (self.state or {}).items():
            if own is not None:
                state.put_whole(f"function {number}", own)  # as `LiveOperator` names it
        if self.held_there:
            state.put_listed("held", [self.held_there])

    def restore(self, state: RestoredState) -> None:
        """Keep what the functions had, until their worker starts.

        Raises:
            StateMismatchError: if the parallelism has changed and a function has state of its own.
        """
        for number in range(len(self.operator.specs)):
            if own := state.whole(f"function {number}"):
                if state.is_rescaled:
                    name = self.operator.label
                    raise state.refuse_rescale(name, "its function keeps state of its own")
                self.restored[number] = own[0]
        self.statistics.entered -= sum(state.listed("held"))

    def close(self) -> None:
        """Raise what the function's ``close`` raised in the worker."""
        if self.close_failure is not None:
            raise self.close_failure

    def _if_portable(self, make: ServiceFactory | None) -> ServiceFactory | None:
        try:
            self.codec.attempt(make)
        except Exception:  # told in the worker, to a function that calls this service
            return None
        return make

    def _check(self) -> None:
        try:
            self.codec.attempt((self.operator, self._policy))
        except Exception as error:
            spec = self.operator.specs[0]
            raise not_portable(spec, f"{type(error).__name__}: {error}") from error


def _keeps_state(spec: FunctionSpec) -> bool:
    target = spec.target if isinstance(spec.target, type) else type(spec.target)
    return issubclass(target, Function) and target.snapshot_state is not Function.snapshot_state
