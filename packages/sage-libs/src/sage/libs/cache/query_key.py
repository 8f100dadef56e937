"""A key for a question and all that its answer depends on."""

from __future__ import annotations

from typing import Any

import msgspec

from sage.common.errors import DataError

__all__ = ["query_key"]


def query_key(*parts: Any, **options: Any) -> str:
    """Return a text that is equal for equal questions with equal options, and for no others.

    Mappings are equal whatever their order; 1, 1.0, True and "1" are four different values.

    Args:
        parts: The question, and what else the answer depends on: collection, model, user.
        options: The same by name: ``top_k``, ``filter``.

    Raises:
        DataError: if one of them is nothing that JSON can hold.

    Example:
        >>> query_key("why?", top_k=5, filter={"a": 1, "b": 2})
        '[["why?"],{"filter":{"a":1,"b":2},"top_k":5}]'
        >>> query_key("why?", filter={"b": 2, "a": 1}, top_k=5) == _
        True
    """
    try:
        return msgspec.json.encode((parts, options), order="deterministic").decode()
    except (TypeError, ValueError) as error:
        raise DataError(
            f"cannot make a key of {parts!r:.100} with {sorted(options)}: {error}",
            hint="leave out what the answer does not depend on, and put the rest as plain values",
        ) from error
