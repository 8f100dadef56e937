"""Assembles the ``sage`` command and turns every error into one screen and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import typer

from sage.cli.commands import ask, bench, checkpoint, doctor, index, listing, run, version
from sage.cli.failure import INTERRUPTED, InterruptedByUser, Presentation
from sage.cli.options import DebugOption

__all__ = ["app", "main"]

_EPILOG = "Start with: sage index DIR, then: sage ask 'your question'"

# Without Rich's help pages `sage --help` takes 0.1 s; with them 0.3 s, for boxes.
app = typer.Typer(
    name="sage",
    help="SAGE: streaming pipelines for retrieval and generation.",
    epilog=_EPILOG,
    rich_markup_mode=None,
    invoke_without_command=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("index")(index.index)
app.command("ask")(ask.ask)
app.command("run", context_settings={"allow_extra_args": True, "ignore_unknown_options": False})(
    run.run
)
app.command("list")(listing.list_components)
app.command("bench")(bench.bench)
app.command("doctor")(doctor.doctor)
app.command("version")(version.version)

_checkpoint = typer.Typer(
    help="List, show and verify the checkpoints of jobs.", rich_markup_mode=None
)
_checkpoint.command("list")(checkpoint.list_checkpoints)
_checkpoint.command("show")(checkpoint.show)
_checkpoint.command("verify")(checkpoint.verify)
app.add_typer(_checkpoint, name="checkpoint")


@app.callback()
def _global_options(
    context: typer.Context,
    debug: DebugOption = False,
    show_version: bool = typer.Option(False, "--version", help="Print the version.", is_eager=True),
) -> None:
    if show_version:
        version.version()
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``sage`` with these arguments (default: the process's) and return the exit code.

    Example:
        >>> main(["version", "--nope"])
        2
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _called(given, Presentation.of(given))
    except BrokenPipeError:
        return _pipe_closed()


def _called(given: Sequence[str], presentation: Presentation) -> int:
    try:
        code = typer.main.get_command(app).main(given, prog_name="sage", standalone_mode=False)
        sys.stdout.flush()  # a reader that has gone is noticed here and not at the very end
    except BrokenPipeError:
        raise
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except SystemExit as stop:  # a script run by `sage run` called sys.exit()
        return _exit_code(stop)
    except Exception as error:
        return _shown(presentation, error)
    if code == INTERRUPTED:
        return _shown(presentation, InterruptedByUser("stopped"))
    return code if isinstance(code, int) else 0


def _shown(presentation: Presentation, error: BaseException) -> int:
    exit_code = presentation.show(error)
    sys.stdout.flush()
    return exit_code


def _exit_code(stop: SystemExit) -> int:
    if stop.code is None or isinstance(stop.code, int):
        return stop.code or 0
    print(stop.code, file=sys.stderr)
    return 1


def _pipe_closed() -> int:
    """The reader (``head``, ``less``) has gone; keep the interpreter from flushing into it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1
