"""What a function may ask of the runtime that hosts it.

The engine implements this protocol (``sage.kernel.runtime.context.RuntimeContext``); libraries
that implement functions see only the protocol, so that they need not import the engine.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from sage.common.core.state import StateDescriptor

__all__ = ["Counter", "FunctionContext", "FunctionMetrics"]


class Counter(Protocol):
    """A number that only grows."""

    def inc(self, amount: int = 1) -> None:
        """Add ``amount`` to the count."""


class FunctionMetrics(Protocol):
    """Where a function puts numbers of its own."""

    def counter(self, name: str) -> Counter:
        """Return the counter of that name, made on first use."""


@runtime_checkable
class FunctionContext(Protocol):
    """What the runtime hands to ``open``: who this instance is and what it may use."""

    name: str
    uid: str
    parallel_index: int
    parallelism: int
    attempt: int

    @property
    def logger(self) -> logging.Logger:
        """The logger of this operator."""

    @property
    def metrics(self) -> FunctionMetrics:
        """Counters of this function, shown among the operator's metrics."""

    def get_logger(self) -> logging.Logger:
        """Return the logger of this operator."""

    @property
    def current_key(self) -> Any:
        """The key of the record that is being processed; None on a stream without keys."""

    def state(self, descriptor: StateDescriptor) -> Any:
        """Return the handle of what is remembered for each key.

        Args:
            descriptor: Such as `sage.common.core.state.ValueState`; the handle is its counterpart,
                `ValueHandle`.

        Raises:
            StateError: if the stream has no keys, or another state has that name.
        """

    def call_service(
        self, name: str, *args: Any, method: str = "process", timeout_s: float | None = None
    ) -> Any:
        """Call ``method`` of the service registered under ``name`` and return its result."""
