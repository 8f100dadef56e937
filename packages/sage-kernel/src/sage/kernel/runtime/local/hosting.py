"""Which host runs an operator: none for most, an event loop for async ones, or a process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sage.kernel.config import EngineConfig
from sage.kernel.operators.map_async import LiveMapAsync
from sage.kernel.runtime.chain import Chain
from sage.kernel.runtime.channel import Mailbox
from sage.kernel.runtime.hosts import Host

if TYPE_CHECKING:
    from sage.kernel.runtime.event_loop import EventLoop

__all__ = ["LocalHosts"]


class LocalHosts:
    """Makes the hosts of one job, of which the async ones share one event loop.

    Args:
        config: The environment's options.
    """

    def __init__(self, config: EngineConfig) -> None:
        self._config = config
        self._loop: EventLoop | None = None

    def __call__(self, chain: Chain, mailbox: Mailbox) -> Host | None:
        """Return the host of a chain's first operator, or None if it runs in the task's thread."""
        if not chain.root.nodes:
            return None
        node = chain.root.nodes[0]
        live = node.live
        if node.transformation.executor == "process":
            # cloudpickle takes 20 ms to import, which a pipeline without workers saves.
            from sage.kernel.runtime.process.host import ProcessHost

            config = self._config
            return ProcessHost(
                chain,
                mailbox,
                config.linger_ms / 1000,
                config.batch_size,
                config.worker_timeout_s,
            )
        if isinstance(live, LiveMapAsync):
            # asyncio takes 20 ms to import, which a pipeline without async functions saves.
            from sage.kernel.runtime.event_loop import AsyncHost, EventLoop

            if self._loop is None:
                self._loop = EventLoop()
            return AsyncHost(live, node.policy.retry, mailbox, self._loop)
        return None

    def close(self) -> None:
        """Stop the event loop."""
        if self._loop is not None:
            self._loop.close()
