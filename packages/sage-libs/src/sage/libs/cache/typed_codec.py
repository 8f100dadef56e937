"""Values as bytes, which come back with exactly the types they had, or are refused.

MessagePack alone would give back a tuple as a list and a record as a dict. Which types to restore
is therefore declared by the reader, never by the bytes, so that reading executes no code that
somebody else chose; and what would come back as something else is refused before it is kept.
"""

from __future__ import annotations

from typing import Any

import msgspec

from sage.common.errors import DataError

__all__ = ["TypedCodec"]


class TypedCodec:
    """Encodes and decodes values of one declared type.

    Args:
        value_type: What the values are: a record, a dataclass, ``list[Passage]``...; None for
            plain values (None, bool, int, float, str, bytes, lists and dicts of them).

    Example:
        >>> from sage.common.records import Passage
        >>> codec = TypedCodec(tuple[Passage, ...])
        >>> codec.decode(codec.encode((Passage("Water boils."),)))[0].text
        'Water boils.'
        >>> TypedCodec().encode((1, 2))
        Traceback (most recent call last):
        sage.common.errors.DataError: a value of type tuple would come back as list: (1, 2)
          hint: declare it: value_type=...
    """

    def __init__(self, value_type: Any = None) -> None:
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(Any if value_type is None else value_type)

    def encode(self, value: Any) -> bytes:
        """Return the bytes of a value.

        Raises:
            DataError: if it would not come back as it is.
        """
        hint = "declare it: value_type=..."
        try:
            data = self._encoder.encode(value)
            back = self._decoder.decode(data)
        except (TypeError, ValueError, OverflowError, msgspec.MsgspecError) as error:
            told = f"a value of type {type(value).__name__} cannot be kept: {error}"
            raise DataError(f"{told}: {value!r:.100}", hint=hint) from error
        if type(back) is not type(value):
            told = f"a value of type {type(value).__name__} would come back as"
            raise DataError(f"{told} {type(back).__name__}: {value!r:.100}", hint=hint)
        if back != value:
            raise DataError(
                f"a value of type {type(value).__name__} would not come back equal: "
                f"{value!r:.100}, but {back!r:.100}",
                hint="something in it is no plain value, such as a tuple in a dict",
            )
        return data

    def decode(self, data: bytes) -> Any:
        """Return the value that was encoded.

        Raises:
            DataError: if the bytes are damaged, or hold something else than the declared type.
        """
        try:
            return self._decoder.decode(data)
        except (ValueError, msgspec.MsgspecError) as error:
            raise DataError(f"{len(data)} kept bytes cannot be read: {error}") from error
