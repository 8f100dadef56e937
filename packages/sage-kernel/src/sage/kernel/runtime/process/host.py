"""The parent's side of a worker process: what a task feeds and takes results from.

So many records are under way that the worker always has its next ones at hand: three parts, each of
about ``linger_ms`` of work, as measured. So a slow function gets one record at a time and a fast
one a thousand, and neither makes a result wait for strangers.

Invariant: a record counts as under way from ``feed`` until the worker reports it decided. A worker
that is gone with records under way ends the job with an error; it is never waited for.

A checkpoint is taken where the worker's results and its decided records agree: behind a report that
is *whole*. If the functions keep state of their own, it must agree with both, so the worker is
asked for it, and says it between two parts; what it has not worked on by then is in flight.
"""

from __future__ import annotations

import pickle
from typing import Any

from sage.kernel.errors import JobFailedError, WorkerDiedError
from sage.kernel.runtime.chain import Chain
from sage.kernel.runtime.channel import Batch, Mailbox
from sage.kernel.runtime.hosts import Outcome, Slice
from sage.kernel.runtime.process.connection import Connection
from sage.kernel.runtime.process.live import LiveInProcess
from sage.kernel.runtime.process.protocol import (
    NO_MORE,
    RECORDS,
    SETUP,
    SNAPSHOT,
    Failure,
    Report,
    Setup,
)
from sage.kernel.runtime.process.under_way import UnderWay

__all__ = ["ProcessHost"]

# So that what is under way stays small also where single records are large.
_PART_BYTES = 1 << 20


class ProcessHost:
    """Runs one subtask of an operator in a worker process.

    Args:
        chain: Whose first operator it is.
        mailbox: The task's, to wake it.
        linger_s: About how much work to hand over at once.
        batch_size: Most records to hand over at once.
        timeout_s: Seconds without a sign of life after which a worker is given up; None for never.
    """

    def __init__(
        self,
        chain: Chain,
        mailbox: Mailbox,
        linger_s: float,
        batch_size: int,
        timeout_s: float | None = None,
    ) -> None:
        node = chain.root.nodes[0]
        assert isinstance(node.live, LiveInProcess)
        self._live = node.live
        self._name = node.transformation.name
        self._layout = chain.root.layouts[0]
        # A caller's request that fails is answered, and the others go on.
        goes_on = "request" in self._layout
        self._travelling = node.live.travelling(goes_on=goes_on)
        self._connection = Connection(mailbox, timeout_s)
        self._linger_s = linger_s
        self._work_target_s = max(linger_s, 0.001)
        self._batch_size = batch_size
        self._size = 1
        self._record_bytes = 1.0
        self._under_way = UnderWay()
        self._outcomes: list[Outcome | Slice] = []
        self._said_no_more = False
        self._finished = False
        self._is_whole = True
        self._cut_wanted = False
        self._asked = False

    def start(self) -> None:
        """Start the worker, and leave it to start up while the first records come."""
        self._connection.start()
        context = self._live.context
        setup = Setup(
            self._travelling,
            context.name,
            context.uid,
            context.parallel_index,
            context.parallelism,
            context.attempt,
            context.checkpoint_mode,
            context.job_name,
            self._linger_s,
            bool(self._layout),
            self._live.is_checkpointed and self._live.keeps_state,
            self._live.codec.dumps(self._live.restored) if self._live.restored else b"",
        )
        self._travelling = b""  # it may hold a whole model
        self._connection.send(SETUP, pickle.dumps(tuple(setup), protocol=5))

    def room(self) -> int:
        """Return how many records may be fed now."""
        return max(0, 3 * self._size - self._under_way.undecided)

    def feed(self, batch: Batch) -> None:
        """Send records to the worker, in parts that each take about the linger time."""
        for start in range(0, len(batch.values), self._size):
            part = batch.sliced(start, start + self._size)
            try:
                payload = self._live.codec.dumps(part.values)
            except Exception:  # found out one by one, as it concerns only some
                part, payload = self._without_unsendable(part)
            if part.values:
                self._record_bytes = len(payload) / len(part.values)
                self._under_way.add(part)
                self._connection.send(RECORDS, payload)

    def take(self) -> list[Outcome | Slice]:
        """Return what has been reported, in order, and at last that the worker is gone.

        Where a cut is wanted, no more than up to the next one is returned.
        """
        connection = self._connection
        connection.looking()
        gone = connection.gone.is_set()  # before looking: what came last is still taken
        outcomes, self._outcomes = self._outcomes, []
        left = len(connection.arrived)
        while left:
            outcomes.append(self._read(connection.arrived.popleft()))
            left -= 1
            if self._cut_wanted and self._is_cut:
                break
        connection.taken()
        failed = any(isinstance(outcome, Slice) and outcome.failure for outcome in outcomes)
        if left:
            connection.wake()
        elif gone and not self._finished and not failed:
            outcomes.append(Slice(0, Batch([]), failure=self._death()))
        return outcomes

    def cut(self) -> bool:
        """Say whether a checkpoint may be taken now; asked again whenever something was taken.

        The first call asks the worker, if it has to be asked. It goes on working meanwhile, and a
        cut comes no later than behind the part that it is in.
        """
        if self._said_no_more and not self._finished:
            return False  # in the middle of finish(); what it leaves behind is told with its end
        if not self._outcomes and self._is_cut:
            self._cut_wanted = False
            return True
        self._cut_wanted = True
        if self._live.keeps_state and not self._asked:
            self._asked = True
            self._connection.send(SNAPSHOT)
        return False

    @property
    def _is_cut(self) -> bool:
        """Whether what was taken, what is decided and what is known of the state agree."""
        return self._is_whole and (self._live.state is not None or not self._live.keeps_state)

    def in_flight(self) -> Batch:
        """Return the records whose outcome was not taken, and those that the operator holds."""
        return self._under_way.rest(self._live.held_there)

    @property
    def busy(self) -> bool:
        """Whether records were fed, or the end was told, whose outcome was not taken yet."""
        if self._outcomes or self._under_way.undecided:
            return True
        return self._said_no_more and not self._finished

    def no_more(self) -> None:
        """Tell the worker that its input has ended."""
        if not self._said_no_more:
            self._said_no_more = True
            self._connection.send(NO_MORE)

    def close(self) -> None:
        """End the worker: let it close its function, or kill it if it does not come to that."""
        last_words = self._connection.close(finished=self._finished)
        if last_words is not None and self._finished:
            failure: Failure | None = self._live.codec.loads(last_words)
            if failure is not None:
                self._live.close_failure = self._told(failure)

    # Results.

    def _read(self, payload: bytes) -> Slice:
        try:
            report: Report = self._live.codec.loads(payload)
        except Exception as error:
            doing = "reading results of its worker process"
            return Slice(0, Batch([]), failure=JobFailedError(self._name, error, doing=doing))
        return self._slice(report, len(payload))

    def _slice(self, report: Report, size: int) -> Slice:
        counts = dict(report.counts)
        decided = counts.pop("entered", 0)
        self._resize(decided, report.work_s, size)
        held_before = self._live.held_there
        if report.held is not None:
            self._live.held_there = report.held
        self._finished = self._finished or report.finished
        self._is_whole, self._live.state = report.whole, report.state
        self._asked = self._asked and report.state is None
        values, riders = report.values, self._riders(report)
        letters = [self._letter(letter) for letter in report.letters]
        self._under_way.decide(decided, self._live.held_there)
        failure = report.failure
        return Slice(
            decided,
            Batch(values, riders),
            decided + held_before - self._live.held_there,
            counts,
            report.custom,
            letters,
            report.work_s,
            None if failure is None else self._job_failed(failure),
        )

    def _riders(self, report: Report) -> tuple[list[Any], ...]:
        if report.rows is None:
            return ()
        find, none = self._under_way.at, (None,) * len(self._layout)
        rows = [none if row is None else find(row)[1] for row in report.rows]
        return tuple([row[i] for row in rows] for i in range(len(self._layout)))

    def _letter(self, letter: Any) -> Outcome:
        record, riders = letter.record, ()
        if letter.row is not None:
            record, riders = self._under_way.at(letter.row)
        error = self._told(Failure(letter.error, letter.trace))
        return Outcome(record, riders, error=error, attempts=letter.attempts)

    def _told(self, failure: Failure) -> Exception:
        if failure.trace:
            failure.error.add_note(f"in worker process {self._connection.pid}:\n{failure.trace}")
        return failure.error

    def _job_failed(self, failure: Failure) -> JobFailedError:
        return JobFailedError(
            self._name,
            self._told(failure),
            record=failure.record,
            has_record=failure.has_record,
            doing=failure.doing,
            attempts=failure.attempts,
        )

    def _resize(self, decided: int, work_s: float, payload: int) -> None:
        """Choose how many records make a part: about the linger time's worth, growing gently."""
        if decided:
            in_time = int(self._work_target_s * decided / max(work_s, 1e-7))
            in_bytes = int(_PART_BYTES / max(payload / decided, self._record_bytes))
            self._size = max(1, min(in_time, in_bytes, 4 * self._size, self._batch_size))

    def _without_unsendable(self, part: Batch) -> tuple[Batch, bytes]:
        """Keep what can travel; the policy decides about the rest."""
        kept = []
        for row, value in enumerate(part.values):
            try:
                self._live.codec.attempt(value)
                kept.append(row)
            except Exception as error:
                riders = tuple(column[row] for column in part.riders)
                told = TypeError(
                    f"the record cannot be sent to a worker process: "
                    f"{type(error).__name__}: {error}"
                )
                self._outcomes.append(Outcome(value, riders, error=told))
        columns = [[column[row] for row in kept] for column in (part.values, *part.riders)]
        rest = Batch(columns[0], tuple(columns[1:]))
        self._connection.wake()
        return rest, self._live.codec.dumps(rest.values)

    def _death(self) -> JobFailedError:
        count = self._under_way.undecided
        first = f", the first of them {self._under_way.first!r:.200}" if count else ""
        ended = self._connection.how_it_ended()
        error = WorkerDiedError(
            f"worker process {self._connection.pid} {ended} with {count} "
            f"record{'' if count == 1 else 's'} under way{first}",
            pid=self._connection.pid,
            exit_status=self._connection.returncode,
            under_way=count,
        )
        return JobFailedError(self._name, error)
