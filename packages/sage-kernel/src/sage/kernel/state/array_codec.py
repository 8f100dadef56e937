"""NumPy arrays and scalars as stored values; NumPy itself is never imported to store anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sage.kernel.state.own_classes import UnstorableError

if TYPE_CHECKING:
    import numpy as np

__all__ = ["array_parts", "is_array", "is_numpy_scalar", "restored_array", "restored_scalar"]


def is_array(cls: type) -> bool:
    """Return whether ``cls`` is ``numpy.ndarray`` itself, not a subclass."""
    return cls.__module__ == "numpy" and cls.__name__ == "ndarray"


def is_numpy_scalar(cls: type) -> bool:
    """Return whether ``cls`` is a type of NumPy scalars."""
    return cls.__module__ == "numpy" and any(base.__name__ == "generic" for base in cls.__mro__)


def array_parts(value: Any) -> tuple[Any, list[int], bytes]:
    """Return dtype, shape and bytes (C order) of an array or scalar.

    Raises:
        UnstorableError: if it holds Python objects, or its dtype cannot be named.
    """
    import numpy as np

    dtype: np.dtype[Any] = value.dtype
    if dtype.hasobject:
        raise UnstorableError(
            "an ndarray of Python objects cannot be stored", "ndarray", "store a list instead"
        )
    description = np.lib.format.dtype_to_descr(dtype)
    if np.lib.format.descr_to_dtype(description) != dtype:
        raise UnstorableError(f"arrays of dtype {dtype} cannot be stored", str(dtype))
    return description, list(value.shape), value.tobytes()


def restored_array(parts: Any) -> Any:
    """Return the array, writable and in C order."""
    import numpy as np

    description, shape, content = parts
    dtype = np.lib.format.descr_to_dtype(description)
    return np.ndarray(shape, dtype=dtype, buffer=bytearray(content))


def restored_scalar(parts: Any) -> Any:
    """Return the scalar."""
    return restored_array(parts)[()]
