"""Files that attack whoever reads them, each a few kilobytes, made here and nowhere kept."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

import docx
import openpyxl
import pptx

__all__ = [
    "doubling_pdf",
    "office",
    "pdf",
    "rezipped",
]

_FONT = b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"
_CATALOG = b"<< /Type /Catalog /Pages 2 0 R >>"
_WATER = b"BT /F1 12 Tf 72 720 Td (Water boils.) Tj ET"


def pdf(
    kids: bytes = b"3 0 R",
    *,
    count: int = 1,
    more: bytes = b"",
    content: bytes = _WATER,
    filters: bytes = b"",
    objects: Iterable[bytes] = (),
    resources: bytes = b"",
) -> bytes:
    """Return a PDF of one page that says "Water boils.", but for what is given.

    Objects are numbered: 1 the catalog, 2 the page tree, 3 the page, 4 its content, 5 ``objects``.
    """
    page = (
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R "
        b"/Resources << /Font << /F1 %s >> %s >> >>" % (_FONT, resources)
    )
    tree = b"<< /Type /Pages /Kids [%s] /Count %d %s >>" % (kids, count, more)
    bodies = [_CATALOG, tree, page, _stream(content, filters), *objects]
    data, offsets = b"%PDF-1.4\n", []
    for number, body in enumerate(bodies, 1):
        offsets.append(len(data))
        data += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    size = len(bodies) + 1
    return data + (
        b"xref\n0 %d\n0000000000 65535 f \n%strailer\n<< /Size %d /Root 1 0 R >>\n"
        b"startxref\n%d\n%%%%EOF\n" % (size, table, size, len(data))
    )


def _stream(data: bytes, more: bytes = b"") -> bytes:
    return b"<< /Length %d %s >>\nstream\n%s\nendstream" % (len(data), more, data)


def doubling_pdf(times: int) -> bytes:
    """Return a PDF whose page draws a form twice, which draws another one twice, and so on."""
    forms = []
    for number in range(times):
        font = b"/Resources << /Font << /F1 %s >> /XObject << /A %d 0 R >> >>"
        more = b"/Type /XObject /Subtype /Form /BBox [0 0 9 9] " + font % (_FONT, number + 6)
        forms.append(_stream(b"/A Do /A Do" if number < times - 1 else _WATER, more))
    return pdf(content=b"/A Do /A Do", objects=forms, resources=b"/XObject << /A 5 0 R >>")


def packed_zeros(size: int) -> bytes:
    """Return zeros, packed with DEFLATE."""
    return zlib.compress(bytes(size), 1)


def office(path: Path) -> bytes:
    """Return a small file of the kind that ``path`` names, as its program would write it."""
    buffer = io.BytesIO()
    if path.suffix == ".docx":
        word = docx.Document()
        word.add_paragraph("Water boils.")
        word.save(buffer)
    elif path.suffix == ".xlsx":
        book = openpyxl.Workbook()
        book.active.append(["Water boils."])
        book.save(buffer)
    else:
        show = pptx.Presentation()
        show.slides.add_slide(show.slide_layouts[0]).shapes.title.text = "Water boils."
        show.save(buffer)
    return buffer.getvalue()


def rezipped(data: bytes, changed: dict[str, bytes]) -> bytes:
    """Return an archive with some of its entries changed or added."""
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(data)) as before,
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as after,
    ):
        for entry in before.infolist():
            if entry.filename not in changed:
                after.writestr(entry, before.read(entry))
        for name, content in changed.items():
            after.writestr(name, content)
    return buffer.getvalue()
