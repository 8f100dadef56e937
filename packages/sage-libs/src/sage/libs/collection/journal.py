"""Vectors that were computed for an update, on the disk as soon as they are there.

Embedding is what an update takes its time for. An update that is killed leaves no index behind, but
this journal: the next one finds in it, by content, what was embedded already. It goes when an
update commits.

The file is a header and records of one size: hash of model and text, vector, checksum. It is only
appended to, so that a kill costs at most its last record; what is damaged is not read.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
import numpy.typing as npt

__all__ = ["VectorJournal"]

_log = logging.getLogger(__name__)
_MAGIC: Final = b"SAGEvec1"
_HEADER: Final = struct.Struct("<8sI")
_KEY_BYTES: Final = 16


class VectorJournal:
    """Remembers vectors by the text that they were made of.

    It is an aid and no part of the index: where it cannot be written (a full disk), it gives up and
    gives its room back, and the update goes on without.

    Args:
        path: Its file; read if it is there, made when there is something to remember.
        model: The model that makes the vectors; those of another one are not found.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "journal")
        >>> with contextlib.closing(VectorJournal(path, "m")) as killed:
        ...     killed.remember(["one", "two"], np.eye(2, dtype=np.float32))
        >>> with contextlib.closing(VectorJournal(path, "m")) as journal:
        ...     journal.recall(["two", "three"])
        [array([0., 1.], dtype=float32), None]
    """

    def __init__(self, path: Path, model: str) -> None:
        self._path = path
        # A name may be longer than a key of the hash.
        self._model = hashlib.blake2b(model.encode("utf-8", "surrogatepass")).digest()
        self._dim = 0
        self._rows: dict[bytes, int] = {}
        self._file: BinaryIO | None = None
        self._given_up = False
        with contextlib.suppress(FileNotFoundError):
            self._failing_softly(self._read)

    def __len__(self) -> int:
        """Return how many vectors are remembered."""
        return len(self._rows)

    def recall(self, texts: Sequence[str]) -> list[npt.NDArray[np.float32] | None]:
        """Return for each text its vector, float32 [dim], or None if that is not known."""
        if not self._rows or self._file is None:
            return [None] * len(texts)
        return [self._vector(self._rows.get(self._key(text))) for text in texts]

    def remember(self, texts: Sequence[str], vectors: npt.NDArray[np.float32]) -> None:
        """Write vectors down; they are there again although the process is killed.

        Args:
            texts: What was embedded.
            vectors: float32 [len(texts), dim].
        """
        if not self._given_up and len(texts):
            self._failing_softly(lambda: self._append(texts, vectors))

    def close(self) -> None:
        """Let go of the file; what was remembered stays."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def remove(self) -> None:
        """Forget everything: the vectors are in an index."""
        self.close()
        self._rows = {}
        self._path.unlink(missing_ok=True)

    def _failing_softly(self, act: Callable[[], None]) -> None:
        try:
            act()
        except FileNotFoundError:
            raise
        except OSError as error:
            _log.warning("cannot remember what was embedded in %s: %s", self._path, error)
            self._given_up = True
            with contextlib.suppress(OSError):
                self.remove()

    def _key(self, text: str) -> bytes:
        content = text.encode("utf-8", "surrogatepass")
        return hashlib.blake2b(content, digest_size=_KEY_BYTES, key=self._model).digest()

    def _vector(self, row: int | None) -> npt.NDArray[np.float32] | None:
        if row is None or self._file is None:
            return None
        at = _HEADER.size + row * self._record().itemsize + _KEY_BYTES
        return np.frombuffer(os.pread(self._file.fileno(), 4 * self._dim, at), dtype="<f4")

    def _record(self) -> np.dtype[np.void]:
        fields = [("key", f"V{_KEY_BYTES}"), ("vector", "<f4", (self._dim,)), ("check", "<u4")]
        return np.dtype(fields)

    def _read(self) -> None:
        """Read what an earlier update left, up to the first record that is not whole."""
        file = self._path.open("r+b", buffering=0)
        magic, dim = _HEADER.unpack(file.read(_HEADER.size).ljust(_HEADER.size))
        if magic != _MAGIC or not 0 < dim < 1 << 20:
            file.close()
            self._path.unlink()
            return
        self._file, self._dim = file, dim
        size, whole = self._record().itemsize, 0
        while len(record := file.read(size)) == size and _is_whole(record):
            self._rows.setdefault(record[:_KEY_BYTES], whole)
            whole += 1
        file.truncate(_HEADER.size + whole * size)
        file.seek(0, os.SEEK_END)

    def _append(self, texts: Sequence[str], vectors: npt.NDArray[np.float32]) -> None:
        if self._file is not None and vectors.shape[1] != self._dim:
            self.remove()  # the killed update had another model: nobody will ask for its vectors
        if self._file is None:
            self._dim = vectors.shape[1]
            self._file = self._path.open("w+b", buffering=0)
            self._file.write(_HEADER.pack(_MAGIC, self._dim))
        first, written = self._file.tell(), bytearray()
        size = self._record().itemsize
        start = (first - _HEADER.size) // size
        keys = [self._key(text) for text in texts]
        for key, vector in zip(keys, np.ascontiguousarray(vectors, dtype="<f4"), strict=True):
            record = key + vector.tobytes()
            written += record + zlib.crc32(record).to_bytes(4, "little")
        view = memoryview(written)
        while view:
            view = view[self._file.write(view) :]
        for row, key in enumerate(keys, start):
            self._rows.setdefault(key, row)


def _is_whole(record: bytes) -> bool:
    return zlib.crc32(record[:-4]) == int.from_bytes(record[-4:], "little")
