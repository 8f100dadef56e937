"""Functions in worker processes: the same results and counts as in a thread, and no way to hang."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sage.common.errors import ServiceError
from sage.kernel import FlatMapFunction, LocalEnvironment, MapFunction, RetryPolicy
from sage.kernel.errors import (
    FunctionError,
    GraphError,
    JobCancelledError,
    JobFailedError,
    RemoteError,
    WorkerDiedError,
)
from sage.kernel.testing import Gate, check_conservation

pytestmark = pytest.mark.skipif(os.name != "posix", reason="worker processes need POSIX")

FATES = (
    "received",
    "sent",
    "emitted",
    "no_output",
    "filtered",
    "skipped",
    "dead_lettered",
    "held",
    "retries",
    "custom",
)


def run(
    records: Any, build: Callable[[Any], Any], config: dict[str, Any] | None = None
) -> tuple[list[Any], dict[str, Any]]:
    """Run a pipeline of one verb named ``work``; return its records and the verb's counts."""
    env = LocalEnvironment(config=config)
    got: list[Any] = []
    build(env.from_collection(records)).sink(got.append, parallelism=1)
    result = env.execute()
    check_conservation(result.metrics, env.graph())
    metrics = result.metrics["work"]
    return got, {name: getattr(metrics, name) for name in FATES}


def ended(pid: int, timeout_s: float = 10) -> bool:
    """Wait until a process that is not our child has ended."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], timeout_s)[0])
    finally:
        os.close(handle)


@pytest.fixture
def fifo(tmp_path: Path) -> str:
    """A named pipe, by which a worker and a test wait for each other."""
    path = str(tmp_path / "fifo")
    os.mkfifo(path)
    return path


def maybe_fails(n: int) -> int:
    if n % 5 == 0:
        raise ValueError(f"no {n}")
    return n


VERBS: dict[str, Callable[..., Any]] = {
    "map": lambda s, **o: s.map(lambda n: n * 2 if n % 3 else None, **o),
    "filter": lambda s, **o: s.filter(lambda n: n % 3, **o),
    "flat_map": lambda s, **o: s.flat_map(lambda n: (n,) * (n % 4), **o),
    "flat_map of a generator": lambda s, **o: s.flat_map(
        lambda n: (n + i for i in range(n % 3)), **o
    ),
    "flat_map of None": lambda s, **o: s.flat_map(lambda n: None, **o),
    "map_batches": lambda s, **o: s.map_batches(
        lambda b: [n if n % 2 else None for n in b], max_size=7, **o
    ),
    "a builtin": lambda s, **o: s.map(str, **o),
    "skip": lambda s, **o: s.map(maybe_fails, on_error="skip", **o),
    "dead letters": lambda s, **o: s.map(maybe_fails, on_error="dead_letter", **o),
    "a batch to dead letters": lambda s, **o: s.map_batches(
        lambda b: [maybe_fails(n) for n in b], max_size=4, on_error="dead_letter", **o
    ),
    "retries in vain": lambda s, **o: s.map(
        maybe_fails, on_error=RetryPolicy(max_attempts=3, delay_s=0, then="skip"), **o
    ),
}


@pytest.mark.parametrize("verb", VERBS)
def test_a_worker_gives_and_counts_what_a_thread_does(verb: str) -> None:
    """Results, their order and every count are those of the same verb without an executor."""
    build = VERBS[verb]
    here = run(range(50), lambda s: build(s, name="work"))
    there = run(range(50), lambda s: build(s, name="work", executor="process"))
    assert there == here


def test_several_workers_share_the_records() -> None:
    """At parallelism 2 two processes work, and no record is lost or doubled."""
    got, counts = run(
        range(2000),
        lambda s: s.map(lambda n: (os.getpid(), n), name="work", executor="process", parallelism=2),
    )
    assert sorted(n for _, n in got) == list(range(2000))
    assert len({pid for pid, _ in got} - {os.getpid()}) == 2
    assert counts["received"] == counts["sent"] == 2000


def test_results_keep_the_order_of_the_records_over_many_batches() -> None:
    """Within a subtask nothing overtakes, also while the size of the parts grows."""
    got, _ = run(range(20_000), lambda s: s.map(lambda n: n, name="work", executor="process"))
    assert got == list(range(20_000))


def test_large_records_pass_in_both_directions() -> None:
    """Records larger than every buffer of the system do not block the two sides on each other."""
    blob = bytes(2_000_000)
    got, _ = run([blob] * 8, lambda s: s.map(lambda b: b + b"!", name="work", executor="process"))
    assert [len(b) for b in got] == [2_000_001] * 8


class Logged(FlatMapFunction[int, Any]):
    """Writes what happens to it into a file."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.seen = 0
        self.log("made")

    def log(self, text: str) -> None:
        with open(self.path, "a") as file:
            file.write(f"{os.getpid()} {text}\n")

    def open(self, context: Any) -> None:
        self.log(
            f"open {context.name} {context.uid} {context.parallel_index} of {context.parallelism}"
        )
        assert self.logger.name == "sage.operator.work"

    def flat_map(self, record: int) -> Any:
        self.seen += 1
        self.context.metrics.counter("seen").inc()
        if record < 0:
            raise ValueError("negative")
        return ()

    def finish(self) -> Any:
        self.log("finish")
        return [("seen", self.seen)]

    def close(self) -> None:
        self.log("close")


def test_a_function_lives_in_its_worker(tmp_path: Path) -> None:
    """It is made, opened, finished and closed there, once for each subtask, and never here."""
    path = tmp_path / "log"
    got, counts = run(
        range(10),
        lambda s: s.flat_map(
            Logged, str(path), name="work", uid="me", executor="process", parallelism=2
        ),
    )
    lives: dict[str, list[str]] = {}
    for line in path.read_text().splitlines():
        pid, what = line.split(" ", 1)
        lives.setdefault(pid, []).append(what)
    assert str(os.getpid()) not in lives
    assert sorted(lives.values()) == [
        ["made", f"open work me {i} of 2", "finish", "close"] for i in (0, 1)
    ]
    assert sum(seen for _, seen in got) == 10
    assert counts["custom"] == {"seen": 10}


def test_a_function_is_closed_once_also_after_a_failure(tmp_path: Path) -> None:
    """There is no finish after an error, but one close."""
    path = tmp_path / "log"
    stream = LocalEnvironment().from_collection([1, -1, 2])
    work = stream.flat_map(Logged, str(path), name="work", uid="me", executor="process")
    with pytest.raises(JobFailedError, match="negative"):
        work.collect()
    events = [line.split(" ", 1)[1] for line in path.read_text().splitlines()]
    assert events == ["made", "open work me 0 of 1", "close"]


def test_an_instance_is_copied_and_a_config_is_passed() -> None:
    """An instance keeps what it was given; a class gets its config in the worker."""

    class Add(MapFunction[int, int]):
        def __init__(self, config: dict[str, int]) -> None:
            self.amount = config["amount"]

        def map(self, record: int) -> int:
            return record + self.amount

    for given in ((Add, {"amount": 5}), (Add({"amount": 5}),)):
        got, _ = run([1, 2], lambda s, g=given: s.map(*g, name="work", executor="process"))
        assert got == [6, 7]


def test_an_error_comes_back_with_its_type_its_record_and_its_traceback() -> None:
    """The cause is the user's own exception, with the worker's traceback as a note."""

    class Unlucky(Exception):
        pass

    def fail_at_three(n: int) -> int:
        if n == 3:
            raise Unlucky("three")
        return n

    env = LocalEnvironment()
    got: list[int] = []
    env.from_collection(range(10)).map(fail_at_three, executor="process").sink(got.append)
    with pytest.raises(JobFailedError, match="'fail_at_three' failed at record 3") as caught:
        env.execute()
    error = caught.value
    assert error.record == 3
    assert type(error.__cause__) is Unlucky
    (note,) = error.__cause__.__notes__
    assert "in fail_at_three" in note
    assert 'raise Unlucky("three")' in note
    assert "chain.py" not in note


def test_an_error_that_cannot_travel_is_told_in_words() -> None:
    """An exception that cannot be pickled arrives as a RemoteError with its name and message."""

    class Odd(Exception):
        def __init__(self, code: int, reason: str) -> None:
            super().__init__(f"{code}: {reason}")

    def fail(n: int) -> int:
        raise Odd(7, "odd")

    with pytest.raises(JobFailedError) as caught:
        LocalEnvironment().from_collection([1]).map(fail, executor="process").collect()
    assert isinstance(caught.value.__cause__, RemoteError)
    assert caught.value.__cause__.type_name == "Odd"
    assert "Odd: 7: odd" in str(caught.value)


def test_retries_happen_in_the_worker() -> None:
    """A call that succeeds at its third attempt gives its result, and two retries are counted."""

    class ThirdTimeLucky(MapFunction[int, int]):
        calls = 0

        def map(self, record: int) -> int:
            self.calls += 1
            if self.calls % 3:
                raise ConnectionError("again")
            return self.calls

    got, counts = run(
        [1, 2],
        lambda s: s.map(
            ThirdTimeLucky,
            name="work",
            executor="process",
            on_error=RetryPolicy(max_attempts=3, delay_s=0),
        ),
    )
    assert got == [3, 6]
    assert counts["retries"] == 4


def test_dead_letters_keep_the_record_and_the_traceback() -> None:
    """A dead letter of a worker has the very record, the attempts and where it failed."""
    env = LocalEnvironment()
    record = {"n": 5}
    work = env.from_collection([record]).map(
        lambda r: maybe_fails(r["n"]), name="work", executor="process", on_error="dead_letter"
    )
    work.sink(print)
    job = env.submit()
    job.wait(20)
    (letter,) = job.dead_letters()
    assert letter.record == record
    assert letter.error == "ValueError: no 5"
    assert "in maybe_fails" in letter.traceback


@pytest.mark.parametrize(
    ("dies", "how"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "was killed by SIGKILL"),
        (lambda: sys.exit(3), "exited with code 3"),
        (lambda: os._exit(0), "exited with code 0"),
        (os.abort, "was killed by SIGABRT"),
    ],
    ids=["killed", "sys.exit", "os._exit", "aborted"],
)
def test_a_worker_that_dies_fails_the_job(dies: Callable[[], None], how: str) -> None:
    """The error names the operator, how the worker ended, and what was under way."""

    def work(n: int) -> int:
        if n == 2:
            dies()
        return n

    env = LocalEnvironment()
    got: list[int] = []
    env.from_collection(range(3)).map(work, executor="process").sink(got.append)
    with pytest.raises(JobFailedError, match="operator 'work' failed") as caught:
        env.submit().wait(20)
    assert isinstance(caught.value.__cause__, WorkerDiedError)
    assert how in str(caught.value)
    assert "under way, the first of them" in str(caught.value)
    assert caught.value.__cause__.fields["under_way"] >= 1


def test_a_worker_ignores_the_interrupt_key() -> None:
    """What Ctrl-C means is decided in the parent."""

    def work(n: int) -> int:
        os.kill(os.getpid(), signal.SIGINT)
        return n

    got, _ = run([1, 2], lambda s: s.map(work, name="work", executor="process"))
    assert got == [1, 2]


def test_cancel_ends_a_worker_whose_function_is_stuck(fifo: str) -> None:
    """Cancel returns although the user's function never does, and the process is gone."""

    def stuck(n: int) -> int:
        with open(fifo, "w") as file:
            file.write(str(os.getpid()))
        while True:
            signal.pause()

    env = LocalEnvironment()
    env.from_collection(range(100)).map(stuck, executor="process").sink(print)
    job = env.submit()
    pid = int(Path(fifo).read_text())
    job.cancel()
    with pytest.raises(JobCancelledError):
        job.wait(20)
    assert ended(pid)


def test_a_failure_elsewhere_lets_an_idle_worker_close(tmp_path: Path) -> None:
    """The worker of another operator closes its function before it ends."""
    log = tmp_path / "log"

    class Closing(MapFunction[int, int]):
        def map(self, record: int) -> int:
            return record

        def close(self) -> None:
            log.write_text("closed")

    def fail(n: int) -> None:
        raise ValueError("downstream")

    env = LocalEnvironment()
    env.from_collection([1]).map(Closing, executor="process").sink(fail)
    with pytest.raises(JobFailedError, match="downstream"):
        env.execute()
    assert log.read_text() == "closed"


def test_a_result_does_not_wait_for_a_slow_call_behind_it(fifo: str) -> None:
    """Results go out while the next record of the same part is still being worked on."""

    def work(n: int) -> int:
        if n == 4999:
            Path(fifo).read_text()  # until the parent has seen the result before
        return n

    def open_the_way(n: int) -> None:
        if n == 4998:
            Path(fifo).write_text("go")

    env = LocalEnvironment()
    env.from_collection(range(5000)).map(work, executor="process").sink(open_the_way)
    assert env.submit().wait(20).status == "finished"


def test_a_batch_waits_no_longer_than_it_may(fifo: str) -> None:
    """``max_wait_ms`` holds in a worker although its source is silent."""

    def source() -> Any:
        yield 1
        yield Path(fifo).read_text()

    def open_the_way(n: Any) -> None:
        if n == 1:
            Path(fifo).write_text("go")

    env = LocalEnvironment()
    stream = env.from_source(source)
    work = stream.map_batches(lambda b: b, max_size=100, max_wait_ms=1, executor="process")
    work.sink(open_the_way)
    assert env.submit().wait(20).status == "finished"


def test_a_blocked_sink_stops_a_worker(tmp_path: Path) -> None:
    """One record that becomes very many fills neither memory; the worker waits for the sink."""
    counter, gate = tmp_path / "counter", Gate()

    def many(n: int) -> Any:
        for _ in range(40):
            with counter.open("ab") as file:
                file.write(b".")
            yield from (bytes(1000) for _ in range(1024))

    env = LocalEnvironment(config={"batch_size": 256, "channel_batches": 2})
    got: list[int] = []

    def held(record: bytes) -> None:
        gate.wait()
        got.append(len(record))

    env.from_collection([1]).flat_map(many, executor="process").sink(held)
    job = env.submit()
    gate.wait_for_arrival()
    for _ in range(2000):
        job.metrics()
    made = counter.stat().st_size
    gate.open()
    job.wait(30)
    assert len(got) == 40 * 1024
    assert made <= 20


def test_what_close_raises_fails_the_job() -> None:
    """An error in close() is the job's, and named so."""

    class Unclosable(MapFunction[int, int]):
        def map(self, record: int) -> int:
            return record

        def close(self) -> None:
            raise OSError("jammed")

    with pytest.raises(JobFailedError, match=r"in close\(\): OSError: jammed"):
        LocalEnvironment().from_collection([1]).map(Unclosable, executor="process").collect()


def test_what_open_raises_fails_the_job() -> None:
    """An error in open() is the job's, and named so."""

    class Unopenable(MapFunction[int, int]):
        def open(self, context: Any) -> None:
            raise OSError("locked")

        def map(self, record: int) -> int:
            return record

    with pytest.raises(JobFailedError, match=r"in open\(\): OSError: locked"):
        LocalEnvironment().from_collection([1]).map(Unopenable, executor="process").collect()


def _appends() -> Any:
    got: list[int] = []
    return got.append


def _appends_inside() -> Any:
    got: list[int] = []
    return lambda n: got.append(n)


def _counts() -> Any:
    count = 0

    def counting(n: int) -> int:
        nonlocal count
        count += 1
        return count

    return counting


def _locks() -> Any:
    lock = threading.Lock()

    def locked(n: int) -> int:
        with lock:
            return n

    return locked


@pytest.mark.parametrize("make", [_appends, _appends_inside, _counts, _locks])
def test_a_function_that_cannot_travel_is_refused_at_submit(make: Callable[[], Any]) -> None:
    """Nothing runs, and the message says what to do instead."""
    env = LocalEnvironment()
    env.from_collection([1]).map(make(), executor="process").sink(print)
    with pytest.raises(FunctionError, match=r"(?s)executor='process'.*collect\(\)"):
        env.submit()


def test_a_table_that_is_only_read_travels() -> None:
    """A closure over data, and a method of a dict, are no reason to refuse."""
    table = {1: "one", 2: "two"}
    for function in (table.get, lambda n: table[n]):
        got, _ = run([1, 2], lambda s, f=function: s.map(f, name="work", executor="process"))
        assert got == ["one", "two"]


@pytest.mark.parametrize(
    "build",
    [
        lambda env: env.from_source([1], executor="process"),
        lambda env: env.from_collection([1]).sink(print, executor="process"),
        lambda env: env.from_collection([1]).key_by(str, executor="process"),
        lambda env: env.from_collection([1]).reduce(max, executor="process"),
        lambda env: env.from_collection([1]).process(lambda n, c: (), executor="process"),
    ],
    ids=["source", "sink", "key_by", "reduce", "process"],
)
def test_what_is_bound_to_this_process_is_refused_at_build(build: Callable[[Any], Any]) -> None:
    """Sources, sinks and keyed state have no worker, and say so when the verb is called."""
    with pytest.raises(GraphError, match="cannot run with executor='process'"):
        build(LocalEnvironment())


def test_a_result_that_cannot_travel_fails_the_job() -> None:
    """What came before it is delivered, and the error shows the result."""
    env = LocalEnvironment()
    got: list[Any] = []
    work = env.from_collection([1, 2]).map(
        lambda n: n if n == 1 else threading.Lock(), name="work", executor="process"
    )
    work.sink(got.append)
    with pytest.raises(JobFailedError, match=r"gave <unlocked .*which cannot be sent back"):
        env.submit().wait(20)
    assert got == [1]


def test_a_record_that_cannot_travel_is_the_policys_affair() -> None:
    """It is skipped or fails like one at which the function raised."""
    records = [1, threading.Lock(), 3]
    got, counts = run(
        records, lambda s: s.map(lambda n: n, name="work", executor="process", on_error="skip")
    )
    assert got == [1, 3]
    assert counts["skipped"] == 1
    with pytest.raises(JobFailedError, match="failed at record <unlocked"):
        run(records, lambda s: s.map(lambda n: n, name="work", executor="process"))


class Greeting:
    """A service that counts the processes it is made in."""

    def __init__(self, word: str) -> None:
        self.word = word

    def process(self, name: str) -> str:
        return f"{self.word} {name} from {os.getpid()}"


def test_a_service_is_made_in_the_worker() -> None:
    """A registered class is made once in each process; a given object is refused there."""

    class Greet(MapFunction[str, str]):
        def map(self, record: str) -> str:
            return self.call_service("greeting", record)

    env = LocalEnvironment()
    env.register_service("greeting", Greeting, "hello")
    (answer,) = env.from_collection(["you"]).map(Greet, executor="process").collect()
    assert answer.startswith("hello you from ")
    assert not answer.endswith(str(os.getpid()))

    env = LocalEnvironment()
    env.register_service("greeting", Greeting("hello"))
    with pytest.raises(JobFailedError, match="object of the parent process") as caught:
        env.from_collection(["you"]).map(Greet, executor="process").collect()
    assert isinstance(caught.value.__cause__, ServiceError)


def test_rounds_of_a_loop_survive_a_worker() -> None:
    """What rides beside a record comes back beside its results."""
    got = (
        LocalEnvironment()
        .from_collection([1, 2, 3])
        .iterate(lambda s: s.map(lambda n: n * 2, executor="process"), max_iterations=3)
        .collect()
    )
    assert sorted(got) == [8, 16, 24]


def test_requests_that_fail_in_a_worker_fail_alone() -> None:
    """A served pipeline answers each caller, and a failing record ends only its own request."""
    env = LocalEnvironment()
    work = env.from_collection([]).map(maybe_fails, executor="process")
    with env.serve(work) as service:
        assert service.call(3) == 3
        with pytest.raises(JobFailedError, match="no 5"):
            service.call(5)
        assert service.call(4) == 4


def test_an_operator_on_a_thread_of_its_own_is_not_chained() -> None:
    """``executor='thread'`` gives a task of its own."""
    env = LocalEnvironment()
    env.from_collection([1]).map(abs, executor="thread").sink(print)
    assert len(env.explain().job_graph.vertices) == 3


MAIN = """
import dataclasses, os, sys
from sage.kernel import LocalEnvironment

assert __name__ == "__main__", "the main script was imported by a worker"

@dataclasses.dataclass
class Point:
    x: int
    made = 0
    def moved(self):
        return Point(self.x + OFFSET)

OFFSET = 10

class Refused(Exception):
    pass

def move(point):
    if point.x < 0:
        raise Refused(point.x)
    return point.moved()

env = LocalEnvironment()
"""


def script(tmp_path: Path, body: str) -> subprocess.CompletedProcess[str]:
    """Run a main script to its end."""
    path = tmp_path / "main_script.py"
    path.write_text(MAIN + textwrap.dedent(body))
    return subprocess.run(
        [sys.executable, str(path)], capture_output=True, text=True, timeout=30, check=False
    )


def test_functions_and_classes_of_the_main_script_travel(tmp_path: Path) -> None:
    """Records come back as instances of the script's own class, which stays as it is."""
    done = script(
        tmp_path,
        """
        Point.made = 7
        method = Point.moved
        points = env.from_collection([Point(i) for i in range(5)])
        moved = points.map(move, executor="process").collect()
        assert [type(p) for p in moved] == [Point] * 5, moved
        assert [p.x for p in moved] == [10, 11, 12, 13, 14]
        assert Point.moved is method and Point.made == 7
        try:
            env.from_collection([Point(-1)]).map(move, executor="process").collect()
        except Exception as error:
            assert type(error.__cause__) is Refused, error
        """,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_global_of_the_main_script_that_is_written_is_refused(tmp_path: Path) -> None:
    """A list of the script would fill in the worker, unseen."""
    done = script(
        tmp_path,
        """
        from sage.kernel.errors import FunctionError
        got, count = [], 0
        def appends(point):
            got.append(point)
        def counts(point):
            global count
            count += 1
        for function in (appends, counts):
            try:
                env.from_collection([1]).map(function, executor="process").collect()
            except FunctionError as error:
                print(error.hint)
        """,
    )
    assert done.stderr == ""
    assert done.stdout.count("collect() brings results home") == 2


def test_a_script_may_end_while_workers_work(tmp_path: Path) -> None:
    """A bounded job that was submitted runs to its end although the script has ended."""
    done = script(
        tmp_path,
        """
        env.from_collection([Point(i) for i in range(3)]).map(
            move, executor="process", parallelism=2).for_each(lambda p: print(p.x), parallelism=1)
        env.submit()
        """,
    )
    assert done.stderr == ""
    assert sorted(done.stdout.split()) == ["10", "11", "12"]


def test_no_worker_outlives_its_parent(tmp_path: Path, fifo: str) -> None:
    """A worker in an endless loop dies with a parent that is killed."""
    path = tmp_path / "main_script.py"
    path.write_text(
        MAIN
        + textwrap.dedent(f"""
        def endless(n):
            with open({fifo!r}, "w") as file:
                file.write(str(os.getpid()))
            while True:
                pass
        env.from_collection([1]).map(endless, executor="process").sink(print)
        env.execute()
        """)
    )
    with subprocess.Popen([sys.executable, str(path)]) as parent:
        pid = int(Path(fifo).read_text())
        parent.kill()
    died = ended(pid)
    if not died:
        os.kill(pid, signal.SIGKILL)
    assert died


def test_a_worker_has_the_whole_package() -> None:
    """A worker starts without what it may never need, and has it when a function asks."""

    def names(n: int) -> bool:
        import sage.kernel
        from sage.kernel import LocalEnvironment

        everything: dict[str, Any] = {}
        exec("from sage.kernel import *", everything)
        return sage.kernel.LocalEnvironment is LocalEnvironment is everything["LocalEnvironment"]

    got, _ = run([1], lambda s: s.map(names, name="work", executor="process"))
    assert got == [True]
