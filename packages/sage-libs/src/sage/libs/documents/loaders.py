"""`load_document`: a file of any supported kind as a `Document`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple

from sage.common.errors import DataError, LimitError
from sage.common.ids import content_id
from sage.common.records import Document
from sage.libs.documents.code import LANGUAGES, load_code
from sage.libs.documents.html import load_html
from sage.libs.documents.json_records import load_json, load_jsonl
from sage.libs.documents.pdf import load_pdf
from sage.libs.documents.rooted import open_below
from sage.libs.documents.sheets import load_xlsx
from sage.libs.documents.slides import load_pptx
from sage.libs.documents.tables import load_csv, load_tsv
from sage.libs.documents.text import Loaded, load_markdown, load_text
from sage.libs.documents.word import load_docx
from sage.libs.files import open_for_reading, read_problem

__all__ = [
    "MAX_BYTES",
    "SUPPORTED_SUFFIXES",
    "Kind",
    "kind_of",
    "kinds",
    "load_bytes",
    "load_document",
    "too_large",
]

MAX_BYTES = 100_000_000
_BLOCK_BYTES = 1 << 16


class Kind(NamedTuple):
    """A kind of file, and what reads it.

    Attributes:
        media_type: Its name in the registry of media types.
        load: Takes the bytes and the name of a file.
        has_fields: True if ``load`` also takes the ``text_field`` of its records.
    """

    media_type: str
    load: Callable[..., Loaded]
    has_fields: bool = False


_OFFICE = "application/vnd.openxmlformats-officedocument."
_HTML = Kind("text/html", load_html)
_JSONL = Kind("application/x-ndjson", load_jsonl, True)
_MARKDOWN = Kind("text/markdown", load_markdown)
_LOADERS: dict[str, Kind] = {
    ".csv": Kind("text/csv", load_csv, True),
    ".docx": Kind(_OFFICE + "wordprocessingml.document", load_docx),
    ".htm": _HTML,
    ".html": _HTML,
    ".json": Kind("application/json", load_json, True),
    ".jsonl": _JSONL,
    ".markdown": _MARKDOWN,
    ".md": _MARKDOWN,
    ".ndjson": _JSONL,
    ".pdf": Kind("application/pdf", load_pdf),
    ".pptx": Kind(_OFFICE + "presentationml.presentation", load_pptx),
    ".tsv": Kind("text/tab-separated-values", load_tsv, True),
    ".txt": Kind("text/plain", load_text),
    ".xlsx": Kind(_OFFICE + "spreadsheetml.sheet", load_xlsx, True),
    **{
        suffix: Kind(f"text/x-{language}", partial(load_code, language=language))
        for suffix, language in LANGUAGES.items()
    },
}

SUPPORTED_SUFFIXES: frozenset[str] = frozenset(_LOADERS)


def load_document(
    path: str | os.PathLike[str],
    *,
    root: str | os.PathLike[str] | None = None,
    max_bytes: int = MAX_BYTES,
    text_field: str | None = None,
) -> Document:
    """Read a file into a document.

    It is read here and now; of a file that somebody else may have written, `load_documents` bounds
    the time and the memory that it takes.

    Args:
        path: A file of one of the `SUPPORTED_SUFFIXES`.
        root: A directory that the file must stand below, links followed; the document's ``source``
            is then its path from there.
        max_bytes: The largest file that is read.
        text_field: Of CSV, XLSX and JSON, the column or field that holds the text; see `load_csv`
            and `load_jsonl` for what is done without. Other kinds have none.

    Returns:
        The text with ``\\n`` line ends, and as metadata ``media_type``, ``title`` and ``language``
        where known, and what `Positions` tells places by: ``page_offsets`` (PDF), ``first_line``
        (Markdown with front matter), ``line_offsets`` (HTML, CSV, JSON), ``sheet_offsets`` and
        ``row_offsets`` (XLSX), ``slide_offsets`` (PPTX). The text of an empty text file is empty.

    Raises:
        DataError: if the file is missing, a directory, unreadable, of another kind, or not what
            its name says.
        LimitError: if it is too large, or would unpack to too much.
        AccessRefusedError: if it does not stand below ``root``.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "water.md")
        >>> _ = path.write_text("# Water\\n\\nIt boils.\\n")
        >>> document = load_document(path, root=path.parent)
        >>> document.source, document.metadata["title"], document.text
        ('water.md', 'Water', '# Water\\n\\nIt boils.\\n')
    """
    if root is None:
        source, opened = os.fspath(path), open_for_reading(path)
    else:
        source, opened = open_below(root, path)
    with opened as file:
        kind = kind_of(path)
        data = _read(file, path, max_bytes)
    return load_bytes(data, kind, source, path=os.fspath(path), text_field=text_field)


def load_bytes(
    data: bytes,
    kind: Kind,
    source: str,
    *,
    path: str | None = None,
    text_field: str | None = None,
) -> Document:
    """Make a document of the content of a file.

    Args:
        data: The content.
        kind: What it is.
        source: The document's source, which gives it its id.
        path: How errors name it; by default its source.
        text_field: As for `load_document`.

    Raises:
        DataError: if it is not what ``kind`` says.
        LimitError: if it would unpack to too much.
    """
    path = source if path is None else path
    load = partial(kind.load, text_field=text_field) if kind.has_fields else kind.load
    try:
        loaded = load(data, path)
    except RecursionError as error:
        raise DataError(f"{path!r} is nested too deeply", path=path) from error
    metadata = {"media_type": kind.media_type, **loaded.metadata}
    return Document(loaded.text, doc_id=content_id(source), source=source, metadata=metadata)


def kind_of(path: str | os.PathLike[str]) -> Kind:
    """Return the kind of file that a name tells.

    Raises:
        DataError: if no loader reads it.
    """
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


def kinds() -> Iterator[Kind]:
    """Yield each kind of file that can be read, some more than once."""
    yield from _LOADERS.values()


def _read(file: BinaryIO, path: str | os.PathLike[str], max_bytes: int) -> bytes:
    """Read a file, which may grow meanwhile, but not beyond what is allowed."""
    blocks: list[bytes] = []
    try:
        size, length = os.fstat(file.fileno()).st_size, 0
        while max(size, length) <= max_bytes:
            block = file.read(max(size - length, 0) + _BLOCK_BYTES)
            if not block:
                return b"".join(blocks)
            blocks.append(block)
            length += len(block)
    except OSError as error:
        raise read_problem(path, error) from error
    raise too_large(path, max(size, length), max_bytes)


def too_large(path: str | os.PathLike[str], size_bytes: int, max_bytes: int) -> LimitError:
    """Return the error for a file that is larger than what is read."""
    return LimitError(
        f"{os.fspath(path)!r} is too large: {size_bytes:,} bytes, at most {max_bytes:,} are read",
        hint="split it, or raise max_bytes",
        path=os.fspath(path),
        size_bytes=size_bytes,
    )
