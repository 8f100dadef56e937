"""Where output goes: results to stdout, progress and messages to stderr.

So ``sage ask ... --json | jq`` works whatever else is shown. Rich is imported when the first
console is made, not before: ``sage --help`` does not need it.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

# All control characters but tab and line feed: an escape sequence could rewrite what was shown.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")

__all__ = [
    "messages",
    "print_json",
    "print_json_line",
    "prints_to_stderr",
    "results",
    "safe",
    "shown_path",
]


def results() -> Console:
    """Return a console on stdout, for what the user asked for."""
    return _console(to_stderr=False)


def messages() -> Console:
    """Return a console on stderr, for progress, notes and errors."""
    return _console(to_stderr=True)


def _console(*, to_stderr: bool) -> Console:
    from rich.console import Console

    # Values of users are full of square brackets: markup, emoji and highlighting stay off, so
    # that text is shown as it is.
    return Console(stderr=to_stderr, markup=False, emoji=False, highlight=False, soft_wrap=False)


def safe(text: str) -> str:
    """Return text of documents without what could take over the terminal.

    Example:
        >>> safe("red \\x1b[31malert")
        'red �[31malert'
    """
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text.replace("\r\n", "\n"))


def shown_path(path: str) -> str:
    """Return a path (or ``path:line``) as it looks from the current directory.

    Example:
        >>> shown_path(os.path.join(os.getcwd(), "docs", "a.md:3"))
        'docs/a.md:3'
        >>> shown_path("/elsewhere/a.md")
        '/elsewhere/a.md'
    """
    here = os.getcwd()
    if path == here:
        return "."
    return path[len(here) + 1 :] if path.startswith(here + os.sep) else path


def print_json(value: Any) -> None:
    """Print ``value`` as JSON on stdout."""
    print(json.dumps(value, ensure_ascii=False, indent=2, default=str))


def print_json_line(value: Any) -> None:
    """Print ``value`` as one line of JSON on stdout, at once: somebody reads as it comes."""
    print(json.dumps(value, ensure_ascii=False, default=str), flush=True)


@contextmanager
def prints_to_stderr(active: bool) -> Iterator[None]:
    """Send what user code prints to stderr while ``active``, so that stdout holds JSON alone."""
    if not active:
        yield
        return
    from contextlib import redirect_stdout

    with redirect_stdout(sys.stderr):
        yield
