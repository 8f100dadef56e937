"""``sage run FILE``: run a Python script or a YAML pipeline."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sage.cli.options import DebugOption, JsonOption

if TYPE_CHECKING:
    from sage.middleware.pipelines import PipelineDefinition

__all__ = ["run"]


def run(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE", help="A .py script or a .yaml pipeline.", show_default=False
        ),
    ] = None,
    arguments: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ARGUMENTS]", help="Given to the script.", show_default=False),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Only check a YAML pipeline; run nothing.")
    ] = False,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON Schema of YAML pipelines.")
    ] = False,
    profile: Annotated[
        bool, typer.Option("--profile", help="Tell which functions take the time, in all threads.")
    ] = False,
    profile_to: Annotated[
        Path | None,
        typer.Option(
            "--profile-to", metavar="OUT", help="Profile, into this file. [default: FILE.pstats]"
        ),
    ] = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Run a Python script or a YAML pipeline."""
    from sage.cli.screen import print_json

    if schema:
        from sage.middleware.pipelines import pipeline_schema

        print_json(pipeline_schema())
        return
    if file is None:
        raise typer.BadParameter("name a .py script or a .yaml pipeline", param_hint="FILE")
    out = profile_to or (Path(f"{file.stem}.pstats") if profile else None)
    if file.suffix in (".yaml", ".yml", ".json"):
        with _profiled_to(None if check else out):
            _run_pipeline(file, check, as_json)
    elif check:
        raise typer.BadParameter("--check is for YAML pipelines", param_hint="FILE")
    elif file.suffix == ".py":
        with _profiled_to(out):
            _run_script(file, arguments or [], as_json)
    else:
        raise typer.BadParameter(
            f"expected a .py script or a .yaml pipeline, got {str(file)!r}", param_hint="FILE"
        )


@contextmanager
def _profiled_to(out: Path | None) -> Iterator[None]:
    """Profile the block, write the statistics to ``out`` and show the top of them on stderr."""
    if out is None:
        yield
        return
    from sage.cli.profiling import profiled
    from sage.cli.screen import messages, safe

    profile = None
    try:
        with profiled() as profile:
            yield
    finally:
        # Shown after a failure too: what ran until then was measured.
        if profile is not None:
            profile.write(out)
            text = safe(f"{profile.report()}\nwritten to {out}")
            messages().print(text, soft_wrap=True)


def _run_script(file: Path, arguments: list[str], as_json: bool) -> None:
    import time

    from sage.cli.screen import print_json, prints_to_stderr
    from sage.cli.script import run_script

    started = time.perf_counter()
    with prints_to_stderr(as_json):
        try:
            run_script(file, arguments)
            _wait_for_jobs()
        except KeyboardInterrupt:
            _stop_jobs()
            raise
    if as_json:
        print_json({"file": str(file), "status": "finished", "elapsed_s": _since(started)})


def _wait_for_jobs() -> None:
    """Wait for jobs that the script submitted and left behind: the run ends when they do."""
    lifetime = sys.modules.get("sage.kernel.api.lifetime")
    if lifetime is not None:  # a script without a pipeline has not imported it
        lifetime.wait_for_jobs()


def _stop_jobs() -> None:
    """Let jobs end that the script has left behind: whoever pressed Ctrl-C means them as well."""
    lifetime = sys.modules.get("sage.kernel.api.lifetime")
    if lifetime is not None:
        lifetime.stop_jobs()


def _run_pipeline(file: Path, check: bool, as_json: bool) -> None:
    from sage.cli.screen import print_json, results
    from sage.middleware.pipelines import load_pipeline

    definition = load_pipeline(file)
    if not check:
        _execute(file, definition, as_json)
    elif as_json:
        print_json({"file": str(file), "name": definition.name, "valid": True})
    else:
        steps = len(definition.steps)
        noun = "step" if steps == 1 else "steps"
        results().print(f"{file}: pipeline {definition.name!r} with {steps} {noun} is valid")


def _execute(file: Path, definition: PipelineDefinition, as_json: bool) -> None:
    import time

    from sage.cli.screen import print_json, prints_to_stderr
    from sage.middleware.pipelines import build_pipeline

    started = time.perf_counter()
    with prints_to_stderr(as_json):
        result = build_pipeline(definition).execute()
    if as_json:
        operators = [
            {
                "name": operator.name,
                "records_in": operator.records_in,
                "records_out": operator.records_out,
                "no_output": operator.no_output,
                "filtered": operator.filtered,
                "skipped": operator.skipped,
                "dead_lettered": operator.dead_lettered,
            }
            for operator in result.metrics.operators
        ]
        print_json(
            {
                "file": str(file),
                "name": definition.name,
                "status": "finished",
                "elapsed_s": _since(started),
                "operators": operators,
            }
        )


def _since(started: float) -> float:
    import time

    return round(time.perf_counter() - started, 3)
