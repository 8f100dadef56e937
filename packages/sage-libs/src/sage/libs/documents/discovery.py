"""Finds the documents below a directory, in a fixed order, and tells their versions apart."""

from __future__ import annotations

import fnmatch
import hashlib
import logging
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from sage.common.errors import DataError
from sage.libs.documents.loaders import MAX_BYTES, SUPPORTED_SUFFIXES, too_large
from sage.libs.files import open_for_reading, read_problem

__all__ = ["find_documents", "fingerprint"]

_log = logging.getLogger(__name__)
_BLOCK_BYTES = 1 << 20


def find_documents(
    root: str | os.PathLike[str], patterns: Iterable[str] | None = None
) -> Iterator[Path]:
    """Yield the documents below ``root``, sorted by path.

    Hidden files and directories are left out, linked directories are not entered, and a linked
    file is taken only if what it links to stands below ``root`` too (else the log warns). What has
    the name of a document but cannot be read as one (a pipe, a link to nothing) is yielded as
    well: passed over here, nobody would hear of it.

    Args:
        root: A directory, or a single file, which is then yielded whatever its kind.
        patterns: Globs that choose the files in place of the supported kinds: ``*.md`` is matched
            with the name, one with a slash with the path from ``root``; ``**`` spans directories.

    Raises:
        DataError: if ``root`` does not exist or a directory in it may not be read.

    Example:
        >>> import tempfile
        >>> top = Path(tempfile.mkdtemp())
        >>> for name in ("b.txt", "a.md", ".hidden.md", "picture.png"):
        ...     _ = (top / name).write_text("x")
        >>> [path.name for path in find_documents(top)]
        ['a.md', 'b.txt']
        >>> [path.name for path in find_documents(top, ["*.png"])]
        ['picture.png']
    """
    top = Path(root).expanduser()
    if top.is_file():
        yield top
        return
    if not top.is_dir():
        raise DataError(
            f"no such directory: {os.fspath(root)!r}", hint="check the path", path=os.fspath(root)
        )
    given = [patterns] if isinstance(patterns, str) else patterns
    wanted = None if given is None else [_compiled(pattern) for pattern in given]
    real_top = os.path.realpath(top)
    for path in _walk(top):
        if wanted is None:
            chosen = path.suffix.lower() in SUPPORTED_SUFFIXES
        else:
            chosen = any(regex.match(_matched(path, top, whole)) for regex, whole in wanted)
        if chosen and _stays_below(path, real_top):
            yield path


def _walk(top: Path) -> Iterator[Path]:
    stack = [top]
    while stack:
        path = stack.pop()
        try:
            if path.is_dir() and (path is top or not path.is_symlink()):
                names = sorted(os.listdir(path), reverse=True)
                stack += [path / name for name in names if not name.startswith(".")]
            elif not path.is_dir():
                yield path
        except OSError as error:
            # Passed over in silence, its documents would look as if they had been deleted.
            raise read_problem(path, error) from error


def _stays_below(path: Path, real_top: str) -> bool:
    # Not Path.resolve, which raises RuntimeError at a link that leads back to itself.
    if not path.is_symlink() or Path(os.path.realpath(path)).is_relative_to(real_top):
        return True
    _log.warning("left out %s: it links to a file outside of %s", path, real_top)
    return False


def _compiled(pattern: str) -> tuple[re.Pattern[str], bool]:
    """Return the pattern and whether it is matched with the whole path from the root."""
    whole = "/" in pattern
    if not whole:
        return re.compile(fnmatch.translate(pattern)), False
    parts = re.split(r"(\*\*/|\*\*|\*|\?|\[[^\]/]+\])", pattern.removeprefix("./"))
    spelled = {"**/": r"(?:[^/]+/)*", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    regex = "".join(
        spelled.get(p) or (p.replace("[!", "[^") if p.startswith("[") else re.escape(p))
        for p in parts
    )
    return re.compile(regex + r"\Z", re.DOTALL), True


def _matched(path: Path, top: Path, whole: bool) -> str:
    return path.relative_to(top).as_posix() if whole else path.name


def fingerprint(path: str | os.PathLike[str], *, max_bytes: int = MAX_BYTES) -> str:
    """Return a hash of what is in a file; equal contents have equal fingerprints.

    Args:
        path: The file.
        max_bytes: The largest file that is read, as for `load_document`: of a file that will not be
            loaded, hours of hashing would tell nothing.

    Raises:
        DataError: if the file cannot be read.
        LimitError: if it is too large.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "a.txt")
        >>> _ = path.write_text("a")
        >>> before = fingerprint(path)
        >>> _ = path.write_text("b")
        >>> fingerprint(path) == before
        False
    """
    digest = hashlib.blake2b(digest_size=16)
    with open_for_reading(path) as file:
        try:
            if (size := os.fstat(file.fileno()).st_size) > max_bytes:
                raise too_large(path, size, max_bytes)
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
        except OSError as error:
            raise read_problem(path, error) from error
    return digest.hexdigest()
