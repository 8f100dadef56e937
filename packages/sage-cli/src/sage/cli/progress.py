"""Shows how far an indexing run is: a bar on a terminal, a line now and then elsewhere.

Both go to stderr. The bar advances with the bytes that are done, which predicts the remaining time
better than the number of documents, and shows documents and their rate.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sage.middleware.indexing import IndexProgress

__all__ = ["indexing_progress", "progress_line", "progress_lines"]

_LINE_EVERY_S = 5.0


@contextmanager
def indexing_progress() -> Iterator[Callable[[IndexProgress], None]]:
    """Give a callback that shows progress while the block runs."""
    if sys.stderr.isatty():
        with _bar() as callback:
            yield callback
    else:
        yield progress_lines()


@contextmanager
def _bar() -> Iterator[Callable[[IndexProgress], None]]:
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from sage.cli.screen import messages

    columns = (
        TextColumn("indexing"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TextColumn("{task.fields[documents]}"),
        TextColumn("{task.fields[rate]}", style="cyan"),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
    )
    started = time.perf_counter()
    with Progress(*columns, console=messages(), transient=True) as progress:
        task = progress.add_task("index", total=None, documents="looking for changes", rate="")

        def show(state: IndexProgress) -> None:
            progress.update(
                task,
                total=state.total_bytes,
                completed=state.size_bytes,
                documents=f"{state.documents}/{state.total_documents} documents",
                rate=_rate(state, time.perf_counter() - started),
            )

        yield show


def progress_lines() -> Callable[[IndexProgress], None]:
    """Return a callback that prints a line now and then; for one run, or one after the other."""
    started = last = time.perf_counter()

    def show(state: IndexProgress) -> None:
        nonlocal started, last
        now = time.perf_counter()
        if not (state.chunks or state.documents):  # another run begins
            started = last = now
        if now - last >= _LINE_EVERY_S:
            last = now
            print(progress_line(state, now - started), file=sys.stderr, flush=True)

    return show


def progress_line(state: IndexProgress, elapsed_s: float) -> str:
    """Return the state of a run as one line of text.

    Example:
        >>> from sage.middleware.indexing import IndexProgress
        >>> progress_line(IndexProgress(10, 40, 120, 1000.0, 4000), 2.0)
        'indexing: 10/40 documents, 60 chunks/s, 6 s left'
        >>> progress_line(IndexProgress(0, 40, 120, 4000.0, 4000), 2.0)
        'indexing: 0/40 documents, 60 chunks/s, writing'
    """
    share = state.size_bytes / state.total_bytes if state.total_bytes else 0.0
    left = f", {elapsed_s / share - elapsed_s:.0f} s left" if share > 0 else ""
    if (
        share >= 1
    ):  # what is embedded has yet to be written, of which nobody knows how long it takes
        left = ", writing"
    documents = f"{state.documents}/{state.total_documents} documents"
    return f"indexing: {documents}, {_rate(state, elapsed_s)}{left}"


def _rate(state: IndexProgress, elapsed_s: float) -> str:
    return f"{state.chunks / elapsed_s:.0f} chunks/s" if elapsed_s > 0 else ""
