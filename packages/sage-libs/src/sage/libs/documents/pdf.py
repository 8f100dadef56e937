"""PDF to text, page by page."""

from __future__ import annotations

import io
import logging
from typing import Any

from sage.common.errors import DataError, LimitError
from sage.libs.documents.text import Loaded, normalised

__all__ = ["load_pdf"]

# pypdf logs every flaw of a file that it can read all the same. Without a handler Python would
# print that over a progress bar; a program that sets up logging still gets it.
logging.getLogger("pypdf").addHandler(logging.NullHandler())


def load_pdf(data: bytes, source: str) -> Loaded:
    """Read the text of a PDF.

    Returns:
        The pages, parted by blank lines; in the metadata ``pages`` (how many), ``page_offsets``
        (where each begins in the text) and ``title`` where the file has one.

    Raises:
        DataError: if it is no PDF, is damaged, needs a password, or holds no text at all.
        LimitError: if it unpacks to too much, or has too many pages or objects.
    """
    from pypdf.errors import LimitReachedError

    if b"%PDF-" not in data[:1024]:
        raise DataError(
            f"{source!r} is not a PDF, in spite of its name",
            hint="it does not begin as a PDF does; was it downloaded whole?",
            path=source,
        )
    try:
        pages, title = _pages(data, source)
    except (DataError, MemoryError):
        raise
    except LimitReachedError as error:
        raise LimitError(
            f"{source!r} unpacks to more than is read of a PDF: {error}",
            hint="if it is not hostile, split it, or print it to a new PDF",
            path=source,
        ) from error
    # A boundary: the parser of a foreign format meets malformed files with any exception at all.
    except Exception as error:
        raise DataError(
            f"{source!r} is a damaged PDF: {type(error).__name__}: {error}",
            hint="open it in a viewer and save it again",
            path=source,
        ) from error
    if not any(page.strip() for page in pages):
        raise DataError(
            f"{source!r} holds no text on its {len(pages)} page(s)",
            hint="scanned pages are pictures; make it searchable (OCR) first",
            path=source,
        )
    return _joined(pages, title)


def _pages(data: bytes, source: str) -> tuple[list[str], str | None]:
    from pypdf import PasswordType, PdfReader
    from pypdf.errors import DependencyError

    reader = PdfReader(io.BytesIO(data))
    if reader.is_encrypted:
        try:
            unlocked = reader.decrypt("") != PasswordType.NOT_DECRYPTED
        except (DependencyError, NotImplementedError):
            unlocked = False
        if not unlocked:
            raise DataError(
                f"{source!r} is encrypted",
                hint="save a copy without a password",
                path=source,
            )
    title = reader.metadata.title if reader.metadata is not None else None
    return [_cleaned(page.extract_text()) for page in reader.pages], title


def _cleaned(page: str) -> str:
    return normalised(page).replace("\x00", "").strip("\n")


def _joined(pages: list[str], title: str | None) -> Loaded:
    offsets, length = [], 0
    for page in pages:
        offsets.append(length)
        length += len(page) + 2
    metadata: dict[str, Any] = {"pages": len(pages), "page_offsets": offsets}
    if title and title.strip():
        metadata["title"] = normalised(str(title)).strip()
    return Loaded("\n\n".join(pages), metadata)
