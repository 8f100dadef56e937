"""Runs a user's script as ``__main__`` in this process, and tells what failed in it.

What is shown of a failure are the lines of the user's own code; the frames of SAGE and of the
interpreter's machinery around them say nothing to the author of the script.
"""

from __future__ import annotations

import linecache
import os
import re
import runpy
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from types import TracebackType

from sage.common.errors import DataError, SageError

__all__ = ["ScriptFailedError", "is_users_file", "run_script", "user_lines"]


class ScriptFailedError(SageError):
    """A script that ``sage run`` ran raised an exception of its own."""

    code = "script-failed"


def run_script(path: Path, arguments: Sequence[str]) -> None:
    """Run a script as Python would: as ``__main__``, with its arguments and its directory.

    Raises:
        SageError: what SAGE refused; shown as it is.
        ScriptFailedError: from any other exception of the script, with the lines that led to it.
    """
    if not path.is_file():
        raise DataError(f"no such file: {str(path)!r}", hint="check the path", path=str(path))
    with _as_main(path, arguments):
        try:
            runpy.run_path(str(path), run_name="__main__")
        except SageError:
            raise
        except SyntaxError as error:
            shown = "".join(traceback.format_exception_only(error))
            raise ScriptFailedError(
                f"{path} is not valid Python", user_traceback=shown, path=str(path)
            ) from error
        except Exception as error:
            raise ScriptFailedError(
                f"{path}: {type(error).__name__}: {error}",
                user_traceback=user_lines(error.__traceback__),
                path=str(path),
            ) from error


@contextmanager
def _as_main(path: Path, arguments: Sequence[str]) -> Iterator[None]:
    argv, search_path = sys.argv, list(sys.path)
    sys.argv = [str(path), *arguments]
    sys.path.insert(0, str(path.resolve().parent))
    try:
        yield
    finally:
        sys.argv, sys.path[:] = argv, search_path


def user_lines(trace: TracebackType | None) -> str:
    """Return the part of a traceback that starts with the user's own code, formatted.

    Frames are dropped from the front until one is not SAGE's, not the interpreter's and not
    generated; everything called from there on stays.
    """
    frames = [_origin(frame) for frame in traceback.extract_tb(trace)]
    first = next(
        (i for i, frame in enumerate(frames) if is_users_file(frame.filename)), len(frames)
    )
    return "".join(traceback.StackSummary.from_list(frames[first:]).format())


def _origin(frame: traceback.FrameSummary) -> traceback.FrameSummary:
    """Return the user's line that a line of generated code was made of, if it says so.

    The kernel writes simple functions into the loop that it generates for a chain, and where they
    came from as a comment behind them.
    """
    match = _INLINED.search(frame.line or "") if frame.filename.startswith("<sage") else None
    if match is None:
        return frame
    path, first = match["path"], int(match["number"])
    name, number = "<lambda>", first
    if named := re.match(r"\s*def (\w+)", linecache.getline(path, first)):
        # Such a function is a single return; its line says more than the first one.
        body = range(first + 1, first + 20)
        returns = (n for n in body if linecache.getline(path, n).lstrip().startswith("return "))
        name, number = named[1], next(returns, first)
    source = linecache.getline(path, number) or (frame.line or "")[: match.start()]
    return traceback.FrameSummary(path, number, name, line=source.strip())


def is_users_file(filename: str) -> bool:
    """Say whether code of that file is neither SAGE's nor the interpreter's nor generated."""
    if filename.startswith("<"):
        return filename in ("<stdin>", "<string>")
    parts = Path(filename).parts
    ours = any(a == "sage" and b in _PORTIONS for a, b in pairwise(parts))
    return not ours and not filename.startswith(os.path.dirname(runpy.__file__) + os.sep)


_INLINED = re.compile(r"#\s*(?P<path>\S.*):(?P<number>\d+)\s*$")
_PORTIONS = frozenset(
    {"apps", "benchmark", "cli", "common", "gateway", "kernel"}
    | {"libs", "middleware", "platform", "studio", "tools"}
)
