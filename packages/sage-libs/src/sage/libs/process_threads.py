"""Threads that belong to a process: a child made by ``fork`` starts its own.

An executor that was copied by a fork takes its parent's threads for its own and waits for them for
ever. Servers load their stores and models first and fork their workers then.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

__all__ = ["ProcessThreads"]

_P = ParamSpec("_P")
_T = TypeVar("_T")


class ProcessThreads:
    """A thread pool that works in the children of its process too.

    Args:
        workers: Most threads.
        name: What the names of its threads begin with.

    Example:
        >>> threads = ProcessThreads(1, "adder")
        >>> threads.submit(lambda a, b: a + b, 1, 2).result()
        3
        >>> threads.shutdown()
    """

    def __init__(self, workers: int, name: str) -> None:
        self._workers, self._name = workers, name
        self._start()

    def _start(self) -> None:
        self._executor = ThreadPoolExecutor(self._workers, thread_name_prefix=self._name)
        self._pid = os.getpid()

    @property
    def executor(self) -> ThreadPoolExecutor:
        """The pool of this process."""
        if self._pid != os.getpid():
            self._start()
        return self._executor

    def submit(
        self, function: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs
    ) -> Future[_T]:
        """Have a thread call a function."""
        return self.executor.submit(function, *args, **kwargs)

    def shutdown(self, *, wait: bool = True, cancel_futures: bool = False) -> None:
        """End the threads, as ``ThreadPoolExecutor.shutdown``."""
        self.executor.shutdown(wait=wait, cancel_futures=cancel_futures)
