"""A client of one HTTP endpoint that speaks JSON: asks, asks again, names every failure.

What is asked is not here: `sage.libs.generation.openai` asks for answers,
`sage.libs.embedding.openai` for vectors.

Layout::

    endpoint.py         Endpoint: posts, streams, turns failures into errors without secrets
    address.py          where it is and which key goes there
    retry.py            when to ask again
    sse.py              server-sent events
    background_loop.py  an event loop on a thread, for synchronous callers
    client.py           EndpointClient: what those who ask have in common
"""

from __future__ import annotations

from sage.libs.endpoint.address import Address, openai_address, vllm_address
from sage.libs.endpoint.background_loop import run_in_background
from sage.libs.endpoint.client import EndpointClient
from sage.libs.endpoint.endpoint import Endpoint
from sage.libs.endpoint.retry import RetryPolicy

__all__ = [
    "Address",
    "Endpoint",
    "EndpointClient",
    "RetryPolicy",
    "openai_address",
    "run_in_background",
    "vllm_address",
]
