"""A transactional sink as small as can be: what is committed are the files named ``part-``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from sage.kernel import SinkFunction

__all__ = ["FolderSink", "committed"]


class FolderSink(SinkFunction[Any]):
    """Writes the records of an epoch into one file, which gets its name when they are committed."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)
        self._lines: list[str] = []
        self._subtask, self._parallelism = 0, 1

    def open(self, context: Any) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._subtask, self._parallelism = context.parallel_index, context.parallelism

    def begin(self, epoch: int) -> None:
        self._lines = []

    def write(self, record: Any) -> None:
        self._lines.append(repr(record))

    def prepare(self, epoch: int) -> None:
        text = "".join(line + "\n" for line in self._lines)
        (self._folder / f"pending-{self._subtask}-{epoch}").write_text(text)

    def commit(self, epoch: int) -> None:
        for path in self._mine(f"pending-*-{epoch}"):
            os.rename(path, path.with_name(path.name.replace("pending", "part")))

    def abort(self, epoch: int) -> None:
        for path in self._mine(f"pending-*-{epoch}"):
            path.unlink()
        if told := [path.name for path in self._mine(f"part-*-{epoch}")]:
            raise RuntimeError(f"{told[0]} is committed already, and would be written again")

    def start_over(self) -> None:
        for path in self._mine("p*-*-*"):
            path.unlink()

    def _mine(self, pattern: str) -> list[Path]:
        """Return the files of the subtasks whose work is this one's, after any rescaling."""
        return [
            path
            for path in self._folder.glob(pattern)
            if int(path.name.split("-")[1]) % self._parallelism == self._subtask
        ]


def committed(folder: Path) -> list[str]:
    """Return what is committed in all sinks below a folder, sorted."""
    return sorted(
        f"{path.parent.name}: {line}"
        for path in folder.glob("*/part-*")
        for line in path.read_text().splitlines()
    )
