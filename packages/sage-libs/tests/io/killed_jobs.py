"""Run as a script: kills a job with SIGKILL at each of its steps and lets it run again.

A step is a file operation, or a statement that is sent to a database. Each run is a process of its
own, forked from this one, which has no threads. For each step a line is printed: at which step the
first run was killed, how it and a second one ended (killed one step later), and the numbers that a
reader finds after the third, which is let run to its end.

Arguments: ``file`` or ``sql``; a folder, or the address of a database.
"""

from __future__ import annotations

import json
import os
import pickle
import signal
import sqlite3
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sage.libs.io.conformance import CheckpointedJob
from sage.libs.io.sink import JsonlSink, SqlSink
from sage.libs.io.sql_database import connect

EVENTS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.listdir"}
KEPT = ("position", "checkpoint", "prepared", "begun")


class StoredJob(CheckpointedJob):
    """A job that keeps what it knows of its checkpoints in a file, as the engine does."""

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name in KEPT and hasattr(self, "kept_at"):
            values = {name: getattr(self, name) for name in KEPT}
            self.kept_at.with_suffix(".new").write_bytes(pickle.dumps(values))
            os.replace(self.kept_at.with_suffix(".new"), self.kept_at)


class Steps:
    """Counts steps, and kills this process at one of them."""

    def __init__(self) -> None:
        self.done, self.last = 0, sys.maxsize

    def __call__(self, *_: object) -> None:
        self.done += 1
        if self.done > self.last:
            os.kill(os.getpid(), signal.SIGKILL)


steps = Steps()


def run_in_a_process(make_sink: Callable[[], Any], kept_at: Path, last: int) -> tuple[int, int]:
    """Run the job; return how its process ended and how many steps it did."""
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            values = pickle.loads(kept_at.read_bytes()) if kept_at.exists() else {}
            job = StoredJob(make_sink, **values)
            job.kept_at = kept_at
            steps.done, steps.last = 0, last
            job.run()
            os.write(tell, str(steps.done).encode())
            os._exit(0)
        except BaseException as error:  # whatever it is, this process ends here
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            os._exit(1)
    os.close(tell)
    _, status = os.waitpid(pid, 0)
    done = os.read(told, 20)
    os.close(told)
    return os.waitstatus_to_exitcode(status), int(done or 0)


def count_files(top: Path) -> None:
    """Count the file operations below a folder."""

    def count(event: str, arguments: tuple[object, ...]) -> None:
        if event in EVENTS and str(arguments[0]).startswith(str(top)):
            steps()

    sys.addaudithook(count)


def count_statements(database: str) -> None:
    """Count before each statement; PostgreSQL's also behind its answer, as if that were lost."""
    if "://" not in database:
        connecting = sqlite3.connect

        def traced(*args: Any, **kwargs: Any) -> sqlite3.Connection:
            connection = connecting(*args, **kwargs)
            connection.set_trace_callback(steps)
            return connection

        sqlite3.connect = traced
        return
    import psycopg

    class Counted(psycopg.Connection[Any]):
        def wait(self, *args: Any, **kwargs: Any) -> Any:
            steps()
            answer = super().wait(*args, **kwargs)
            steps()
            return answer

    psycopg.connect = Counted.connect


def main(kind: str, where: str, stride: int) -> None:
    """Kill and run again, at every ``stride``-th step."""
    kept = Path(tempfile.mkdtemp())
    top = Path(where)

    def make_sink(name: str) -> Any:
        if kind == "file":
            return JsonlSink(top / name / "out.jsonl")
        return SqlSink(where, f"t{name}", batch_rows=2)

    def made(name: str) -> Callable[[], Any]:
        if kind == "sql":
            connection = connect(where)
            connection.run(f"CREATE TABLE t{name} (n INTEGER)")
            connection.close()
        return lambda: make_sink(name)

    def numbers(name: str) -> list[int]:
        if kind == "sql":
            connection = connect(where)
            rows = connection.run(f"SELECT n FROM t{name}").rows
            connection.close()
            return sorted(n for (n,) in rows)
        assert os.listdir(top / name) == ["out.jsonl"]
        lines = [line for part in (top / name / "out.jsonl").iterdir() for line in part.open("rb")]
        return sorted(json.loads(line)["n"] for line in lines)

    if kind == "file":
        count_files(top)
    else:
        count_statements(where)
    _, total = run_in_a_process(made("all"), kept / "all", sys.maxsize)
    for step in range(0, total, stride):
        job = (made(str(step)), kept / str(step))
        ends = [run_in_a_process(*job, last)[0] for last in (step, step + 1, sys.maxsize)]
        print(json.dumps([step, ends, numbers(str(step))]))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
