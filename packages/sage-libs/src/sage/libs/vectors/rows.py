"""Ids, metadata and texts by row number, for the stores that have to keep them themselves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import numpy as np
import numpy.typing as npt

from sage.common.errors import StorageError
from sage.libs.vectors.filters import Filter, matches
from sage.libs.vectors.store import Hit, Scalar

__all__ = ["Rows"]


class _Saved(msgspec.Struct):
    ids: list[str | None]
    metadatas: list[dict[str, Scalar]]
    texts: list[str]


class Rows:
    """A column of rows; a deleted one stays as a hole until `compacted`, so numbers are stable."""

    def __init__(self) -> None:
        self._ids: list[str | None] = []
        self._metadatas: list[dict[str, Scalar]] = []
        self._texts: list[str] = []
        self._row_of: dict[str, int] = {}

    def __len__(self) -> int:
        """Return the number of rows, holes included."""
        return len(self._ids)

    @property
    def alive(self) -> int:
        """The number of rows without the holes."""
        return len(self._row_of)

    def append(
        self, ids: Sequence[str], metadatas: Iterable[dict[str, Scalar]], texts: Iterable[str]
    ) -> None:
        """Add rows at the end; older rows of the same ids become holes."""
        self.delete(ids)
        self._row_of.update(zip(ids, range(len(self), len(self) + len(ids)), strict=True))
        self._ids.extend(ids)
        self._metadatas.extend(metadatas)
        self._texts.extend(texts)

    def delete(self, ids: Iterable[str]) -> bool:
        """Make holes of the rows of these ids; return whether there was any."""
        rows = [self._row_of.pop(i) for i in ids if i in self._row_of]
        for row in rows:
            self._ids[row], self._metadatas[row], self._texts[row] = None, {}, ""
        return bool(rows)

    def allowed(self, condition: Filter | None) -> npt.NDArray[np.bool_]:
        """Return bool [len(self)]: true for the rows that are no holes and match."""
        mask = np.zeros(len(self), dtype=np.bool_)
        for row in self._row_of.values():
            mask[row] = condition is None or matches(condition, self._metadatas[row])
        return mask

    def hit(self, row: int, score: float) -> Hit:
        """Return the hit of a row that is no hole."""
        found = self._ids[row]
        assert found is not None
        return Hit(found, score, self._metadatas[row], self._texts[row])

    def compacted(self) -> tuple[Rows, npt.NDArray[np.intp]]:
        """Return the rows without holes, and which row each of them was."""
        kept = np.flatnonzero(self.allowed(None))
        rows = Rows()
        ids = [i for i in self._ids if i is not None]
        rows.append(ids, [self._metadatas[r] for r in kept], [self._texts[r] for r in kept])
        return rows, kept

    def write(self, file: BinaryIO) -> None:
        """Write the rows as MessagePack."""
        file.write(msgspec.msgpack.encode(_Saved(self._ids, self._metadatas, self._texts)))

    @classmethod
    def read(cls, path: Path) -> Rows:
        """Read what `write` wrote.

        Raises:
            StorageError: if the file is missing or damaged.
        """
        try:
            saved: Any = msgspec.msgpack.decode(path.read_bytes(), type=_Saved)
        except (OSError, msgspec.DecodeError) as error:
            raise StorageError(f"cannot read {str(path)!r}: {error}", path=str(path)) from error
        rows = cls()
        rows._ids, rows._metadatas, rows._texts = saved.ids, saved.metadatas, saved.texts
        rows._row_of = {i: row for row, i in enumerate(saved.ids) if i is not None}
        return rows
