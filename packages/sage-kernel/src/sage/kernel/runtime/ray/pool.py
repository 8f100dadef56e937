"""Actors that have ended a task and wait for the next one.

A process that imports Ray takes about half a second of CPU to start, which is more than many a job
takes to run. So actors that asked for no resources are kept until the last environment is closed,
as Ray itself keeps the workers of its tasks. One goes if its task was killed, or left a thread that
is stuck in a user's code.
"""

from __future__ import annotations

import threading
from typing import Any

import ray
from ray.exceptions import RayError

from sage.kernel.graph.job_graph import JobVertex
from sage.kernel.runtime.ray.actor import CONCURRENCY_GROUPS, TaskActor
from sage.kernel.runtime.ray.placement import actor_options

__all__ = ["close_idle_actors", "forget_idle_actors", "keep_actor", "take_actor"]

# Each holds about 100 MB.
_MOST_IDLE = 16
_ANSWER_S = 2.0

_lock = threading.Lock()
_idle: list[Any] = []


def take_actor(vertex: JobVertex) -> Any:
    """Return an actor for a subtask of a vertex: an idle one, or one that Ray will place."""
    while not vertex.head.resources:
        with _lock:
            actor = _idle.pop() if _idle else None
        if actor is None:
            break
        if _answers(actor):
            return actor
    made = ray.remote(concurrency_groups=CONCURRENCY_GROUPS)(TaskActor)
    return made.options(**actor_options(vertex)).remote()


def keep_actor(actor: Any, vertex: JobVertex) -> None:
    """Keep an actor whose task came to its end for another job, or end it."""
    with _lock:
        if not vertex.head.resources and len(_idle) < _MOST_IDLE:
            _idle.append(actor)
            return
    ray.kill(actor)


def close_idle_actors() -> None:
    """End every actor that waits."""
    for actor in forget_idle_actors():
        ray.kill(actor)


def forget_idle_actors() -> list[Any]:
    """Take every actor that waits out of the pool."""
    with _lock:
        actors = list(_idle)
        _idle.clear()
    return actors


def _answers(actor: Any) -> bool:
    try:
        ray.get(actor.ping.options(concurrency_group="control").remote(), timeout=_ANSWER_S)
    except RayError:  # killed meanwhile, or stuck
        return False
    return True
