"""Ids, metadata and texts by row number, for the stores that have to keep them themselves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from sage.common.errors import StorageError
from sage.libs.vectors.columns import Columns, GrowingArray
from sage.libs.vectors.filters import Filter
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
        self._is_alive = GrowingArray(np.bool_)
        self._columns = Columns(self._metadatas)

    def __len__(self) -> int:
        """Return the number of rows, holes included."""
        return len(self._ids)

    @property
    def alive(self) -> int:
        """The number of rows without the holes."""
        return len(self._row_of)

    def append(
        self, ids: Sequence[str], metadatas: Sequence[dict[str, Scalar]], texts: Sequence[str]
    ) -> None:
        """Add rows at the end; older rows of the same ids become holes."""
        self.delete(ids)
        self._row_of.update(zip(ids, range(len(self), len(self) + len(ids)), strict=True))
        self._ids.extend(ids)
        self._metadatas.extend(metadatas)
        self._texts.extend(texts)
        self._is_alive.extend(np.ones(len(ids), dtype=np.bool_))
        self._columns.extend(metadatas)

    def delete(self, ids: Iterable[str]) -> bool:
        """Make holes of the rows of these ids; return whether there was any."""
        rows = [self._row_of.pop(i) for i in dict.fromkeys(ids) if i in self._row_of]
        for row in rows:
            self._ids[row], self._metadatas[row], self._texts[row] = None, {}, ""
        self._is_alive.view[rows] = False
        return bool(rows)

    def numbers(self, ids: Sequence[str]) -> npt.NDArray[np.intp]:
        """Return the row of each id, -1 for those that are not there."""
        return np.fromiter((self._row_of.get(i, -1) for i in ids), dtype=np.intp, count=len(ids))

    def redescribe(self, row: int, metadata: dict[str, Scalar], text: str) -> bool:
        """Give a row other metadata and another text; return whether they are others."""
        if self._texts[row] == text and _same(self._metadatas[row], metadata):
            return False
        self._metadatas[row], self._texts[row] = metadata, text
        self._columns.replace(row, metadata)
        return True

    def allowed(self, condition: Filter | None) -> npt.NDArray[np.bool_] | None:
        """Return bool [len(self)]: which rows are no holes and match; None if that is every row."""
        if condition is not None:
            return self._is_alive.view & self._columns.matching(condition)
        return None if self.alive == len(self) else self._is_alive.view

    def hits(self, scores: npt.NDArray[np.float32], rows: npt.NDArray[Any]) -> list[list[Hit]]:
        """Return hits, [queries, found]; a row of -1 is none. Their metadata are copies."""
        ids, metadatas, texts = self._ids, self._metadatas, self._texts
        return [
            [
                Hit(ids[row] or "", score, dict(metadatas[row]), texts[row])
                for score, row in zip(*pair, strict=True)
                if row >= 0
            ]
            for pair in zip(scores.tolist(), rows.tolist(), strict=True)
        ]

    def compacted(self) -> tuple[Rows, npt.NDArray[np.intp]]:
        """Return the rows without holes, and which row each of them was."""
        kept = np.flatnonzero(self._is_alive.view)
        rows = Rows()
        ids = [i for i in self._ids if i is not None]
        rows.append(ids, [self._metadatas[r] for r in kept], [self._texts[r] for r in kept])
        return rows, kept

    def encoded(self) -> bytes:
        """Return the rows as MessagePack."""
        return msgspec.msgpack.encode(_Saved(self._ids, self._metadatas, self._texts))

    @classmethod
    def read(cls, path: Path) -> Rows:
        """Read what `encoded` gave.

        Raises:
            StorageError: if the file is missing or damaged.
        """
        try:
            saved = msgspec.msgpack.decode(path.read_bytes(), type=_Saved)
        except (OSError, msgspec.DecodeError) as error:
            raise StorageError(f"cannot read {str(path)!r}: {error}", path=str(path)) from error
        rows = cls()
        rows._ids.extend(saved.ids)
        rows._metadatas.extend(saved.metadatas)
        rows._texts.extend(saved.texts)
        rows._row_of = {i: row for row, i in enumerate(saved.ids) if i is not None}
        rows._is_alive.extend([i is not None for i in saved.ids])
        return rows


def _same(one: dict[str, Scalar], other: dict[str, Scalar]) -> bool:
    """Return whether metadata are equal in their types too: 1 is not True, nor 1.0."""
    return one == other and list(map(type, one.values())) == [type(other[key]) for key in one]
