"""``sage list GROUP``: the components that pipelines can name."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from sage.cli.options import DebugOption, JsonOption

__all__ = ["list_components"]


def list_components(
    group: Annotated[
        str | None,
        typer.Argument(
            help="operators, sources, sinks, embedders, generators, vector_stores, ...",
            metavar="[GROUP]",
            show_default=False,
        ),
    ] = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """List the components that pipelines can name."""
    from sage.common.registry import GROUPS, registry

    if group is None:
        counts = {name: registry(name).names() for name in GROUPS}
        if as_json:
            _print_json(counts)
        else:
            _print_groups(counts)
        return
    components = [_described(group, name) for name in registry(group.replace("-", "_"))]
    if as_json:
        _print_json({"group": group, "components": components})
    else:
        _print_components(group, components)


def _described(group: str, name: str) -> dict[str, Any]:
    """Describe one component; one whose extra is missing is listed with what to install."""
    from sage.common.config import config_schema
    from sage.common.errors import MissingExtraError
    from sage.common.registry import registry

    try:
        component = registry(group).get(name)
    except MissingExtraError as error:
        return {"name": name, "summary": "", "config": None, "missing": error.hint}
    schema = config_schema(component) if isinstance(component, type) else None
    return {
        "name": name,
        "summary": registry(group).summary(name),
        "config": schema,
        "missing": None,
    }


def _print_json(value: Any) -> None:
    from sage.cli.screen import print_json

    print_json(value)


def _print_groups(counts: dict[str, list[str]]) -> None:
    from rich.table import Table

    from sage.cli.screen import results

    table = Table(box=None, pad_edge=False)
    table.add_column("group", style="bold")
    table.add_column("registered")
    for group, names in counts.items():
        table.add_row(group, ", ".join(names) or "-")
    results().print(table)


def _print_components(group: str, components: list[dict[str, Any]]) -> None:
    from rich.table import Table
    from rich.text import Text

    from sage.cli.screen import results

    if not components:
        print(f"no {group} are registered")
        return
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for component in components:
        options = ", ".join((component["config"] or {}).get("properties", {}))
        described = Text(component["summary"] or f"needs: {component['missing']}")
        if options:
            described.append(f"\nwith: {options}", style="dim")
        table.add_row(component["name"], described)
    results().print(table)
