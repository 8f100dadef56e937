"""What a user sees of checkpoints: going on, starting over, stopping, savepoints, and refusals."""

from __future__ import annotations

import asyncio
import functools
import itertools
import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from sage.common.core.functions import MapFunction, SinkFunction, SourceFunction
from sage.common.errors import ConfigError
from sage.kernel import LocalEnvironment
from sage.kernel.api import lifetime
from sage.kernel.api.job import Job, JobResult
from sage.kernel.errors import (
    CheckpointError,
    GraphError,
    JobFailedError,
    StateMismatchError,
)
from sage.kernel.testing.conservation import check_conservation

PATIENCE_S = 30


class CommittingSink(SinkFunction[Any]):
    """A transactional sink in memory, which outlives the job as a database would."""

    committed: ClassVar[dict[str, dict[tuple[int, int], list[Any]]]] = defaultdict(dict)
    staged: ClassVar[dict[str, dict[tuple[int, int], list[Any]]]] = defaultdict(dict)

    def __init__(self, name: str) -> None:
        self.name = name

    def open(self, context: Any) -> None:
        self.subtask, self.subtasks = context.parallel_index, context.parallelism

    def begin(self, epoch: int) -> None:
        self.at = (self.subtask, epoch)
        self.records: list[Any] = []

    def write(self, record: Any) -> None:
        self.records.append(record)

    def prepare(self, epoch: int) -> None:
        self.staged[self.name][self.at] = self.records

    def commit(self, epoch: int) -> None:
        for at in self._own(epoch):
            self.committed[self.name][at] = self.staged[self.name].pop(at)

    def abort(self, epoch: int) -> None:
        for at in self._own(epoch):
            del self.staged[self.name][at]

    def _own(self, epoch: int) -> list[tuple[int, int]]:
        """What this subtask has to settle, of its predecessors too; others are at work already."""
        staged = list(self.staged[self.name])
        return [at for at in staged if at[1] == epoch and at[0] % self.subtasks == self.subtask]

    @classmethod
    def of(cls, name: str) -> list[Any]:
        """Return what was committed."""
        return [record for records in cls.committed[name].values() for record in records]


class Numbers(SourceFunction[int]):
    """Counts up; waits at some numbers until it is let go on."""

    gates: ClassVar[dict[str, dict[int, threading.Event]]] = {}

    def __init__(self, name: str, end: int) -> None:
        self.name, self.end, self.next = name, end, 0

    def read(self, max_records: int) -> Sequence[int] | None:
        if self.next >= self.end:
            return None
        gate = self.gates.get(self.name, {}).get(self.next)
        if gate is not None and not gate.wait(0.01):
            return []
        self.next += 1
        return [self.next - 1]

    def snapshot_position(self) -> int:
        return self.next

    def seek(self, position: int) -> None:
        self.next = position


@pytest.fixture
def name(request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of the test's job, sink and source."""
    name = request.node.name
    yield name
    CommittingSink.committed.pop(name, None)
    CommittingSink.staged.pop(name, None)
    Numbers.gates.pop(name, None)


def environment(folder: Path, name: str = "job", **options: Any) -> LocalEnvironment:
    """Return an environment that checkpoints into a folder."""
    given = {"checkpoint_dir": folder, "checkpoint_interval": 0.01, **options}
    return LocalEnvironment(name, config={"fault_tolerance": given})


def counting(env: LocalEnvironment, name: str, numbers: Any) -> LocalEnvironment:
    """Count numbers by their last digit."""
    env.from_source(numbers).key_by(lambda n: n % 10, uid="digit").count(uid="count").sink(
        CommittingSink, name, uid="sink"
    )
    return env


def until(job: Job, condition: Callable[[], bool]) -> None:
    """Wait until something is so, as long as the job runs."""
    for _ in itertools.count():
        ended = job.join(0.01)  # before looking: what is so at the end counts
        if condition():
            return
        assert not ended, job.error


def wanted(numbers: int) -> list[tuple[int, int]]:
    """What counting gives."""
    return sorted((n % 10, n // 10 + 1) for n in range(numbers))


def test_a_job_that_has_ended_adds_nothing_when_it_is_run_again(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its last checkpoint says that it has ended; the metrics are those of the run that counts."""
    for _ in range(2):
        result = counting(environment(tmp_path), name, Numbers(name, 50)).execute()
        assert sorted(CommittingSink.of(name)) == wanted(50)
        assert result.metrics["count"].received == 50
        check_conservation(result.metrics)
    assert "has been run to its end" in capsys.readouterr().err


def test_fresh_starts_over(tmp_path: Path, name: str) -> None:
    """With ``fresh`` nothing of before counts."""
    counting(environment(tmp_path), name, Numbers(name, 20)).execute()
    again = counting(environment(tmp_path, fresh=True), name, Numbers(name, 30)).execute()
    assert again.metrics["count"].received == 30
    assert again.metrics.checkpoints is not None
    assert again.metrics.checkpoints.restored == 0


def test_a_failed_job_goes_on_when_it_is_run_again(tmp_path: Path, name: str) -> None:
    """What a checkpoint covers is not done again, and the output is that of a run without fault."""
    calls: list[int] = []
    broken = [True]

    def checked(n: int) -> int:
        calls.append(n)
        if n == 40 and broken:
            raise ValueError("a bad moment")
        return n

    def run() -> JobResult:
        env = environment(tmp_path)
        env.from_source(Numbers(name, 60)).map(checked).sink(CommittingSink, name)
        job = env.submit()
        until(job, lambda: 30 not in Numbers.gates[name] or bool(_completed(job)))
        Numbers.gates[name][30].set()
        return job.wait(PATIENCE_S)

    Numbers.gates[name] = {30: threading.Event()}
    with pytest.raises(JobFailedError, match="a bad moment"):
        run()
    broken.clear()
    result = run()
    assert sorted(CommittingSink.of(name)) == list(range(60))
    assert calls.count(0) == 1
    check_conservation(result.metrics)


def _has_received(job: Job, operator: str, records: int) -> bool:
    return job.metrics()[operator].received == records


def _completed(job: Job) -> int:
    checkpoints = job.metrics().checkpoints
    return checkpoints.completed if checkpoints is not None else 0


class FailsInTheFirstAttempts(MapFunction[int, int]):
    """Raises until the job was started again so often."""

    def __init__(self, attempts: int) -> None:
        self.attempts = attempts

    def map(self, record: int) -> int:
        assert self.context is not None
        if record == 25 and self.context.attempt < self.attempts:
            raise RuntimeError("not yet")
        return record


def test_a_restart_strategy_starts_the_job_again(tmp_path: Path, name: str) -> None:
    """The same process goes on from the newest checkpoint, as often as the strategy says."""
    restart = {"strategy": "fixed", "max_attempts": 2, "delay_s": 0}
    env = environment(tmp_path, restart=restart)
    env.from_source(Numbers(name, 50)).map(FailsInTheFirstAttempts, 2).sink(CommittingSink, name)
    result = env.execute()
    assert sorted(CommittingSink.of(name)) == list(range(50))
    assert result.metrics.checkpoints is not None
    assert result.metrics.checkpoints.restarts == 2
    check_conservation(result.metrics)


def test_a_restart_strategy_gives_up(tmp_path: Path, name: str) -> None:
    """Then the job fails with the last error."""
    restart = {"strategy": "fixed", "max_attempts": 2, "delay_s": 0}
    env = environment(tmp_path, restart=restart)
    env.from_source(Numbers(name, 50)).map(FailsInTheFirstAttempts, 9).sink(CommittingSink, name)
    with pytest.raises(JobFailedError, match="not yet"):
        env.execute()


def test_stop_ends_at_a_checkpoint_and_the_next_run_goes_on(tmp_path: Path, name: str) -> None:
    """Windows and counts are not closed by a stop, and no record is seen twice."""
    Numbers.gates[name] = {35: threading.Event()}
    env = counting(environment(tmp_path, checkpoint_interval=1000), name, Numbers(name, 50))
    job = env.submit()
    until(job, lambda: job.metrics()["count"].received == 35)
    env.stop()
    assert job.wait(PATIENCE_S).status == "finished"
    assert sorted(CommittingSink.of(name)) == wanted(35)
    Numbers.gates[name][35].set()
    counting(environment(tmp_path), name, Numbers(name, 50)).execute()
    assert sorted(CommittingSink.of(name)) == wanted(50)


def test_another_job_goes_on_from_a_savepoint(tmp_path: Path, name: str) -> None:
    """A savepoint stands alone: what it came from may be deleted."""
    Numbers.gates[name] = {35: threading.Event()}
    env = counting(environment(tmp_path / "a"), name, Numbers(name, 50))
    job = env.submit()
    until(job, lambda: job.metrics()["count"].received == 35)
    path = job.savepoint(str(tmp_path / "kept"), timeout=PATIENCE_S)
    job.cancel()
    job.join(PATIENCE_S)
    Numbers.gates[name][35].set()
    other = environment(tmp_path / "b", name="other", restore_from=path)
    result = counting(other, f"{name}-b", Numbers(name, 50)).execute()
    assert result.metrics["count"].received == 50
    assert len(CommittingSink.of(f"{name}-b")) == 15


def test_savepoints_need_a_job_that_makes_checkpoints(tmp_path: Path, name: str) -> None:
    """Both a job without checkpoints and one that has ended say so."""
    plain = LocalEnvironment()
    plain.from_collection([1]).sink(print)
    ended = plain.submit(autostop=True)
    for ask in (ended.savepoint, ended.checkpoint):
        with pytest.raises(CheckpointError, match="makes no checkpoints"):
            ask()
    job = counting(environment(tmp_path), name, Numbers(name, 3)).submit()
    job.wait(PATIENCE_S)
    with pytest.raises(CheckpointError, match="finished"):
        job.savepoint()


def test_a_checkpoint_can_be_had_out_of_turn(tmp_path: Path, name: str) -> None:
    """Whoever asks learns where it is."""
    Numbers.gates[name] = {3: threading.Event()}
    env = counting(environment(tmp_path, checkpoint_interval=1000), name, Numbers(name, 5))
    job = env.submit()
    assert (Path(job.checkpoint(PATIENCE_S)) / "MANIFEST.json").is_file()
    Numbers.gates[name][3].set()
    job.wait(PATIENCE_S)


def test_state_moves_with_its_keys_to_another_parallelism(tmp_path: Path, name: str) -> None:
    """Stopped with one subtask, gone on with three, and then with two."""
    Numbers.gates[name] = {20: threading.Event(), 40: threading.Event()}
    for parallelism, gate in ((1, 20), (3, 40), (2, None)):
        env = environment(tmp_path, checkpoint_interval=1000)
        numbers = env.from_source(Numbers(name, 60), uid="numbers", parallelism=1)
        counted = numbers.key_by(lambda n: n % 10, uid="digit", parallelism=1)
        counted.count(uid="count", parallelism=parallelism).sink(
            CommittingSink, name, uid="sink", parallelism=1
        )
        job = env.submit()
        if gate is not None:
            until(job, functools.partial(_has_received, job, "count", gate))
            env.stop()
        result = job.wait(PATIENCE_S)
        if gate is not None:
            Numbers.gates[name][gate].set()
    assert sorted(CommittingSink.of(name)) == wanted(60)
    check_conservation(result.metrics)


def test_records_under_way_to_all_subtasks_are_not_divided(tmp_path: Path, name: str) -> None:
    """Each subtask has its copy, and another number of subtasks another number of copies."""
    release = asyncio.Event()

    async def held(n: int) -> int:
        await asyncio.wait_for(release.wait(), PATIENCE_S)
        return n

    for parallelism in (2, 3):
        env = environment(tmp_path, checkpoint_interval=1000)
        numbers = env.from_source(Numbers(name, 5), uid="numbers")
        numbers.broadcast().map_async(held, uid="held", parallelism=parallelism).sink(
            CommittingSink, name, uid="sink", parallelism=1
        )
        job = env.submit()
        if parallelism == 2:
            until(job, functools.partial(_has_received, job, "held", 10))
            job.checkpoint(PATIENCE_S)
            job.cancel()
            job.join(PATIENCE_S)
    with pytest.raises(StateMismatchError, match=r"'held' had 2 subtasks and now has 3.*divided"):
        job.wait(PATIENCE_S)


def test_a_sequence_is_shared_anew_by_another_parallelism(tmp_path: Path, name: str) -> None:
    """What was left to read of each part is divided."""
    never = threading.Event()

    def slow(n: int) -> int:
        never.wait(0.002)
        return n

    for parallelism in (2, 3):
        env = LocalEnvironment(
            "job",
            config={
                "batch_size": 1,
                "fault_tolerance": {"checkpoint_dir": tmp_path, "checkpoint_interval": 0.01},
            },
        )
        numbers = env.from_collection(list(range(300)), uid="numbers", parallelism=parallelism)
        numbers.map(slow, uid="slow", parallelism=parallelism).sink(
            CommittingSink, name, uid="sink", parallelism=parallelism
        )
        job = env.submit()
        if parallelism == 2:
            until(job, lambda: len(CommittingSink.of(name)) >= 30)
            job.cancel()
            job.join(PATIENCE_S)
        else:
            job.wait(PATIENCE_S)
    assert sorted(CommittingSink.of(name)) == list(range(300))


def test_dead_letters_survive(tmp_path: Path, name: str) -> None:
    """What was set aside before the checkpoint is there after it, and counted once."""
    for _ in range(2):
        env = environment(tmp_path)
        numbers = env.from_collection([1, 0, 2], uid="numbers")
        numbers.map(lambda n: 1 // n, on_error="dead_letter", uid="divided").sink(
            CommittingSink, name, uid="sink"
        )
        job = env.submit(autostop=True)
        (letter,) = job.dead_letters()
        assert (letter.record, letter.operator) == (0, job.metrics().operators[1].name)
        assert "ZeroDivisionError" in letter.error
        assert job.metrics()["divided"].dead_lettered == 1


# What is refused.


def test_a_source_that_cannot_be_read_again_is_refused(tmp_path: Path) -> None:
    """Exactly once cannot be promised for a generator; whoever accepts that says so."""

    def numbers() -> Iterator[int]:
        yield from range(3)

    env = environment(tmp_path)
    env.from_source(numbers).sink(print)
    with pytest.raises(GraphError, match=r"numbers.*cannot be read again"):
        env.execute()
    for accepted in ({"allow_non_replayable": True}, {"checkpoint_mode": "at_least_once"}):
        env = environment(tmp_path / str(len(accepted)), name=next(iter(accepted)), **accepted)
        env.from_source(numbers).sink(str)
        assert env.execute().status == "finished"


@pytest.mark.parametrize(
    "options",
    [
        {"checkpoint_dir": None},
        {"checkpoint_interval": None},
        {"checkpoint_interval": 0},
        {"retain": 0},
        {"fresh": None},
        {"strategy": "chekpoint"},
        {"journal_dir": "s3://bucket/journal"},
        {"chekpoint": 1},
    ],
)
def test_options_are_checked_where_they_enter(tmp_path: Path, options: dict[str, Any]) -> None:
    """A wrong or unknown option is an error that names its place."""
    with pytest.raises(ConfigError, match=r"\$\.fault_tolerance"):
        environment(tmp_path, **options)


def test_what_is_no_checkpoint_cannot_be_begun_with(tmp_path: Path) -> None:
    """The error says that nothing is there, and how to find what is."""
    env = environment(tmp_path, restore_from=tmp_path / "nowhere")
    env.from_collection([1]).sink(str)
    with pytest.raises(CheckpointError, match=r"nowhere.*no such folder(.|\n)*checkpoint list"):
        env.execute()


def test_who_asks_for_checkpoints_and_collects_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What ends with the process makes no checkpoints, and does not pretend to."""
    env = environment(tmp_path)
    stream = env.from_collection([1, 2])
    assert stream.collect() == stream.collect() == [1, 2]
    with env.serve(stream):
        pass
    told = [r.getMessage() for r in caplog.records if "makes no checkpoints" in r.getMessage()]
    assert [each.split()[0] for each in told] == ["collect()", "serve()"]
    LocalEnvironment().from_collection([1]).collect()
    assert len(caplog.records) == len(told)


class Buffering(SinkFunction[int]):
    """Writes in batches, as sinks do that speak to a server."""

    def __init__(self) -> None:
        self.buffer: list[int] = []

    def write(self, record: int) -> None:
        self.buffer.append(record)

    def flush(self) -> None:
        self.buffer.clear()


def test_what_a_sink_writes_at_a_flush_is_no_state_of_its_own(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """No checkpoint has to remember a buffer that each of them empties."""
    env = environment(tmp_path)
    env.from_collection([1, 2, 3]).sink(Buffering)
    assert env.execute().metrics.checkpoints.completed > 0
    assert "keeps state" not in caplog.text


def test_a_collection_that_has_changed_is_refused(tmp_path: Path, name: str) -> None:
    """Also when the job had ended: its new records would be ignored in silence."""
    counting(environment(tmp_path), name, [1, 2, 3]).execute()
    with pytest.raises(StateMismatchError, match=r"had 3 records.*has 4 now"):
        counting(environment(tmp_path), name, [1, 2, 3, 4]).execute()


def test_an_operator_that_is_another_one_now_is_refused(tmp_path: Path, name: str) -> None:
    """The error names both, and the old checkpoint is still there."""
    counting(environment(tmp_path), name, Numbers(name, 20)).execute()
    env = environment(tmp_path)
    env.from_source(Numbers(name, 20)).key_by(lambda n: n, uid="digit").reduce(
        lambda a, b: a + b, uid="count"
    ).sink(CommittingSink, name, uid="sink")
    with pytest.raises(StateMismatchError, match=r"'count' was a count .* is a reduce"):
        env.execute()
    counting(environment(tmp_path), name, Numbers(name, 20)).execute()
    assert sorted(CommittingSink.of(name)) == wanted(20)


def test_state_is_not_dropped_unless_that_is_allowed(tmp_path: Path, name: str) -> None:
    """An operator with state that is gone from the plan is named."""
    Numbers.gates[name] = {9: threading.Event()}
    env = counting(environment(tmp_path, checkpoint_interval=1000), name, Numbers(name, 20))
    job = env.submit()
    until(job, lambda: job.metrics()["count"].received == 9)
    env.stop()
    job.wait(PATIENCE_S)
    Numbers.gates[name][9].set()

    def without_count(**options: Any) -> LocalEnvironment:
        env = environment(tmp_path, **options)
        env.from_source(Numbers(name, 20)).sink(CommittingSink, name, uid="sink")
        return env

    with pytest.raises(StateMismatchError, match=r"'count'.*not in the plan any more"):
        without_count().execute()
    assert without_count(allow_dropped_state=True).execute().status == "finished"


def test_two_runs_of_one_job_are_refused(tmp_path: Path, name: str) -> None:
    """The second is told who has it; jobs of other names share the folder."""
    Numbers.gates[name] = {3: threading.Event()}
    job = counting(environment(tmp_path), name, Numbers(name, 5)).submit()
    with pytest.raises(CheckpointError, match="running already"):
        counting(environment(tmp_path), name, Numbers(name, 5)).submit()
    other = environment(tmp_path, name="other")
    other.from_collection([1]).sink(str)
    assert other.execute().status == "finished"
    Numbers.gates[name][3].set()
    job.wait(PATIENCE_S)


def test_a_folder_that_cannot_be_written_is_found_at_submit(tmp_path: Path, name: str) -> None:
    """Nothing has run by then."""
    (tmp_path / "file").write_text("in the way")
    env = counting(environment(tmp_path / "file"), name, Numbers(name, 5))
    with pytest.raises(CheckpointError, match="cannot write"):
        env.submit()
    lifetime.wait_for_jobs()  # the end of a script does not wait for what never began


def test_what_cannot_be_stored_names_operator_and_type(tmp_path: Path, name: str) -> None:
    """The job fails at the first checkpoint, not at the recovery."""
    Numbers.gates[name] = {3: threading.Event()}
    env = environment(tmp_path)
    env.from_source(Numbers(name, 5)).key_by(lambda n: 0).reduce(
        lambda a, b: threading.Lock(), name="locks"
    ).sink(str)
    with pytest.raises(Exception, match=r"locks.*lock.* cannot be stored"):
        env.execute()


class Counting(MapFunction[int, int]):
    """Keeps state where no checkpoint finds it."""

    seen = 0

    def map(self, record: int) -> int:
        self.seen += 1
        return record


def test_state_in_attributes_is_warned_about_by_name(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Once, at the first checkpoint that would have lost it."""
    Numbers.gates[name] = {3: threading.Event()}
    env = environment(tmp_path)
    env.from_source(Numbers(name, 5)).map(Counting, name="counting").sink(CommittingSink, name)
    with caplog.at_level(logging.WARNING, "sage.checkpoint"):
        job = env.submit()
        until(job, lambda: _completed(job) > 2)
        Numbers.gates[name][3].set()
        job.wait(PATIENCE_S)
    told = [r.getMessage() for r in caplog.records if "self.seen" in r.getMessage()]
    assert len(told) == 1
    assert "'counting'" in told[0]
