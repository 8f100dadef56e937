"""What a worker tells its parent: results, counts, dead letters, and why it gives up.

Invariant: what gathered is taken and sent under one lock, so results arrive in the order in which
the operator gave them, whichever thread sends them. Counts are those of whole parts; a report is
*whole* if its results are too, so that results and counts tell of the same records.
"""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable
from typing import Any

from sage.kernel.errors import JobFailedError, RemoteError
from sage.kernel.metrics.fates import OperatorStatistics
from sage.kernel.operators.operator import LiveOperator
from sage.kernel.runtime.channel import Batch
from sage.kernel.runtime.output import Columns
from sage.kernel.runtime.process.protocol import Codec, Failure, Letter, Report

__all__ = ["Reporter"]

_COUNTED = [
    name
    for name in OperatorStatistics.__slots__
    if name != "pending" and isinstance(getattr(OperatorStatistics(), name), int)
]


class Reporter:
    """Gathers what there is to tell.

    Args:
        codec: The worker's.
        send: Sends an encoded report.
        with_rows: Whether results are to name the record they came of.

    Attributes:
        columns: Where the operator's loop puts results.
        live: The operator, once it is there.
        work_s: Time in which the function worked since the last report.
    """

    def __init__(self, codec: Codec, send: Callable[[bytes], None], *, with_rows: bool) -> None:
        self.columns = Columns(("row",) if with_rows else ())
        self.live: LiveOperator | None = None
        self.work_s = 0.0
        self._codec = codec
        self._send = send
        self._letters: list[Letter] = []
        self._settled: Report | None = None  # of whole parts, not sent yet
        self._reported = dict.fromkeys(_COUNTED, 0)
        self._reported_custom: dict[str, int] = {}
        self._lock = threading.Lock()

    def set_aside(self, record: Any, error: Exception, attempts: int, row: int | None) -> None:
        """Keep a record that failed for the next report."""
        told, trace = self._portable(error)
        record = None if row is not None else self._tellable(record)  # the parent has the rows
        self._letters.append(Letter(row, record, told, trace, attempts))

    @property
    def waiting(self) -> int:
        """How many results have gathered."""
        settled = self._settled  # the attendant may take it meanwhile
        return len(self.columns.values) + (len(settled.values) if settled is not None else 0)

    def settle(self) -> None:
        """Take note, between two parts, that all that has gathered is of decided records."""
        with self._lock:
            self._settle()

    def report(
        self,
        *,
        failure: Failure | None = None,
        finished: bool = False,
        whole: bool = True,
        state: dict[int, Any] | None = None,
    ) -> bool:
        """Send what there is; return False if a result could not travel, which ends the job.

        Args:
            failure: Why nothing more will come.
            finished: Whether this is all that the operator has to say.
            whole: Whether it comes between two parts; else results go on before they count.
            state: What the functions keep for themselves, by number.
        """
        with self._lock:
            if whole:
                self._settle()
            report = _joined(self._settled, Report(*_told(self.columns.take())))
            report = report._replace(failure=failure, finished=finished, whole=whole, state=state)
            self._settled = None
            try:
                payload = self._codec.dumps(report)
            except Exception as error:
                self._send(self._codec.dumps(self._cut(report, error)))
                return False
            self._send(payload)
            return True

    def let_out(self) -> None:
        """On the attendant's thread: send results while the main thread is in a slow call."""
        if self._settled is None and not self.columns.values:
            return
        if not self._lock.acquire(blocking=False):
            return
        try:
            if self._settled is not None:
                if not self._lets_out(self._settled):
                    return
                self._settled = None
            batch = self.columns.take()
            if batch.values and not self._lets_out(Report(*_told(batch), whole=False)):
                self._put_back(batch)
        finally:
            self._lock.release()

    def _lets_out(self, report: Report) -> bool:
        try:
            payload = self._codec.dumps(report)
        except Exception:  # the main thread will meet the same, and tell it
            return False
        self._send(payload)
        return True

    def _settle(self) -> None:
        told = _told(self.columns.take())
        letters, self._letters = self._letters, []
        held = self.live.held if self.live is not None else 0
        work_s, self.work_s = self.work_s, 0.0
        report = Report(*told, *self._new_counts(), letters, held, work_s)
        self._settled = _joined(self._settled, report)

    def failure(self, error: Exception) -> Failure:
        """Return the parts of an error that ends the job."""
        if not isinstance(error, JobFailedError):
            return Failure(*self._portable(error))
        cause = error.__cause__
        assert isinstance(cause, Exception)
        record = self._tellable(error.record)
        return Failure(
            *self._portable(cause), record, error.has_record, error.doing, error.attempts
        )

    def _put_back(self, batch: Batch) -> None:
        # The main thread appends meanwhile, at the other end.
        self.columns.values[:0] = batch.values
        for column, taken in zip(self.columns.riders, batch.riders, strict=True):
            column[:0] = taken

    def _new_counts(self) -> tuple[dict[str, int], dict[str, int]]:
        """Return what was counted since the last time."""
        if self.live is None:
            return {}, {}
        statistics = self.live.statistics
        before, self._reported = self._reported, {n: getattr(statistics, n) for n in _COUNTED}
        counts = {n: count - before[n] for n, count in self._reported.items() if count != before[n]}
        known, self._reported_custom = self._reported_custom, dict(statistics.custom)
        custom = {n: count - known.get(n, 0) for n, count in self._reported_custom.items()}
        return counts, custom

    def _cut(self, report: Report, error: Exception) -> Report:
        """Return a report up to the first result that cannot travel, and let that end the job."""
        for at, value in enumerate(report.values):
            try:
                self._codec.attempt(value)
            except Exception as why:
                told = TypeError(
                    f"the function gave {value!r:.80} ({type(value).__name__}), which cannot be "
                    f"sent back from a worker process: {type(why).__name__}: {why}"
                )
                rows = None if report.rows is None else report.rows[:at]
                return report._replace(
                    values=report.values[:at], rows=rows, failure=Failure(told, "")
                )
        doing = "snapshot_state()" if report.state is not None else ""
        cause = RemoteError(type(error).__name__, str(error))
        return Report([], failure=Failure(cause, "", doing=doing))

    def _tellable(self, record: Any) -> Any:
        """Return a record, or its repr if the function made of it what cannot travel."""
        try:
            self._codec.attempt(record)
        except Exception:
            return repr(record)
        return record

    def _portable(self, error: Exception) -> tuple[Exception, str]:
        """Return an exception as it can travel, and its traceback from the user's code on."""
        step = start = error.__traceback__
        while step is not None:
            if step.tb_frame.f_code.co_filename.startswith("<sage chain"):
                start = step.tb_next or start
            step = step.tb_next
        trace = "".join(traceback.format_exception(type(error), error, start)).rstrip()
        try:
            self._codec.check(error)
        except Exception:  # such as one whose constructor wants other arguments than it kept
            return RemoteError(type(error).__name__, str(error)), trace
        return error, trace


def _joined(first: Report | None, then: Report) -> Report:
    """Return two reports, of which the second one was not sent yet either, as one."""
    if first is None:
        return then
    return Report(
        first.values + then.values,
        None if first.rows is None or then.rows is None else first.rows + then.rows,
        _sums(first.counts, then.counts),
        _sums(first.custom, then.custom),
        first.letters + then.letters,
        first.held if then.held is None else then.held,
        first.work_s + then.work_s,
    )


def _sums(first: dict[str, int], then: dict[str, int]) -> dict[str, int]:
    return {name: first.get(name, 0) + then.get(name, 0) for name in {**first, **then}}


def _told(batch: Batch) -> tuple[list[Any], list[Any] | None]:
    return batch.values, batch.riders[0] if batch.riders else None
