"""How an error is told: one screen of text, or JSON, and the exit code that goes with it.

=====  ==========================================================
0      done
1      it failed; the message says why and what to do
2      the command line is wrong (unknown command, missing argument)
130    stopped with Ctrl-C
=====  ==========================================================
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sage.common.errors import DataError, MissingExtraError, SageError, StorageError

__all__ = ["INTERRUPTED", "Failure", "InterruptedByUser", "Presentation"]

INTERRUPTED = 130
_MAX_LINES = 18


class InterruptedByUser(SageError):
    """Ctrl-C; told in one line, like everything else that ends a command early."""

    code = "interrupted"


@dataclass(frozen=True)
class Failure:
    """What a user is told of an error.

    Attributes:
        code: Stable name of the kind of error, for programs.
        message: What is wrong.
        hint: What to do about it, or None.
        exit_code: The exit code of the command.
        fields: Further facts, for ``--json``.
        trace: The lines of the user's own code that led here.
    """

    code: str
    message: str
    hint: str | None = None
    exit_code: int = 1
    fields: dict[str, Any] | None = None
    trace: str = ""

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """Return how ``error`` is told.

        Example:
            >>> Failure.of(DataError("no such file: 'a'", hint="check the path")).code
            'data-error'
            >>> Failure.of(OSError(errno.ENOSPC, "No space left on device", "x")).code
            'storage-error'
        """
        if isinstance(error, OSError) and not isinstance(error, SageError):
            error = _from_os(error)
        if isinstance(error, SageError) and error.code == "job-failed":
            return _from_job(error)
        if isinstance(error, SageError):
            told = error.to_dict()
            code, message, hint = told.pop("code"), told.pop("message"), told.pop("hint")
            trace = str(told.pop("user_traceback", "") or "")
            exit_code = INTERRUPTED if isinstance(error, InterruptedByUser) else 1
            return cls(code, message, hint, exit_code, told, trace)
        if isinstance(error, ModuleNotFoundError) and not _is_ours(error.name):
            return cls.of(
                MissingExtraError(str(error.name).partition(".")[0], extra="isage[standard]")
            )
        if hasattr(error, "format_message"):  # Typer's and Click's errors; each vendors its own
            return _from_usage(error)
        return cls(
            "internal-error",
            f"{type(error).__name__}: {error}",
            "this is a bug in SAGE; run the command again with --debug and report the traceback",
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the failure as ``--json`` prints it."""
        told = {"code": self.code, "message": self.message, "hint": self.hint}
        return {"error": {**told, **(self.fields or {}), **told}}


def _is_ours(module: str | None) -> bool:
    return module is None or module.partition(".")[0] == "sage"


def _from_os(error: OSError) -> SageError:
    path = str(error.filename) if error.filename is not None else None
    reason = error.strerror or str(error)
    subject = f"{reason}: {path!r}" if path else reason
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS):
        return StorageError(subject, hint="free some space or choose another --home", path=path)
    return DataError(subject, hint="check the path and its permissions", path=path)


def _from_job(error: SageError) -> Failure:
    """Tell a failed job by its cause: what SAGE refused, or the user's exception and its lines."""
    from sage.cli.script import user_lines

    cause = error.__cause__
    if not isinstance(cause, SageError):
        trace = user_lines(cause.__traceback__) if cause is not None else ""
        return Failure(error.code, error.message, error.hint, fields=error.fields, trace=trace)
    told = Failure.of(cause)
    record = error.fields.get("record")
    at = f" at record {record:.120}" if record is not None else ""
    where = f"in operator {error.fields.get('operator')!r}{at}"
    fields = {**error.fields, **(told.fields or {})}
    return replace(told, message=f"{told.message}\n  {where}", fields=fields)


def _from_usage(error: Any) -> Failure:
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "sage"
    return Failure(
        "usage-error",
        error.format_message(),
        f"'{command} --help' shows how to call it",
        exit_code=int(getattr(error, "exit_code", 2)),
    )


@dataclass(frozen=True)
class Presentation:
    """Whether errors are told as text or JSON, and whether with their traceback.

    It is read off the raw arguments, because it must hold as well for arguments that cannot be
    parsed.
    """

    as_json: bool = False
    debug: bool = False

    @classmethod
    def of(cls, arguments: Sequence[str]) -> Presentation:
        """Return the presentation that the arguments ask for.

        Example:
            >>> Presentation.of(["ask", "why?", "--json"])
            Presentation(as_json=True, debug=False)
            >>> Presentation.of(["run", "a.py", "--", "--json"])
            Presentation(as_json=False, debug=False)
        """
        own = arguments[: arguments.index("--")] if "--" in arguments else arguments
        return cls(as_json="--json" in own, debug="--debug" in own)

    def show(self, error: BaseException) -> int:
        """Tell the user about ``error`` and return the exit code."""
        failure = Failure.of(error)
        if self.debug:
            import traceback

            traceback.print_exception(error, file=sys.stderr)
        if self.as_json:
            from sage.cli.screen import print_json

            print_json(failure.to_dict())
        else:
            _print(failure)
        return failure.exit_code


def _print(failure: Failure) -> None:
    from rich.text import Text

    from sage.cli.screen import messages, safe

    console = messages()
    head = Text("error", style="bold red")
    head.append(f" [{failure.code}]", style="red")
    head.append(f" {_shortened(safe(failure.message))}", style="default")
    console.print(head, soft_wrap=True)
    if failure.trace:
        console.print(Text(failure.trace.rstrip("\n"), style="dim"), soft_wrap=True)
    if failure.hint:
        hint = Text("  hint: ", style="bold cyan")
        hint.append(safe(failure.hint), style="default")
        console.print(hint, soft_wrap=True)


def _shortened(message: str) -> str:
    """Keep a message to one screen; ``--json`` has all of it."""
    lines = message.splitlines()
    if len(lines) <= _MAX_LINES:
        return message
    rest = len(lines) - _MAX_LINES
    return "\n".join([*lines[:_MAX_LINES], f"  ... and {rest} more lines (--json shows all)"])
