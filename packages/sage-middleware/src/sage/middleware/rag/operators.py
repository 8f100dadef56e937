"""The RAG operators, the same objects as in ``sage.middleware.operators.rag``."""

from __future__ import annotations

from typing import Any

from sage.middleware.operators import rag

__all__ = rag.__all__


def __getattr__(name: str) -> Any:
    """Look the name up where it is."""
    return getattr(rag, name)


def __dir__() -> list[str]:
    return sorted(__all__)
