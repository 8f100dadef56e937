"""``RemoteEnvironment``: the same pipelines on Ray, an actor for each subtask."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sage.kernel.api.environment import Environment

if TYPE_CHECKING:
    from sage.kernel.config import EngineConfig
    from sage.kernel.runtime.run import Runtime

__all__ = ["RemoteEnvironment", "ray_runtime"]


class RemoteEnvironment(Environment):
    """Builds pipelines and runs them on Ray: an actor for each subtask.

    The same pipeline gives the same results as in a `LocalEnvironment`. Functions travel to fresh
    processes by cloudpickle: what a sink adds to a list of this process would be lost and is
    refused, ``collect()`` brings records back. Loops (``iterate``, ``from_future``) and ``serve``
    need one process and are refused too. NumPy arrays arrive read-only, as Ray shares their memory.

    Ray is started when the pipeline first runs, for this machine only, unless ``address`` names a
    cluster or the program is connected to one already; `close` stops what was started.

    Args:
        name: Name of the pipeline.
        config: Options, see `sage.kernel.config.EngineConfig`; ``config["ray"]`` holds arguments of
            ``ray.init`` and ``start_timeout_s``, the longest wait for the actors' resources.
        address: A running cluster, as ``ray.init`` takes it; None starts one here.

    Example:
        >>> env = RemoteEnvironment("words")
        >>> words = env.from_collection(["a", "b", "a"])
        >>> counted = words.key_by(lambda word: word).count(parallelism=2)
        >>> print(env.explain())  # nothing runs yet, and Ray is not imported
        words: 3 tasks
        [0] collection → key_by
        [1] count ×2  ← key_by (by key)
    """

    def __init__(
        self, name: str, config: Mapping[str, Any] | None = None, address: str | None = None
    ) -> None:
        given = dict(config or {})
        if address is not None:
            given["ray"] = {**(given.get("ray") or {}), "address": address}
        super().__init__(name, {**given, "execution_mode": "distributed"})


def ray_runtime(config: EngineConfig) -> Runtime:
    """Return the Ray runtime; nothing is started yet.

    Raises:
        MissingExtraError: if Ray is not installed.
    """
    from sage.kernel.runtime.ray.runtime import RayRuntime

    return RayRuntime(config.ray or {})
