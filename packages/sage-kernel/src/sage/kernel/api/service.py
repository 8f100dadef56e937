"""A pipeline as a service: many callers at once, each gets the output of its own record."""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import Future, InvalidStateError
from typing import Any

from sage.common.errors import ServiceError
from sage.kernel.api.job import Job
from sage.kernel.operators.requests import Request, RequestQueue

__all__ = ["PipelineService"]


class PipelineService:
    """What ``env.serve()`` returns; a context manager that stops the job at its end.

    Calls may come from any thread and any event loop. An operator that raises fails the call that
    the record belongs to, and never the job.

    Attributes:
        job: The job that answers.
    """

    def __init__(self, job: Job, queue: RequestQueue) -> None:
        self.job = job
        self._queue = queue
        self._closed = False
        self._open: set[Future[Any]] = set()
        threading.Thread(target=self._end_with_job, name="sage-service", daemon=True).start()

    def __enter__(self) -> PipelineService:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def call(self, record: Any, timeout_s: float | None = None) -> Any:
        """Send a record through the pipeline and return its first output.

        Args:
            record: What the source would have given.
            timeout_s: Longest wait for the answer.

        Returns:
            The output, or None if the pipeline gave none.

        Raises:
            JobFailedError: if an operator raised at this record.
            ServiceError: if the service is closed or does not answer in time.
        """
        return self._wait(self._send(record, every=False), timeout_s)

    def call_all(self, record: Any, timeout_s: float | None = None) -> list[Any]:
        """Send a record through the pipeline and return all its outputs; raises as `call` does."""
        outputs: list[Any] = self._wait(self._send(record, every=True), timeout_s)
        return outputs

    async def acall(self, record: Any, timeout_s: float | None = None) -> Any:
        """The same as `call`, awaited; raises as `call` does."""
        import asyncio

        answer = asyncio.wrap_future(self._send(record, every=False))
        try:
            return await asyncio.wait_for(answer, timeout_s)
        except TimeoutError as error:
            raise self._late(timeout_s) from error

    def close(self) -> None:
        """Answer what was asked so far, then stop the job."""
        if self._closed:
            return
        self._closed = True
        self.job.drain()
        self.job.wait()

    def _send(self, record: Any, *, every: bool) -> Future[Any]:
        if self._closed or self.job.status != "running":
            raise ServiceError(
                f"the service {self.job.name!r} is closed",
                hint=f"its job is {self.job.status}; env.serve() starts a new one",
            ) from self.job.error
        future: Future[Any] = Future()
        self._open.add(future)
        future.add_done_callback(self._open.discard)
        self._queue.put(record, Request(future, every))
        if self.job.status != "running":
            self._fail_open()  # it ended in between, and nobody reads the queue any more
        return future

    def _end_with_job(self) -> None:
        """On a thread of its own: no caller waits for a job that is over."""
        self.job.join()
        self._fail_open()

    def _fail_open(self) -> None:
        error = ServiceError(f"the job of the service {self.job.name!r} is {self.job.status}")
        error.__cause__ = self.job.error
        for future in list(self._open):
            with contextlib.suppress(InvalidStateError):  # the answer was faster
                future.set_exception(error)

    def _wait(self, future: Future[Any], timeout_s: float | None) -> Any:
        try:
            return future.result(timeout_s)
        except TimeoutError as error:
            if future.done():
                raise
            raise self._late(timeout_s) from error

    def _late(self, timeout_s: float | None) -> ServiceError:
        return ServiceError(f"the service {self.job.name!r} did not answer within {timeout_s} s")
