"""A rule: a pure function from plan to plan. One rewrite a file, an ordered list in ``ruleset``."""

from __future__ import annotations

from collections.abc import Callable

from sage.kernel.graph.stream_graph import StreamGraph

__all__ = ["Rule"]

Rule = Callable[[StreamGraph], StreamGraph]
