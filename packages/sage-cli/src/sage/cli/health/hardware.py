"""What the CPU offers to the embedder, and the backend chosen for it."""

from __future__ import annotations

import platform
from collections.abc import Iterator

from sage.cli.health.finding import Finding, fine

__all__ = ["processor"]

_INTERESTING = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "asimd")


def processor() -> Iterator[Finding]:
    """Say which cores and vector instructions there are, and what computes embeddings with them."""
    from sage.libs.embedding.backends import choose_backend
    from sage.libs.embedding.processor import cores, flags

    found = flags()
    shown = ", ".join(flag for flag in _INTERESTING if flag in found) or "no known extensions"
    yield fine("cpu", f"{platform.machine()}, {cores()} cores, {shown}")
    backend, reason = choose_backend()
    yield fine("embedding", f"backend {backend!r}: {reason}")
