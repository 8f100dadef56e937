"""Starting Ray for this machine, or using the cluster that is there.

Invariant: what we started is shut down when the last of its environments is closed; a cluster or a
connection that was there before us is left alone.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from typing import Any

from sage.common.errors import MissingExtraError

__all__ = ["Cluster", "ray_module"]

_lock = threading.Lock()
_users: set[Cluster] = set()
_started_by_us = False

# Enough for the batches under way; records that are larger spill to disk.
_OBJECT_STORE_BYTES = 256 << 20


def ray_module() -> Any:
    """Return the module ``ray``.

    Raises:
        MissingExtraError: if it is not installed.
    """
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError("ray", extra="isage-kernel[ray]") from error
    return ray


class Cluster:
    """An environment's hold on Ray.

    Args:
        options: Arguments of ``ray.init``; they win over what is chosen here.

    Raises:
        MissingExtraError: if Ray is not installed.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._ray = ray_module()
        self._options = dict(options)

    @property
    def is_ours(self) -> bool:
        """Whether we started it, so that no node will join."""
        return _started_by_us

    def connect(self) -> None:
        """Start Ray, unless the program is connected already."""
        global _started_by_us
        with _lock:
            if not self._ray.is_initialized():
                os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
                # Ray replaces the builtin `print` when an actor dies; a user's `print` is his own.
                os.environ.setdefault("RAY_TQDM_PATCH_PRINT", "0")
                address = self._options.get("address") or os.environ.get("RAY_ADDRESS")
                quiet = {"log_to_driver": False, "logging_level": "ERROR"}
                chosen = {"address": address} if address else _LOCAL
                self._ray.init(**{**quiet, **chosen, **self._options, "ignore_reinit_error": True})
                _started_by_us = not address
                _users.clear()
                from sage.kernel.runtime.ray.pool import forget_idle_actors

                forget_idle_actors()  # of a connection that somebody else has ended
            _users.add(self)

    def release(self) -> None:
        """Let go; the last to let go of what we started shuts it down."""
        global _started_by_us
        with _lock:
            if self not in _users:
                return
            _users.discard(self)
            if _users or not self._ray.is_initialized():
                return
            from sage.kernel.runtime.ray.pool import close_idle_actors

            close_idle_actors()
            if _started_by_us:
                _started_by_us = False
                self._ray.shutdown()


_LOCAL: dict[str, Any] = {
    "address": "local",
    "include_dashboard": False,
    "object_store_memory": _OBJECT_STORE_BYTES,
    "_node_ip_address": "127.0.0.1",
}
