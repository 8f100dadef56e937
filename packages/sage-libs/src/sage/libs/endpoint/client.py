"""What every client of an endpoint shares: letting go of the connections that it keeps open."""

from __future__ import annotations

from typing import Self

from sage.libs.endpoint.background_loop import run_in_background
from sage.libs.endpoint.endpoint import Endpoint

__all__ = ["EndpointClient"]


class EndpointClient:
    """Asks one endpoint; may be used in a ``with`` statement, which closes it."""

    _endpoint: Endpoint

    def close(self) -> None:
        """Close the connections that synchronous calls keep open."""
        run_in_background(self.aclose())

    async def aclose(self) -> None:
        """Close the connections made on the running event loop."""
        await self._endpoint.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
