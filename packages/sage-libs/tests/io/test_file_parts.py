"""Sinks of a checkpointed job: parts appear with their checkpoint, each record exactly once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sage.common.errors import StorageError
from sage.libs.io.conformance import (
    CheckpointedJob,
    Killed,
    TransactionalSinkConformance,
    opened,
)
from sage.libs.io.sink import CsvSink, FileSink, JsonlSink

_EVENTS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.listdir"}


class _Watch:
    """What the interpreter calls before each operation; a hook stays for ever, so there is one."""

    def __init__(self) -> None:
        self.top = ""
        self.callback: Callable[[], None] | None = None
        self.is_installed = False

    def hook(self, event: str, arguments: tuple[object, ...]) -> None:
        if self.callback is None or event not in _EVENTS:
            return
        if str(arguments[0]).startswith(self.top):
            self.callback()


_watch = _Watch()


@contextmanager
def each_operation(top: Path, callback: Callable[[], None]) -> Iterator[None]:
    """Have a function called before each file operation below ``top``."""
    if not _watch.is_installed:
        _watch.is_installed = True
        sys.addaudithook(_watch.hook)
    _watch.top, _watch.callback = os.path.realpath(top), callback
    try:
        yield
    finally:
        _watch.callback = None


@contextmanager
def killed_at(top: Path, step: int) -> Iterator[None]:
    """Let operation number ``step`` (from 0) and all behind it fail: the process is gone."""
    done = 0

    def count() -> None:
        nonlocal done
        done += 1
        if done > step:
            raise Killed

    with each_operation(top, count):
        yield


def abandon(sink: Any) -> None:
    """Close the file that a killed sink was writing, and nothing else."""
    if sink._parts is not None and sink._parts._part is not None:
        sink._parts._part.file.close()


def names(directory: Path) -> list[str]:
    return sorted(entry.name for entry in directory.iterdir())


def numbers(directory: Path) -> list[int]:
    """Return what a reader finds, in any order."""
    lines = [line for part in directory.iterdir() for line in part.read_text().splitlines()]
    return sorted(json.loads(line)["n"] for line in lines)


class TestFileSink(TransactionalSinkConformance):
    """What every transactional sink promises."""

    @pytest.fixture(autouse=True)
    def _in_a_folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    def make_sink(self, place: str) -> FileSink:
        return FileSink(self.folder / f"{place}.jsonl")

    def committed(self, place: str) -> list[int]:
        path = self.folder / f"{place}.jsonl"
        return numbers(path) if path.is_dir() else []

    def abandon(self, sink: FileSink) -> None:
        abandon(sink)


def test_parts_appear_with_their_commit(tmp_path: Path) -> None:
    """What is written and what is prepared cannot be seen; commit shows it under its own name."""
    path = tmp_path / "out.jsonl"
    sink = opened(FileSink(path), subtask=1, parallelism=2)
    sink.begin(7)
    sink.write("a")
    assert names(path) == []
    assert sink.prepare(7) == "part-1-7.jsonl"
    sink.begin(8)
    sink.write("b")
    assert names(path) == []
    sink.commit(7)
    assert names(path) == ["part-1-7.jsonl"]
    assert (path / "part-1-7.jsonl").read_text() == "a\n"
    sink.prepare(8)
    sink.commit(8)
    sink.flush()
    sink.close()
    assert names(path) == ["part-1-7.jsonl", "part-1-8.jsonl"]
    assert names(tmp_path) == ["out.jsonl"]


def test_no_part_is_empty(tmp_path: Path) -> None:
    """An epoch without records leaves no file; a job without results an empty directory."""
    sink = opened(FileSink(tmp_path / "out.txt"))
    for epoch in (1, 2):
        sink.begin(epoch)
        assert sink.prepare(epoch) is None
        sink.commit(epoch)
    sink.flush()
    sink.close()
    assert names(tmp_path) == ["out.txt"]
    assert names(tmp_path / "out.txt") == []


def test_a_subtask_may_close_while_another_one_commits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder of what is pending goes with the last part of it, whoever removes it."""
    first, second = (
        opened(FileSink(tmp_path / "out.txt"), subtask=subtask, parallelism=2) for subtask in (0, 1)
    )
    for sink in (first, second):
        sink.begin(1)
    first.write("a")
    first.prepare(1)
    rename = os.rename

    def renamed(part: Path, to: Path) -> None:
        rename(part, to)
        second.close()

    monkeypatch.setattr(os, "rename", renamed)
    first.commit(1)
    assert names(tmp_path) == ["out.txt"]
    first.abort(2)
    first.close()


def test_what_was_prepared_outlives_its_process(tmp_path: Path) -> None:
    """A new sink commits what the old one prepared, and drops what the old one was writing."""
    path = tmp_path / "out.txt"
    old = opened(FileSink(path))
    old.begin(1)
    old.write("a")
    old.prepare(1)
    old.begin(2)
    old.write("lost")
    new = opened(FileSink(path))
    new.commit(1)
    new.abort(2)
    new.begin(3)
    assert names(path) == ["part-0-1.txt"]
    assert names(tmp_path / ".out.txt.pending") == []
    old.close()


def test_a_process_that_was_thought_dead_does_no_harm(tmp_path: Path) -> None:
    """Its part is gone when it comes back: it fails, and the new one's part is whole."""
    path = tmp_path / "out.txt"
    old = opened(FileSink(path))
    old.begin(1)
    old.write("old")
    new = opened(FileSink(path))
    new.abort(1)
    new.begin(1)
    new.write("new")
    with pytest.raises(StorageError, match="is gone; has another process"):
        old.prepare(1)
    new.prepare(1)
    new.commit(1)
    old.close()
    assert (path / "part-0-1.txt").read_text() == "new\n"


def test_starting_over_removes_the_parts_of_the_earlier_run(tmp_path: Path) -> None:
    """All subtasks together remove all parts; hidden files are not theirs."""
    path = tmp_path / "out.jsonl"
    CheckpointedJob(lambda: FileSink(path)).run(3)
    left = opened(FileSink(path))
    left.begin(99)
    left.write({"n": 99})
    (path / ".keep").write_text("")
    for subtask in range(2):
        opened(FileSink(path), subtask, 2).start_over()
    assert names(path) == [".keep"]
    assert names(tmp_path / ".out.jsonl.pending") == []
    left.close()


def test_output_that_would_come_twice_is_refused(tmp_path: Path) -> None:
    """Without its checkpoints a job does not silently write over, or beside, what it wrote."""
    path = tmp_path / "out.jsonl"
    CheckpointedJob(lambda: FileSink(path)).run()
    with pytest.raises(StorageError, match=r"holds 'part-0-1\.jsonl'.*write again") as caught:
        CheckpointedJob(lambda: FileSink(path)).run()
    assert "fresh=True" in str(caught.value)
    rewound = opened(FileSink(path))  # to the checkpoint before the last
    rewound.commit(2)
    rewound.abort(3)
    with pytest.raises(StorageError, match=r"holds 'part-0-3\.jsonl' \(1 such part\)"):
        rewound.begin(9)
    careless = opened(FileSink(path), mode="at_least_once")
    careless.abort(3)
    careless.begin(9)
    assert numbers(path) == list(range(10))


def test_what_is_in_the_way_is_named_at_open(tmp_path: Path) -> None:
    """A plain file and a directory of something else are found before the first record."""
    (tmp_path / "plain.txt").write_text("mine")
    with pytest.raises(StorageError, match="it is a file"):
        opened(FileSink(tmp_path / "plain.txt"))
    other = tmp_path / "other.jsonl"
    other.mkdir()
    (other / "part-0-1.csv").write_text("mine")
    with pytest.raises(StorageError, match=r"holds something else: 'part-0-1\.csv'"):
        opened(FileSink(other))
    with pytest.raises(StorageError, match="a job with checkpoints writes a directory"):
        FileSink(other).open(None)
    assert (tmp_path / "plain.txt").read_text() == "mine"
    assert names(other) == ["part-0-1.csv"]


def test_two_sinks_at_one_path_do_not_overwrite_each_other(tmp_path: Path) -> None:
    """The second one fails; what the first one committed stays."""
    path = tmp_path / "out.txt"
    sinks = [opened(FileSink(path)) for _ in range(2)]
    for sink in sinks:
        sink.begin(1)
    for number, sink in enumerate(sinks):
        sink.write(str(number))
    sinks[0].prepare(1)
    with pytest.raises(StorageError, match="does another sink write"):
        sinks[1].prepare(1)
    sinks[0].commit(1)
    assert (path / "part-0-1.txt").read_text() == "0\n"
    for sink in sinks:
        sink.close()


def test_writing_outside_an_epoch_is_refused(tmp_path: Path) -> None:
    """A record between prepare and begin would belong to no checkpoint."""
    sink = opened(FileSink(tmp_path / "out.txt"))
    with pytest.raises(StorageError, match="between two epochs"):
        sink.write("x")
    plain = FileSink(tmp_path / "plain.txt")
    with pytest.raises(StorageError, match="opened without checkpoints"):
        plain.begin(1)


@pytest.mark.parametrize(
    ("sink", "expected"),
    [
        (JsonlSink("out.jsonl"), ['{"n":0}\n', '{"n":1}\n']),
        (CsvSink("out.csv"), ["n\n0\n", "n\n1\n"]),
    ],
)
def test_each_part_can_be_read_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sink: Any, expected: list[str]
) -> None:
    """Every sink that writes files has parts, and each of them is a whole file of its kind."""
    monkeypatch.chdir(tmp_path)
    opened(sink)
    for epoch in (1, 2):
        sink.begin(epoch)
        sink.write({"n": epoch - 1})
        sink.prepare(epoch)
        sink.commit(epoch)
    parts = sorted(Path(sink.file_path).iterdir())
    assert [part.read_text() for part in parts] == expected


@settings(max_examples=60, deadline=None)
@given(
    kills=st.lists(st.tuples(st.integers(0, 60), st.integers(1, 3)), max_size=4),
    last=st.integers(1, 3),
)
def test_each_record_is_there_once_after_any_kills(kills: list[tuple[int, int]], last: int) -> None:
    """Killed at any file operations, run after run and with any parallelism: exactly once."""
    with tempfile.TemporaryDirectory() as top:
        path = Path(top, "out.jsonl")
        job = CheckpointedJob(lambda: JsonlSink(path), abandon=abandon)
        for step, parallelism in kills:
            try:
                with killed_at(Path(top), step):
                    job.run(parallelism)
            except Killed:
                pass
            seen = numbers(path) if path.is_dir() else []
            assert len(seen) == len(set(seen))
            assert max(seen, default=-1) < job.position
        job.run(last)
        assert numbers(path) == list(range(10))
        assert names(Path(top)) == ["out.jsonl"]


@pytest.mark.slow
def test_a_process_that_is_killed_at_each_file_operation_loses_nothing(tmp_path: Path) -> None:
    """A real process, killed with SIGKILL before each of its file operations, and run again."""
    script = str(Path(__file__).with_name("killed_jobs.py"))
    command = [sys.executable, script, "file", os.path.realpath(tmp_path), "1"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=300)
    runs = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0
    assert len(runs) > 30
    for step, (first, second, third), found in runs:
        assert (first, third) == (-signal.SIGKILL, 0), step
        assert second in (0, -signal.SIGKILL), step
        assert found == list(range(10)), step
