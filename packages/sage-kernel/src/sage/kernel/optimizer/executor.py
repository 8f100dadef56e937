"""Which executor can run an operator; asked when it is added to a plan."""

from __future__ import annotations

from dataclasses import replace

from sage.kernel.errors import GraphError
from sage.kernel.graph.transformation import Transformation

__all__ = ["check_executor"]

_IN_PROCESS = ("map", "filter", "flat_map", "map_batches")


def check_executor(transformation: Transformation) -> Transformation:
    """Return a transformation with the executor that it needs, or raise if that cannot run it.

    Raises:
        GraphError: if worker processes are asked for and what it does is bound to this process, or
            if ``async`` is asked for and it awaits nothing, or something else and it does.
    """
    kind = transformation.operator.kind
    if kind == "map_async":
        return _on_event_loop(transformation)
    if transformation.executor == "async":
        raise GraphError(
            f"{transformation.name!r} ({kind}) cannot run with executor='async'; map can",
            hint="await in a map_async, and let the rest read its results",
        )
    if transformation.executor == "process" and kind not in _IN_PROCESS:
        raise GraphError(
            f"{transformation.name!r} ({kind}) cannot run with executor='process'; "
            f"{', '.join(_IN_PROCESS)} can",
            hint="compute in a map with executor='process', and let the rest read its results",
        )
    if transformation.executor == "process" and transformation.operator.is_journalled:
        raise GraphError(
            f"{transformation.name!r} ({kind}) cannot journal its results with executor='process'",
            hint="journal what waits for others, compute in processes: two operators",
        )
    return transformation


def _on_event_loop(transformation: Transformation) -> Transformation:
    """An async map has but one place to run, so its executor need not be said."""
    if transformation.executor not in (None, "async"):
        raise GraphError(
            f"{transformation.name!r} (map_async) runs on an event loop, "
            f"not with executor={transformation.executor!r}",
            hint="leave executor out, or give a function that is not async to map",
        )
    return replace(transformation, executor=None)
