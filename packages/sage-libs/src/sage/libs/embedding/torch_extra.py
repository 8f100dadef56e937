"""Imports the libraries of the extra ``torch`` where they are used, or says how to get them."""

from __future__ import annotations

import importlib
from typing import Any

from sage.common.errors import MissingExtraError

__all__ = ["import_from_extra"]


def import_from_extra(module: str) -> Any:
    """Return a module of the extra ``torch``: ``"torch"`` or ``"sentence_transformers"``.

    Raises:
        MissingExtraError: if it, or something it needs, is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or module, extra="isage-libs[torch]") from error
