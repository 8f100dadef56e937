"""The files of a store that is saved whole: what it remembers, who may write, what is not saved.

The invariant: a process writes only what it has read and nobody has changed since. The lock is
taken before the first change and kept until the store is closed; readers need none, because a
snapshot is replaced as a whole.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sage.common.errors import StorageError
from sage.libs.vectors.snapshot import current_token, read_snapshot, write_snapshot
from sage.libs.vectors.store import check_facts
from sage.libs.vectors.store_lock import StoreLock

__all__ = ["StoreFiles"]


class StoreFiles:
    """Reads, claims and writes the files of one store; without a path, there are none.

    Attributes:
        dirty: Whether the store holds what is not saved.
        model: The model that makes the vectors, if it is known.

    Args:
        kind: The kind of store, which no other kind may open.
        path: Its directory, or None.
        dim: Length of the vectors.
        model: The model it must have been made with, or None for any.
    """

    def __init__(
        self, kind: str, path: str | os.PathLike[str] | None, *, dim: int, model: str | None
    ) -> None:
        self.dirty = False
        self.model = model
        self._kind, self._dim = kind, dim
        self._path = None if path is None else Path(path)
        self._lock = None if self._path is None else StoreLock(self._path)
        self._token: str | None = None

    def read(self) -> tuple[dict[str, Any], Callable[[str], Path]] | None:
        """Return what was saved, see `read_snapshot`, if it was made for this dimension and model.

        Raises:
            StorageError: if it was not, or is damaged.
        """
        found = None if self._path is None else read_snapshot(self._path, self._kind)
        if found is None or self._path is None:
            return None
        facts, part = found
        check_facts(self._path, facts, {"dim": self._dim, "model": self.model})
        self.model = self.model or facts.get("model")
        self._token = facts["token"]
        return facts, part

    def claim(self) -> None:
        """Become the one who writes the store; called before each change.

        Raises:
            StorageError: if another process is, or has changed the store since it was read.
        """
        if self._path is None or self._lock is None or self._lock.owned:
            return
        self._lock.own()
        if current_token(self._path) != self._token:
            self._lock.release()
            raise StorageError(
                f"the vector store {str(self._path)!r} was changed by somebody else "
                "since it was opened here",
                hint="open it again and repeat the change",
                path=str(self._path),
            )

    def write(
        self,
        facts: Mapping[str, Any],
        parts: Mapping[str, Callable[[Callable[[bytes], Any]], Any]],
    ) -> None:
        """Save the store, see `write_snapshot`.

        Raises:
            StorageError: if it cannot be written, or by this process not any more (a fork).
        """
        if self._path is not None:
            self.claim()
            remembered = {"kind": self._kind, "dim": self._dim, "model": self.model, **facts}
            self._token = write_snapshot(self._path, remembered, parts)
        self.dirty = False

    def release(self) -> None:
        """Let others write; the next change claims the store again."""
        if self._lock is not None:
            self._lock.release()
