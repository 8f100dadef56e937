"""Sources and sinks in jobs of the real engine, which are killed and go on."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sage.common.errors import SageError
from sage.kernel import LocalEnvironment
from sage.libs.io.sink import CsvSink, FileSink, SqlSink
from sage.libs.io.sources import CsvSource, SqlSource

ROWS = 4000
SCRIPT = """
import os, signal, sys, time
from sage.kernel import LocalEnvironment
from sage.kernel.checkpoint import steps
from sage.libs.io.sink import JsonlSink, SqlSink
from sage.libs.io.sources import SqlSource

top, name, left = sys.argv[1], sys.argv[2], int(sys.argv[3])

def reached(step):
    global left
    if step == name:
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

def slow(row):  # so that it is killed on any machine before it has ended
    time.sleep(0.0005)
    return dict(row)

steps.watch(reached)
tolerance = {"checkpoint_dir": top + "/checkpoints", "checkpoint_interval": 0.01, "lease_s": 1}
env = LocalEnvironment("copy", config={"fault_tolerance": tolerance, "batch_size": 20})
database = top + "/data.db"
rows = env.from_source(SqlSource, {"database": database, "table": "given", "order_by": "n"})
rows.rebalance().map(slow, parallelism=2).sink(JsonlSink, top + "/out.jsonl", parallelism=2)
rows.rebalance().map(slow).sink(SqlSink, database, "taken")
env.execute()
"""


def environment(top: Path, **options: Any) -> LocalEnvironment:
    tolerance = {"checkpoint_dir": str(top / "checkpoints"), "checkpoint_interval": 0.05}
    return LocalEnvironment("copy", config={"fault_tolerance": tolerance | options})


def filled(top: Path, rows: int = ROWS) -> sqlite3.Connection:
    """Return a database with a table of numbers, and one for them to go to."""
    connection = sqlite3.connect(top / "data.db")
    connection.execute("CREATE TABLE given (n INTEGER PRIMARY KEY)")
    connection.execute("CREATE TABLE taken (n INTEGER)")
    connection.executemany("INSERT INTO given VALUES (?)", [(n,) for n in range(rows)])
    connection.commit()
    return connection


def written(directory: Path) -> list[int]:
    lines = [line for part in directory.iterdir() for line in part.read_text().splitlines()]
    return sorted(json.loads(line)["n"] for line in lines)


@pytest.mark.slow
def test_a_job_that_is_killed_again_and_again_writes_every_record_once(tmp_path: Path) -> None:
    """Killed around the commits of its sinks and while it recovers: files and table are whole."""
    database = filled(tmp_path)
    kills = [
        ("sink.prepare.after", 3),
        ("manifest.before", 3),
        ("manifest.after", 3),
        ("sink.commit.before", 2),
        ("recovery.commit.after", 1),
        ("recovery.abort.before", 2),
        ("sink.commit.after", 3),
        ("sink.prepare.before", 5),
    ]
    killed = 0
    for step, times in [*kills, ("none", 1)]:
        command = [sys.executable, "-c", SCRIPT, str(tmp_path), step, str(times)]
        ended = subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=120)
        assert ended.returncode in (0, -signal.SIGKILL), ended.stderr
        killed += ended.returncode != 0
        seen = written(tmp_path / "out.jsonl") if (tmp_path / "out.jsonl").exists() else []
        assert len(seen) == len(set(seen)), step
    assert killed >= 5
    assert ended.returncode == 0
    assert written(tmp_path / "out.jsonl") == list(range(ROWS))
    assert [n for (n,) in database.execute("SELECT n FROM taken ORDER BY n")] == list(range(ROWS))
    assert database.execute("SELECT count(*) FROM taken_sage_staged").fetchone() == (0,)
    assert not (tmp_path / ".out.jsonl.pending").exists()
    database.close()


def test_a_finished_job_adds_nothing_and_a_fresh_one_starts_over(tmp_path: Path) -> None:
    """Parts are as they were, or those of the new run; a table is never emptied."""
    database = filled(tmp_path, rows=50)
    address = str(tmp_path / "data.db")

    def run(**options: Any) -> None:
        env = environment(tmp_path, **options)
        rows = env.from_source(SqlSource(address, table="given", order_by="n"))
        rows.rebalance().sink(FileSink, str(tmp_path / "out.jsonl"), parallelism=2)
        rows.sink(SqlSink, address, "taken")
        env.execute()

    def found() -> tuple[list[int], list[int]]:
        rows = database.execute("SELECT n FROM taken ORDER BY n")
        return written(tmp_path / "out.jsonl"), [n for (n,) in rows]

    whole = list(range(50))
    run()
    assert found() == (whole, whole)
    run()
    assert found() == (whole, whole)
    with pytest.raises(SageError, match="empty it first"):
        run(fresh=True)
    assert found()[1] == whole
    database.execute("DELETE FROM taken")
    database.commit()
    run(fresh=True)
    assert found() == (whole, whole)
    database.close()


def test_plan_and_metrics_say_what_sinks_guarantee(tmp_path: Path) -> None:
    """Files and tables exactly once, with a key at least effectively once, a callable less."""
    filled(tmp_path, rows=0).close()
    address = str(tmp_path / "data.db")

    def said(**options: Any) -> dict[str, str]:
        env = environment(tmp_path, **options)
        rows = env.from_collection([{"n": 1}])
        rows.sink(CsvSink, str(tmp_path / "out.csv"), name="csv")
        rows.sink(SqlSink, address, "taken", name="added")
        rows.sink(SqlSink, {"database": address, "table": "given", "key": "n"}, name="replaced")
        rows.sink(print, name="shown")
        plan = {o["name"]: o["guarantee"] for o in env.explain().to_dict()["operators"]}
        names = ("csv", "added", "replaced", "shown")
        metrics = env.execute().metrics
        assert {name: metrics[name].guarantee for name in names} == {n: plan[n] for n in names}
        return {name: str(plan[name]) for name in names}

    exactly, idempotent = "exactly once", "effectively once (idempotent)"
    expected = {"csv": exactly, "added": exactly, "replaced": exactly, "shown": "at least once"}
    assert said() == expected
    weaker = {"csv": "at least once", "added": "at least once", "replaced": idempotent}
    assert said(checkpoint_mode="at_least_once", fresh=True) == expected | weaker


def test_two_jobs_at_one_table_keep_apart(tmp_path: Path) -> None:
    """Their operators have the same names; their rows and epochs do not mix."""
    database = filled(tmp_path, rows=0)
    for name in ("one", "two", "one"):
        tolerance = {"checkpoint_dir": str(tmp_path / "checkpoints")}
        env = LocalEnvironment(name, config={"fault_tolerance": tolerance})
        env.from_collection([{"n": len(name)}]).sink(SqlSink, str(tmp_path / "data.db"), "taken")
        env.execute()
    assert database.execute("SELECT n FROM taken").fetchall() == [(3,), (3,)]
    owners = database.execute("SELECT sage_owner FROM taken_sage_epochs ORDER BY 1").fetchall()
    assert [owner.partition("/")[0] for (owner,) in owners] == ["one", "two"]
    database.close()


def test_a_csv_file_is_copied_through_a_job(tmp_path: Path) -> None:
    """What is read from CSV is written as CSV, part by part, each with its columns."""
    (tmp_path / "in.csv").write_text("name,born\n" + "".join(f"p{n},{n}\n" for n in range(30)))
    env = environment(tmp_path)
    rows = env.from_source(CsvSource(tmp_path / "in.csv"))
    rows.sink(CsvSink, str(tmp_path / "out.csv"))
    env.execute()
    parts = sorted((tmp_path / "out.csv").iterdir())
    lines = [line for part in parts for line in part.read_text().splitlines()]
    assert sorted(set(lines) - {"name,born"}) == sorted(f"p{n},{n}" for n in range(30))
    assert lines.count("name,born") == len(parts)
