"""``LocalEnvironment``: pipelines in this process."""

from __future__ import annotations

from sage.kernel.api.environment import Environment

__all__ = ["LocalEnvironment", "LocalStreamEnvironment"]


class LocalEnvironment(Environment):
    """Builds pipelines and runs them in this process: a thread for each chain of operators.

    Args:
        name: Name of the pipeline.
        config: Options, see `sage.kernel.config.EngineConfig`.

    Example:
        >>> env = LocalEnvironment()
        >>> env.from_collection(["a", "b"]).map(str.upper).collect()
        ['A', 'B']
    """


class LocalStreamEnvironment(LocalEnvironment):
    """The same; ``config={"execution_mode": "distributed"}`` asks for the Ray runtime."""
