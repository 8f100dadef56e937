"""What stands in a task for an operator whose functions are in a worker process."""

from __future__ import annotations

from typing import Any

from sage.kernel.config import ErrorPolicy
from sage.kernel.graph.transformation import Transformation
from sage.kernel.operators.operator import LiveOperator
from sage.kernel.runtime.process.launch import check_platform
from sage.kernel.runtime.process.portable import check_portable, not_portable, take_modules_along
from sage.kernel.runtime.process.protocol import Codec, Travelling
from sage.kernel.runtime.services import ServiceFactory, Services

__all__ = ["LiveInProcess"]


class LiveInProcess(LiveOperator):
    """Stands in a task for an operator whose functions are in a worker process.

    Args:
        transformation: The operator.
        policy: What happens to a record at which it raises.
        services: The job's services.

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
