"""The life of the process: Ctrl-C, and scripts that end while a job still runs."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

HEAD = """
import os, sys, threading
from sage.kernel import LocalEnvironment, SourceFunction, SinkFunction

class Endless(SourceFunction):
    bounded = False
    n = 0
    def read(self, max_records):
        self.n += 1
        return [self.n]

class Sink(SinkFunction):
    def __init__(self): self.count = 0
    def write(self, record):
        self.count += 1
        if self.count == 100:
            print("hundred", flush=True)
    def flush(self): print("flushed", flush=True)
    def close(self): print("closed", flush=True)

env = LocalEnvironment("script")
"""


def script(tmp_path: Path, body: str) -> list[str]:
    file = tmp_path / "script.py"
    file.write_text(HEAD + body)
    return [sys.executable, str(file)]


def run(tmp_path: Path, body: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(script(tmp_path, body), capture_output=True, text=True, timeout=60)


def test_a_submitted_bounded_job_runs_to_its_end(tmp_path: Path) -> None:
    """The script ends first, the job ends all the same, its executors still working."""
    done = run(
        tmp_path,
        """
go = threading.Event()
async def call(n):
    import asyncio
    return await asyncio.to_thread(lambda: n + 1)
def slow():
    go.wait()
    yield from range(5)
env.from_source(slow).map_async(call).sink(lambda n: print("got", n))
env.submit()
print("script ends")
threading.Timer(0.05, go.set).start()
""",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["script ends", *(f"got {n}" for n in range(1, 6))]


def test_a_failed_job_makes_the_exit_code(tmp_path: Path) -> None:
    """A job that nobody waited for prints its error, and the process fails."""
    done = run(tmp_path, "env.from_collection([0]).map(lambda n: 1 / n).sink(print); env.submit()")
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr
    assert "script" in done.stderr


def test_a_failure_that_the_script_has_seen_is_its_own(tmp_path: Path) -> None:
    """Who catches what ``wait`` raises decides about the exit code."""
    done = run(
        tmp_path,
        """
env.from_collection([0]).map(lambda n: 1 / n).sink(print)
job = env.submit()
try:
    job.wait()
except Exception:
    print("handled")
""",
    )
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr


def test_an_unbounded_job_is_stopped_with_a_message(tmp_path: Path) -> None:
    """A job without an end is drained when the script ends, and says how to keep it running."""
    done = run(tmp_path, "env.from_source(Endless).sink(Sink()); env.submit()")
    assert done.returncode == 0, done.stderr
    assert "stopped because the script ended" in done.stderr
    assert "run_streaming()" in done.stderr
    assert done.stdout.splitlines()[-2:] == ["flushed", "closed"]


@pytest.mark.parametrize("tasks", [1, 2])
@pytest.mark.parametrize("verb", ["execute()", "run_streaming()"])
def test_the_first_ctrl_c_drains(tmp_path: Path, tasks: int, verb: str) -> None:
    """SIGINT ends the sources, delivers what was read, closes the sinks; the exit code says so."""
    body = f"""
env.from_source(Endless).map(lambda n: n, parallelism={tasks}).sink(Sink())
env.{verb}
print("not reached")
"""
    with subprocess.Popen(
        script(tmp_path, body), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "hundred\n"
        os.kill(child.pid, signal.SIGINT)
        out, err = child.communicate(timeout=60)
    assert out.splitlines() == ["flushed", "closed"]
    assert "press Ctrl-C again" in err
    assert child.returncode in (-signal.SIGINT, 130, 1)
    assert "KeyboardInterrupt" in err


# A thread that only receives signals: the main thread is not woken when one comes. The same befalls
# a main thread whose signal comes just before it falls asleep.
SIGNALS_ELSEWHERE = """
import signal
def receive():
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Event().wait()
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
threading.Thread(target=receive, daemon=True).start()
"""


@pytest.mark.parametrize("before", ["", SIGNALS_ELSEWHERE], ids=["main", "elsewhere"])
@pytest.mark.parametrize("tasks", [1, 2])
def test_the_second_ctrl_c_stops_at_once(tmp_path: Path, tasks: int, before: str) -> None:
    """Where draining would take for ever, a second SIGINT ends the process, asleep or not."""
    body = f"""{before}
class Stuck(SinkFunction):
    def write(self, record):
        print("stuck", flush=True)
        while True:
            threading.Event().wait(0.01)
env.from_source(Endless).map(lambda n: n, parallelism={tasks}).sink(Stuck())
env.execute()
"""
    with subprocess.Popen(
        script(tmp_path, body), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        assert child.stdout.readline() == "stuck\n"
        os.kill(child.pid, signal.SIGINT)
        said = iter(child.stderr.readline, "")  # until the end: a child that died says why
        told = list(itertools.takewhile(lambda line: "again" not in line, said))
        assert child.poll() is None, told
        os.kill(child.pid, signal.SIGINT)
        try:
            child.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            child.kill()
            raise
    assert child.returncode != 0


def test_another_handler_of_sigint_is_left_alone(tmp_path: Path) -> None:
    """A program with its own SIGINT handler keeps it while a pipeline runs."""
    done = run(
        tmp_path,
        """
import signal
signal.signal(signal.SIGINT, lambda *_: print("mine"))
env.from_collection([1]).map(lambda n: os.kill(os.getpid(), signal.SIGINT)).sink(print)
env.execute()
""",
    )
    assert (done.returncode, done.stdout) == (0, "mine\n"), done.stderr
