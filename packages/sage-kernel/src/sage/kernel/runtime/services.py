"""Services: objects that every function of a job can call by name.

A service is made once for each job and process, at its first call, and called directly: in the same
process there is no queue between a function and its service, so a service that keeps state must
bear calls from several threads.
"""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable
from typing import Any

from sage.common.errors import ServiceError
from sage.common.suggestions import did_you_mean

__all__ = ["ServiceFactory", "Services"]

ServiceFactory = Callable[[], Any]


class Services:
    """The services of one job."""

    def __init__(self, factories: dict[str, ServiceFactory] | None = None) -> None:
        self._factories = factories or {}
        self._made: dict[str, Any] = {}
        self._lock = threading.RLock()

    def call(
        self, name: str, args: tuple[Any, ...], *, method: str, timeout_s: float | None
    ) -> Any:
        """Call a method; with a timeout, in a thread of its own that is abandoned when late."""
        bound = self._method(name, method)
        if inspect.iscoroutinefunction(bound):
            import asyncio

            return asyncio.run(asyncio.wait_for(bound(*args), timeout_s))
        if timeout_s is None:
            return bound(*args)
        return self._call_in_time(name, method, bound, args, timeout_s)

    def portable(self) -> dict[str, ServiceFactory | None]:
        """Return how to make each service in another process; None for a given object."""
        made = self._factories.items()
        return {k: f if isinstance(f, functools.partial) else None for k, f in made}

    async def call_async(
        self, name: str, args: tuple[Any, ...], *, method: str, timeout_s: float | None
    ) -> Any:
        """Await an async method, or run another one in a thread."""
        import asyncio

        bound = self._method(name, method)
        if inspect.iscoroutinefunction(bound):
            work = bound(*args)
        else:
            work = asyncio.to_thread(bound, *args)
        try:
            return await asyncio.wait_for(work, timeout_s)
        except TimeoutError as error:
            raise _late(name, method, timeout_s) from error

    def close(self) -> None:
        """Close every service that was made and has a ``close``."""
        with self._lock:
            for service in self._made.values():
                close = getattr(service, "close", None)
                if callable(close):
                    close()
            self._made.clear()

    def _method(self, name: str, method: str) -> Callable[..., Any]:
        service = self._made.get(name)
        if service is None:
            service = self._make(name)
        bound = getattr(service, method, None)
        if not callable(bound):
            known = [m for m in dir(service) if not m.startswith("_")]
            raise ServiceError(
                f"service {name!r} ({type(service).__name__}) has no method {method!r}"
                f"{did_you_mean(method, known)}",
                service=name,
            )
        return bound  # type: ignore[no-any-return]

    def _make(self, name: str) -> Any:
        with self._lock:
            if name not in self._made:
                if name not in self._factories:
                    raise ServiceError(
                        f"no service is called {name!r}{did_you_mean(name, self._factories)}",
                        hint=f"env.register_service({name!r}, YourService)",
                        service=name,
                    )
                self._made[name] = self._factories[name]()
            return self._made[name]

    def _call_in_time(
        self,
        name: str,
        method: str,
        bound: Callable[..., Any],
        args: tuple[Any, ...],
        timeout_s: float,
    ) -> Any:
        outcome: list[tuple[bool, Any]] = []

        def work() -> None:
            try:
                outcome.append((True, bound(*args)))
            except BaseException as error:  # handed to the caller below
                outcome.append((False, error))

        thread = threading.Thread(target=work, name=f"sage-service-{name}", daemon=True)
        thread.start()
        thread.join(timeout_s)
        if not outcome:
            raise _late(name, method, timeout_s)
        succeeded, value = outcome[0]
        if not succeeded:
            raise value
        return value


def _late(name: str, method: str, timeout_s: float | None) -> ServiceError:
    return ServiceError(
        f"service {name!r} did not answer {method}() within {timeout_s} s", service=name
    )
