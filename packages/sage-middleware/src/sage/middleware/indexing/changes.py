"""What is new, changed and gone since the last run, by content and not by date.

A source is the resolved path of a file. A run answers for the directory it is given and for
nothing else: documents of a collection that stand elsewhere are not touched, so that several
directories can be indexed into one collection.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sage.common.errors import DataError, SageError
from sage.middleware.indexing.report import FailedDocument

__all__ = ["Changes", "FoundFile", "find_changes"]


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file that has to be indexed.

    Attributes:
        source: Its resolved path, the name of the document in the collection.
        fingerprint: Hash of its content.
        size_bytes: Its size.
        known: True if the collection holds an older version of it.
    """

    source: str
    fingerprint: str
    size_bytes: int
    known: bool = False


@dataclass(frozen=True, slots=True)
class Changes:
    """What an indexing run has to do.

    Attributes:
        root: The directory, resolved.
        files: New and changed files, in the order of their paths.
        removed: Sources whose file is gone.
        unchanged: How many files are as the collection knows them.
        failed: Files that could not even be read for their fingerprint.
    """

    root: Path
    files: tuple[FoundFile, ...]
    removed: tuple[str, ...]
    unchanged: int
    failed: tuple[FailedDocument, ...] = ()

    @property
    def found(self) -> int:
        """How many documents stand in the directory."""
        return len(self.files) + self.unchanged + len(self.failed)

    @property
    def total_bytes(self) -> int:
        """Size of the files that have to be indexed."""
        return sum(file.size_bytes for file in self.files)


def find_changes(
    root: str | os.PathLike[str],
    known: Mapping[str, str],
    *,
    patterns: Iterable[str] | None = None,
) -> Changes:
    """Compare a directory with what a collection knows of it.

    Args:
        root: A directory, or a single file.
        known: Fingerprint by source, of everything in the collection.
        patterns: Globs that choose the files; by default every supported kind.

    Raises:
        DataError: if ``root`` does not exist.
    """
    from sage.libs.documents.discovery import find_documents

    top = Path(os.path.realpath(Path(root).expanduser()))
    if not top.exists():
        raise DataError(f"no such directory: {str(root)!r}", hint="check the path", path=str(root))
    files: list[FoundFile] = []
    failed: list[FailedDocument] = []
    seen: set[str] = set()
    unchanged = 0
    for path in find_documents(top, patterns):
        source = str(path)
        seen.add(source)
        examined = _examined(source, known)
        if isinstance(examined, FailedDocument):
            failed.append(examined)
        elif examined is None:
            unchanged += 1
        else:
            files.append(examined)
    gone = (source for source in known if source not in seen and _is_below(source, top))
    return Changes(top, tuple(files), tuple(sorted(gone)), unchanged, tuple(failed))


def _examined(source: str, known: Mapping[str, str]) -> FoundFile | FailedDocument | None:
    """Return the file if it has to be indexed, None if it is as the collection knows it."""
    from sage.libs.documents.discovery import fingerprint

    before = known.get(source)
    if (shown := os.fsencode(source).decode("utf-8", "backslashreplace")) != source:
        return FailedDocument(shown, "its name is not valid UTF-8; rename it", DataError.code)
    try:
        now = fingerprint(source)
        size = os.stat(source).st_size
    except SageError as error:
        return FailedDocument(source, error.message, error.code, before is not None)
    except OSError as error:
        reason = error.strerror or str(error)
        return FailedDocument(source, reason, DataError.code, before is not None)
    if before == now:
        return None
    return FoundFile(source, now, size, before is not None)


def _is_below(source: str, top: Path) -> bool:
    return source == str(top) or source.startswith(str(top).rstrip(os.sep) + os.sep)
