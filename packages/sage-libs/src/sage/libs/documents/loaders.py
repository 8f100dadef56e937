"""`load_document`: a file of any supported kind as a `Document`."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from sage.common.errors import DataError
from sage.common.ids import content_id
from sage.common.records import Document
from sage.libs.documents.html import load_html
from sage.libs.documents.pdf import load_pdf
from sage.libs.documents.text import Loaded, load_markdown, load_text
from sage.libs.documents.word import load_docx
from sage.libs.files import open_for_reading, read_problem

__all__ = ["MAX_BYTES", "SUPPORTED_SUFFIXES", "load_document"]

MAX_BYTES = 100_000_000

_WORD = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
_LOADERS: dict[str, tuple[str, Callable[[bytes, str], Loaded]]] = {
    ".docx": (_WORD, load_docx),
    ".htm": ("text/html", load_html),
    ".html": ("text/html", load_html),
    ".markdown": ("text/markdown", load_markdown),
    ".md": ("text/markdown", load_markdown),
    ".pdf": ("application/pdf", load_pdf),
    ".txt": ("text/plain", load_text),
}

SUPPORTED_SUFFIXES: frozenset[str] = frozenset(_LOADERS)


def load_document(
    path: str | os.PathLike[str],
    *,
    root: str | os.PathLike[str] | None = None,
    max_bytes: int = MAX_BYTES,
) -> Document:
    """Read a file into a document.

    Args:
        path: A ``.txt``, ``.md``, ``.html``, ``.pdf`` or ``.docx`` file.
        root: A directory; the document's ``source`` is then its path from there.
        max_bytes: The largest file that is read.

    Returns:
        The text with ``\\n`` line ends, and as metadata ``media_type``, ``title`` where known, and
        what tells positions: ``pages`` and ``page_offsets`` (PDF), ``first_line`` (Markdown with
        front matter), ``line_offsets`` (HTML). The text of an empty text file is empty.

    Raises:
        DataError: if the file is missing, a directory, unreadable, too large, of another kind, or
            not what its name says.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "water.md")
        >>> _ = path.write_text("# Water\\n\\nIt boils.\\n")
        >>> document = load_document(path, root=path.parent)
        >>> document.source, document.metadata["title"], document.text
        ('water.md', 'Water', '# Water\\n\\nIt boils.\\n')
    """
    with open_for_reading(path) as file:  # first of all: is it there?
        media_type, load = _loader(path)
        data = _read(file, path, max_bytes)
    source = os.fspath(path) if root is None else _below(path, root)
    try:
        loaded = load(data, os.fspath(path))
    except RecursionError as error:
        raise DataError(
            f"{os.fspath(path)!r} is nested too deeply", path=os.fspath(path)
        ) from error
    metadata = {"media_type": media_type, **loaded.metadata}
    return Document(loaded.text, doc_id=content_id(source), source=source, metadata=metadata)


def _loader(path: str | os.PathLike[str]) -> tuple[str, Callable[[bytes, str], Loaded]]:
    suffix = Path(path).suffix.lower()
    if suffix not in _LOADERS:
        known = " ".join(sorted(SUPPORTED_SUFFIXES))
        kind = f"files of kind {suffix!r}" if suffix else "files without a suffix"
        raise DataError(
            f"cannot read {os.fspath(path)!r}: {kind} are not supported",
            hint=f"supported are {known}",
            path=os.fspath(path),
        )
    return _LOADERS[suffix]


def _read(file: BinaryIO, path: str | os.PathLike[str], max_bytes: int) -> bytes:
    size = os.fstat(file.fileno()).st_size
    if size > max_bytes:
        raise DataError(
            f"{os.fspath(path)!r} is too large: {size:,} bytes, at most {max_bytes:,} are read",
            hint="split it, or raise max_bytes",
            path=os.fspath(path),
            size_bytes=size,
        )
    try:
        return file.read()
    except OSError as error:
        raise read_problem(path, error) from error


def _below(path: str | os.PathLike[str], root: str | os.PathLike[str]) -> str:
    try:
        return Path(path).resolve().relative_to(Path(root).resolve()).as_posix()
    except ValueError:
        return os.fspath(path)
