"""Profiles a script in all its threads: the calling one, where a job of a single task runs, and
those of the tasks of larger jobs.

Each thread has a profiler of its own, and their statistics are added up at the end. While they
watch, the engine calls functions that it would otherwise write into its loops, so that each shows
under its own name; the times are therefore those of a profiled run, larger than without.
"""

from __future__ import annotations

import cProfile
import io
import pstats
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sage.cli.script import is_users_file

__all__ = ["Profile", "profiled"]

_TOP = 20
_WAITING = re.compile(
    r"'acquire' of '_thread\.R?[Ll]ock'|'get' of '_queue\.SimpleQueue'|'poll' of 'select\."
    r"|built-in (method )?(time\.)?sleep|Lock\.acquire|SimpleQueue\.get"
)
# From 3.12 on a cProfile.Profile hears the events of all threads at once and mixes up their
# stacks; there the slower profiler in Python is used, which has always been one for each thread.
_ONE_FOR_EACH_THREAD = sys.version_info < (3, 12)


@dataclass
class Profile:
    """What was measured; complete when the block of `profiled` has ended."""

    stats: pstats.Stats | None = None
    _profilers: list[Any] = field(default_factory=list)

    def write(self, path: Path) -> None:
        """Write the statistics to a file that ``pstats``, snakeviz and others read."""
        if self.stats is not None:
            self.stats.dump_stats(path)

    def report(self) -> str:
        """Return the functions that took the most time, and those of the user's own files."""
        if self.stats is None or not self.stats.total_calls:  # type: ignore[attr-defined]
            return "nothing was called"
        own = [row for row in self._rows() if row.is_users]
        parts = [f"{_TOP} functions by their own time", _table(self._rows()[:_TOP])]
        if own:
            parts += ["functions of your files", _table(own[:_TOP])]
        return "\n".join(parts)

    def _rows(self) -> list[_Row]:
        assert self.stats is not None
        # Waiting is not work; the file has it all the same.
        rows = [
            _Row(calls, own_s, total_s, file, line, name)
            for (file, line, name), (_, calls, own_s, total_s, _) in self.stats.stats.items()  # type: ignore[attr-defined]
            if not _WAITING.search(name)
        ]
        return sorted(rows, key=lambda row: row.own_s, reverse=True)


@dataclass(frozen=True)
class _Row:
    calls: int
    own_s: float
    total_s: float
    file: str
    line: int
    name: str

    @property
    def is_users(self) -> bool:
        """Whether it is in a file of the user, not in one that was installed."""
        installed = self.file in ("~", "<string>") or "site-packages" in Path(self.file).parts
        return not installed and is_users_file(self.file)

    @property
    def place(self) -> str:
        """Where the function is; built-in ones have no file."""
        if self.file == "~":
            return self.name
        return f"{self.name}  {_short(self.file)}:{self.line}"


@contextmanager
def profiled() -> Iterator[Profile]:
    """Profile what the block does in this thread and in every thread that is started in it."""
    profile = Profile()
    lock = threading.Lock()

    def watch() -> None:
        profiler = _profiler()
        with lock:
            profile._profilers.append(profiler)
        profiler.enable()

    def in_new_thread(frame: object, event: str, argument: object) -> None:
        """At the first event in a thread: put that thread's own profiler in the place of this."""
        watch()

    before = threading.getprofile()
    threading.setprofile(in_new_thread)
    watch()
    try:
        yield profile
    finally:
        sys.setprofile(None)
        threading.setprofile(before)
        profile.stats = _added_up(profile._profilers)


def _profiler() -> Any:
    if _ONE_FOR_EACH_THREAD:
        return cProfile.Profile()
    from sage.cli.thread_profiler import ThreadProfiler

    return ThreadProfiler()


def _added_up(profilers: list[Any]) -> pstats.Stats | None:
    stats: pstats.Stats | None = None
    for profiler in profilers:
        profiler.create_stats()
        if not profiler.stats:
            continue
        if stats is None:
            stats = pstats.Stats(profiler, stream=io.StringIO())
        else:
            stats.add(profiler)
    return stats


def _table(rows: list[_Row]) -> str:
    lines = [f"{'calls':>10} {'own s':>8} {'total s':>8}  function"]
    lines += [f"{r.calls:>10,} {r.own_s:>8.3f} {r.total_s:>8.3f}  {r.place}" for r in rows]
    return "\n".join(lines)


def _short(file: str) -> str:
    """Return the end of a path that tells which file it is."""
    if file.startswith("<"):
        return file
    parts = Path(file).parts
    for marker in ("site-packages", "src"):
        if marker in parts:
            return str(Path(*parts[len(parts) - parts[::-1].index(marker) :]))
    return str(Path(*parts[-2:]))
