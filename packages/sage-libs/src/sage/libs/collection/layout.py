"""Where a collection's files are, and how an update replaces them.

::

    collections/NAME/
        CURRENT             the name of the generation that answers, swapped by rename
        LOCK                held (flock) by the one process that updates, with its pid
        gen-0007/           a generation: never changed once CURRENT has named it
            meta.json       format, model, dim, kind of store, counts
            catalogue.sqlite
            vectors/
            words/
        .staging-xxxx/      an update that is under way, or was killed
        EMBEDDED            the vectors that it had computed, for the next one

The invariant: what CURRENT names is complete and on the disk. Readers hold a shared lock on the
``meta.json`` of their generation; an update removes generations older than the previous one, but
none that somebody still reads.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from sage.common.errors import ConfigError, DataError, Problem, StorageError
from sage.common.ids import fresh_id
from sage.common.paths import collections_dir
from sage.common.suggestions import did_you_mean

__all__ = ["FORMAT", "Layout", "Meta", "collection_names", "hold"]

FORMAT: Final = 1
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_GENERATION: Final = re.compile(r"gen-(\d{4,})")


class Meta(msgspec.Struct, frozen=True, kw_only=True):
    """What ``meta.json`` says about a generation.

    Attributes:
        format: Version of the files' layout.
        model: The embedding model of the vectors.
        dim: Length of the vectors; 0 while there are none.
        store: Kind of the vector store: ``chroma``, ``faiss`` or ``numpy``.
        documents: How many documents.
        chunks: How many chunks.
        updated_s: When it was made, in seconds since the epoch.
        chunker: Name of the chunker that its documents are cut with; empty for the default.
        chunk_tokens: Most tokens in a chunk; 0 for the default.
    """

    model: str
    dim: int
    store: str
    documents: int
    chunks: int
    updated_s: float
    format: int = FORMAT
    chunker: str = ""
    chunk_tokens: int = 0


def collection_names(home: str | os.PathLike[str] | None = None) -> list[str]:
    """Return the names of the collections that have been committed at least once, sorted."""
    return sorted(path.parent.name for path in collections_dir(home).glob("*/CURRENT"))


class Layout:
    """The directory of one collection.

    Args:
        name: Letters, digits, ``.``, ``_`` and ``-``, at most 100.
        home: SAGE's home directory, instead of ``$SAGE_HOME``.

    Raises:
        ConfigError: if the name is not valid.
    """

    def __init__(self, name: str, home: str | os.PathLike[str] | None = None) -> None:
        if not _NAME.fullmatch(name):
            message = f"expected letters, digits, '.', '_' or '-', got {name!r}"
            raise ConfigError("collection", [Problem("$.name", message)])
        self.name = name
        self.home = home
        self.root = collections_dir(home) / name

    def current(self) -> Path | None:
        """Return the generation that answers, or None before the first commit."""
        try:
            named = (self.root / "CURRENT").read_text(encoding="ascii").strip()
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise StorageError(
                f"cannot read the collection {self.name!r}: {error}", path=str(self.root)
            ) from error
        if not _GENERATION.fullmatch(named):
            raise self.damaged(f"CURRENT names {named!r}")
        return self.root / named

    def missing(self) -> DataError:
        """Return the error for a collection that does not exist: what there is, how to make it."""
        known = collection_names(self.home)
        return DataError(
            f"there is no collection {self.name!r}{did_you_mean(self.name, known)}",
            hint=f"sage index DIR --collection {self.name}",
            collection=self.name,
            known=known,
        )

    def damaged(self, what: str) -> StorageError:
        """Return the error for files that are not as a commit leaves them."""
        return StorageError(
            f"the collection {self.name!r} is damaged: {what}",
            hint=f"remove {str(self.root)!r} and index again",
            path=str(self.root),
        )

    def read_meta(self, generation: Path) -> Meta:
        """Return what a generation says about itself.

        Raises:
            FileNotFoundError: if the generation is gone.
            StorageError: if it is damaged, or of a format that this version does not know.
        """
        data = (generation / "meta.json").read_bytes()
        try:
            found = msgspec.json.decode(data)
            written_as = found.get("format") if isinstance(found, dict) else None
            if written_as != FORMAT:
                raise StorageError(
                    f"the collection {self.name!r} has the format {written_as!r}, "
                    f"this version of SAGE reads {FORMAT}",
                    hint=f"remove {str(self.root)!r} and index again",
                    path=str(self.root),
                )
            return msgspec.convert(found, Meta)
        except msgspec.MsgspecError as error:
            raise self.damaged(f"meta.json: {error}") from error

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Be the only one who updates the collection, across processes.

        The lock goes with the process: one that is killed leaves none behind.

        Raises:
            StorageError: if somebody else updates it now (it names the process), or the directory
                cannot be written.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.root / "LOCK", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise StorageError(
                f"cannot write the collection {self.name!r}: {error.strerror}: {str(self.root)!r}",
                path=str(self.root),
            ) from error
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                pid = os.read(descriptor, 32).decode("ascii", "replace").strip() or "unknown"
                raise StorageError(
                    f"the collection {self.name!r} is being updated by process {pid}",
                    hint="wait until it has finished, or end it",
                    path=str(self.root),
                    pid=pid,
                ) from error
            os.ftruncate(descriptor, 0)
            # A full disk has no room for the pid; the lock holds all the same.
            with contextlib.suppress(OSError):
                os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
            yield
        finally:
            os.close(descriptor)

    def stage(self) -> Path:
        """Make the directory of a new update, after removing what killed ones left."""
        self.clean()
        staged = self.root / f".staging-{fresh_id()}"
        staged.mkdir()
        return staged

    def publish(self, staged: Path, meta: Meta) -> Path:
        """Make a staged generation the current one, and return its directory.

        Everything is on the disk before the switch; the switch is one rename.
        """
        (staged / "meta.json").write_bytes(msgspec.json.format(msgspec.json.encode(meta), indent=2))
        _sync_tree(staged)
        numbers = [n for n, _ in self._generations()]
        generation = self.root / f"gen-{max(numbers, default=0) + 1:04d}"
        staged.rename(generation)
        pointer = self.root / f".CURRENT-{fresh_id()}"
        try:
            pointer.write_text(generation.name + "\n", encoding="ascii")
            _sync(pointer)
            _sync(self.root)
            pointer.replace(self.root / "CURRENT")
        except OSError:
            pointer.unlink(missing_ok=True)
            shutil.rmtree(generation, ignore_errors=True)
            raise
        _sync(self.root)
        self.clean()
        return generation

    def clean(self) -> None:
        """Remove what no reader needs: leftovers, and generations older than the previous one."""
        current = self.current()
        for leftover in [*self.root.glob(".staging-*"), *self.root.glob(".CURRENT-*")]:
            _remove(leftover)
        named = _number(current.name) if current else 0
        older = sorted(n for n, _ in self._generations() if n < named)
        kept = {named, *older[-1:]}
        for number, path in self._generations():
            # A higher number than the current one was never switched to.
            if number > named or (number not in kept and not _is_read(path)):
                _remove(path)

    def _generations(self) -> list[tuple[int, Path]]:
        return [(_number(path.name), path) for path in self.root.glob("gen-*") if path.is_dir()]


def _number(name: str) -> int:
    match = _GENERATION.fullmatch(name)
    return int(match[1]) if match else 0


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _is_read(generation: Path) -> bool:
    """Return whether a reader holds its lock on the generation."""
    try:
        with (generation / "meta.json").open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # it has no meta.json: never finished
        return False
    return False


def hold(generation: Path) -> Any:
    """Open and share-lock a generation's ``meta.json``; closing the file lets go of it."""
    file = (generation / "meta.json").open("rb")
    fcntl.flock(file, fcntl.LOCK_SH)
    return file


def _sync_tree(directory: Path) -> None:
    for path in directory.rglob("*"):
        _sync(path)
    _sync(directory)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
