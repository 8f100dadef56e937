"""What a function sees of the runtime: who it is, where it logs and counts, its services."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from sage.kernel.errors import no_keys
from sage.kernel.metrics.fates import OperatorStatistics
from sage.kernel.runtime.services import Services

if TYPE_CHECKING:
    from sage.common.core.state import StateDescriptor
    from sage.kernel.state.keyed_state import KeyedState

__all__ = ["FunctionCounters", "RuntimeContext"]


class _Counter:
    """A number of the user's function, shown among the operator's metrics."""

    def __init__(self, counts: dict[str, int], name: str) -> None:
        self._counts, self._name = counts, name
        counts.setdefault(name, 0)

    def inc(self, amount: int = 1) -> None:
        """Add ``amount``."""
        self._counts[self._name] += amount


class FunctionCounters:
    """Counters of one function in one subtask."""

    def __init__(self, statistics: OperatorStatistics) -> None:
        self._statistics = statistics

    def counter(self, name: str) -> _Counter:
        """Return the counter of that name, made on first use."""
        return _Counter(self._statistics.custom, name)


class RuntimeContext:
    """Handed to ``open``; also ``self.context`` of every function.

    Attributes:
        name: Name of the operator.
        uid: Its stable identity.
        parallel_index: Which subtask this is, from 0.
        parallelism: How many there are.
        attempt: How often the job was started again before.
        checkpoint_mode: "exactly_once" or "at_least_once"; None without checkpoints.
        job_name: Name of the job.
        metrics: Counters of this function.
    """

    def __init__(
        self,
        *,
        name: str,
        uid: str,
        parallel_index: int = 0,
        parallelism: int = 1,
        attempt: int = 0,
        statistics: OperatorStatistics | None = None,
        services: Services | None = None,
        keyed: KeyedState | None = None,
        checkpoint_mode: str | None = None,
        job_name: str = "",
    ) -> None:
        self.name = name
        self.uid = uid
        self.parallel_index = parallel_index
        self.parallelism = parallelism
        self.attempt = attempt
        self.checkpoint_mode = checkpoint_mode
        self.job_name = job_name
        self.metrics = FunctionCounters(statistics or OperatorStatistics())
        self._services = services or Services()
        self._keyed = keyed

    @property
    def logger(self) -> logging.Logger:
        """The logger ``sage.operator.<name>``."""
        return logging.getLogger(f"sage.operator.{self.name}")

    def get_logger(self) -> logging.Logger:
        """Return the logger of this operator."""
        return self.logger

    @property
    def current_key(self) -> Any:
        """The key of the record that is being processed; None on a stream without keys."""
        return self._keyed.current_key if self._keyed is not None else None

    def state(self, descriptor: StateDescriptor) -> Any:
        """Return the handle of what is remembered for each key; best asked for in ``open``.

        Args:
            descriptor: Such as `sage.common.core.state.ValueState`.

        Raises:
            StateError: if the stream has no keys, or another state has that name.
        """
        if self._keyed is None:
            raise no_keys(descriptor.name)
        return self._keyed.handle(descriptor)

    def call_service(
        self, name: str, *args: Any, method: str = "process", timeout_s: float | None = None
    ) -> Any:
        """Call a method of a registered service and return its result.

        Raises:
            ServiceError: if there is no such service or method, or no answer within ``timeout_s``.
        """
        return self._services.call(name, args, method=method, timeout_s=timeout_s)

    async def call_service_async(
        self, name: str, *args: Any, method: str = "process", timeout_s: float | None = None
    ) -> Any:
        """The same for async functions: awaits an async method, runs another in a thread."""
        return await self._services.call_async(name, args, method=method, timeout_s=timeout_s)
