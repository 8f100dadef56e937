"""Reads the safetensors format: an 8-byte length, a JSON header, raw little-endian tensors.

Forty lines instead of a dependency; nothing in the format can execute code.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sage.common.errors import DataError

__all__ = ["read_safetensors"]

_DTYPES: dict[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
}


def read_safetensors(path: Path) -> dict[str, npt.NDArray[np.float32]]:
    """Return the floating-point tensors of a file by name, as float32.

    F32 tensors are views of the mapped file (no copy); F16 and BF16 are widened; tensors of other
    types, such as saved position ids, are left out.

    Raises:
        DataError: if the file is not in the format, or is cut off.
    """
    try:
        data = np.memmap(path, dtype=np.uint8, mode="r")
        length = int.from_bytes(data[:8].tobytes(), "little")
        header = json.loads(data[8 : 8 + length].tobytes())
        body = data[8 + length :]
        return {
            name: _tensor(body, entry)
            for name, entry in header.items()
            if name != "__metadata__" and entry["dtype"] in _DTYPES
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{str(path)!r} is not a whole safetensors file: {error}", path=str(path)
        ) from error


def _tensor(body: npt.NDArray[np.uint8], entry: Mapping[str, Any]) -> npt.NDArray[np.float32]:
    start, end = entry["data_offsets"]
    raw = body[start:end].view(_DTYPES[entry["dtype"]]).reshape(entry["shape"])
    if entry["dtype"] == "BF16":  # the upper half of a float32
        widened = raw.astype(np.uint32) << 16
        return np.asarray(widened.view(np.float32))
    return np.asarray(raw, dtype=np.float32)
