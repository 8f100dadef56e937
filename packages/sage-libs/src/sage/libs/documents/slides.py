"""PPTX to Markdown-like text: a heading for each slide, its text, its tables, its notes."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

from sage.common.errors import DataError
from sage.libs.documents.office_package import check_package
from sage.libs.documents.tables import PlacedText
from sage.libs.documents.text import Loaded, normalised

__all__ = ["load_pptx"]


def load_pptx(data: bytes, source: str) -> Loaded:
    """Read the text of a PowerPoint presentation.

    Returns:
        For each slide with any text ``# Title``, its paragraphs, table rows as ``| ... |`` and
        ``Notes: ...``; ``slides`` (how many) and ``title`` in the metadata, and in
        ``slide_offsets`` pairs of an offset in the text and the slide that begins there.

    Raises:
        DataError: if it is no PPTX, is damaged or needs a password.
        LimitError: if it unpacks to too much.
    """
    check_package(data, source, "PPTX")
    try:
        return _loaded(data)
    except MemoryError:
        raise
    # A boundary: the parser of a foreign format meets malformed files with any exception at all.
    except Exception as error:
        raise DataError(
            f"{source!r} is a damaged PPTX: {type(error).__name__}: {error}",
            hint="open it in a presentation program and save it again",
            path=source,
        ) from error


def _loaded(data: bytes) -> Loaded:
    from pptx import Presentation

    show = Presentation(io.BytesIO(data))
    written = PlacedText()
    number = 0
    for number, slide in enumerate(show.slides, 1):
        title = slide.shapes.title
        heading = " ".join(title.text_frame.text.split()) if title is not None else ""
        parts = [f"# {heading or f'Slide {number}'}"]
        parts += [text for shape in slide.shapes if shape != title for text in _texts(shape)]
        if slide.has_notes_slide and (frame := slide.notes_slide.notes_text_frame) is not None:
            parts += [f"Notes: {text}" for text in [frame.text.strip()] if text]
        if heading or len(parts) > 1:
            written.add(normalised("\n\n".join(parts).replace("\v", "\n")), number)
    metadata: dict[str, Any] = {"slides": number, "slide_offsets": written.offsets}
    if known := (show.core_properties.title or "").strip():
        metadata["title"] = normalised(known)
    return Loaded(written.text, metadata)


def _texts(shape: Any) -> Iterator[str]:
    """Yield the text of a shape, of those it groups, and of its table."""
    if shape.shape_type is not None and hasattr(shape, "shapes"):
        for inner in shape.shapes:
            yield from _texts(inner)
    elif getattr(shape, "has_table", False):
        yield "\n".join(
            "| " + " | ".join(" ".join(cell.text.split()) for cell in row.cells) + " |"
            for row in shape.table.rows
        )
    elif getattr(shape, "has_text_frame", False) and (text := shape.text_frame.text.strip()):
        yield text
