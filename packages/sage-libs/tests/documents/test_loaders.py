"""Loaders: what comes of each kind of file, and one clear line for each kind of bad file."""

from __future__ import annotations

import contextlib
import os
import random
import zlib
from collections.abc import Callable
from pathlib import Path

import docx
import pytest
from pypdf import PdfWriter

from sage.common.errors import DataError
from sage.libs.documents import SUPPORTED_SUFFIXES, TokenChunker, WordTokenizer, load_document


def write_pdf(path: Path, pages: list[str], *, title: str = "", password: str = "") -> None:
    """Write a PDF by hand: one line of text on each page."""
    font = "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"
    kids = " ".join(f"{4 + 2 * i} 0 R" for i in range(len(pages)))
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>",
        f"<< /Title ({title}) >>",
    ]
    for i, text in enumerate(pages):
        stream = f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET"
        objects.append(
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] "
            f"/Resources << /Font << /F1 {font} >> >> /Contents {5 + 2 * i} 0 R >>"
        )
        objects.append(f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream")
    data, offsets = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        offsets.append(len(data))
        data += f"{number} 0 obj\n{body}\nendobj\n".encode()
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    size = len(objects) + 1
    data += (
        f"xref\n0 {size}\n0000000000 65535 f \n{table}"
        f"trailer\n<< /Size {size} /Root 1 0 R /Info 3 0 R >>\nstartxref\n{len(data)}\n%%EOF\n"
    ).encode()
    path.write_bytes(data)
    if password:
        writer = PdfWriter(clone_from=path)
        writer.encrypt(password, algorithm="RC4-128")
        writer.write(path)


def test_markdown_stays_as_it_is(tmp_path: Path) -> None:
    """Front matter moves into the metadata; line ends become \\n; the title is found."""
    path = tmp_path / "a.md"
    path.write_bytes(b"---\r\ntags: [x]\r\n---\r\n\r\n# Water #\r\n\r\nIt *boils*.\r\n")
    document = load_document(path)
    assert document.text == "\n# Water #\n\nIt *boils*.\n"
    assert document.source == str(path)
    assert document.metadata == {
        "media_type": "text/markdown",
        "front_matter": {"tags": ["x"]},
        "first_line": 4,
        "title": "Water",
    }


@pytest.mark.parametrize("text", ["---\n\nA rule, not front matter.\n\n---\n", "---\n: [\n---\n"])
def test_a_rule_is_no_front_matter(tmp_path: Path, text: str) -> None:
    """What does not parse as a mapping stays text."""
    path = tmp_path / "a.md"
    path.write_text(text)
    assert load_document(path).text == text


def test_text_in_utf16_and_with_a_mark_is_read(tmp_path: Path) -> None:
    """A byte-order mark says the encoding and is no text."""
    path = tmp_path / "a.txt"
    path.write_bytes("水 boils".encode("utf-16"))
    assert load_document(path).text == "水 boils"
    path.write_bytes("水 boils".encode("utf-8-sig"))
    assert load_document(path).text == "水 boils"
    assert "encoding" not in load_document(path).metadata


def test_a_few_broken_bytes_are_replaced_and_counted(tmp_path: Path) -> None:
    """Text with a broken character is read, and the metadata says so."""
    path = tmp_path / "a.txt"
    path.write_bytes(b"A long enough line of text with one caf\xe9 in it.\n")
    document = load_document(path)
    assert document.text.count("\ufffd") == 1
    assert document.metadata["replaced_characters"] == 1


def test_an_empty_text_file_is_an_empty_document(tmp_path: Path) -> None:
    """It is no error, and gives no chunks."""
    path = tmp_path / "a.txt"
    path.write_bytes(b"")
    document = load_document(path)
    assert document.text == ""
    assert TokenChunker(tokenizer=WordTokenizer()).chunk(document) == []


HTML = """<!doctype html><html><head><title>On  Water</title>
<style>p { color: red }</style><script>alert("x")</script></head>
<body><!-- a comment --><h1>Water</h1>
<p>It <b>boils</b> at
100 degrees.<br>Then steam.</p>
<ul><li>cold</li><li><p>hot</p></li></ul>
<table><tr><th>state</th><th>degrees</th></tr><tr><td>ice</td><td>0</td></tr></table>
<h2>Code</h2><pre>a = 1
  b = 2</pre><div>One<div>Two</div>Three</div></body></html>
"""


def test_html_keeps_its_shape(tmp_path: Path) -> None:
    """Headings, paragraphs, lists, tables and code become Markdown; scripts and styles go."""
    path = tmp_path / "a.html"
    path.write_text(HTML)
    document = load_document(path)
    assert document.metadata["title"] == "On Water"
    assert document.text == (
        "# Water\n\nIt boils at 100 degrees.\nThen steam.\n\n- cold\n- hot\n\n"
        "| state | degrees |\n| ice | 0 |\n\n## Code\n\n```\na = 1\n  b = 2\n```\n\n"
        "One\n\nTwo\n\nThree\n"
    )


def test_chunks_of_html_know_the_line_of_the_file(tmp_path: Path) -> None:
    """A citation names the line of the file, not of the text made of it."""
    path = tmp_path / "a.html"
    path.write_text(HTML)
    chunker = TokenChunker(chunk_tokens=30, overlap_tokens=0, tokenizer=WordTokenizer())
    chunks = chunker.chunk(load_document(path))
    lines = HTML.split("\n")
    places = {chunk.metadata["heading"]: chunk.metadata["line"] for chunk in reversed(chunks)}
    assert "<h1>" in lines[places["Water"] - 1]
    assert "<h2>" in lines[places["Water > Code"] - 1]


def test_html_says_its_encoding(tmp_path: Path) -> None:
    """A page that is not UTF-8 is read as its meta element says."""
    path = tmp_path / "a.html"
    path.write_bytes('<meta charset="gb18030"><p>水在一百度沸腾。'.encode("gb18030"))
    assert load_document(path).text == "水在一百度沸腾。\n"


def test_deep_html_is_read(tmp_path: Path) -> None:
    """Pages may nest deeper than Python's stack."""
    path = tmp_path / "a.html"
    path.write_text("<div>" * 3000 + "deep" + "</div>" * 3000)
    assert load_document(path).text == "deep\n"


def test_pdf_pages_are_known_by_their_offsets(tmp_path: Path) -> None:
    """Every chunk of a PDF knows its page."""
    path = tmp_path / "a.pdf"
    write_pdf(path, ["Water boils.", "", "Ice melts."], title="States")
    document = load_document(path)
    offsets = document.metadata["page_offsets"]
    assert document.metadata["pages"] == 3
    assert document.metadata["title"] == "States"
    assert document.text[offsets[0] :].startswith("Water boils.")
    assert document.text[offsets[2] :].startswith("Ice melts.")


def test_docx_keeps_headings_lists_and_tables_in_order(tmp_path: Path) -> None:
    """A Word document becomes Markdown; merged cells come once."""
    path = tmp_path / "a.docx"
    word = docx.Document()
    word.core_properties.title = "States"
    word.add_heading("Water", 0)
    word.add_heading("Heat", 2)
    word.add_paragraph("It boils.")
    word.add_paragraph("cold", style="List Bullet")
    word.add_paragraph("hot", style="List Bullet")
    table = word.add_table(2, 2)
    table.cell(0, 0).merge(table.cell(0, 1)).text = "both"
    table.cell(1, 0).text = "ice"
    table.cell(1, 1).text = "0"
    word.add_paragraph("The end.")
    word.save(str(path))
    document = load_document(path)
    assert document.text == (
        "# Water\n\n## Heat\n\nIt boils.\n\n- cold\n- hot\n\n| both |\n| ice | 0 |\n\nThe end.\n"
    )
    assert document.metadata["title"] == "States"
    [chunk] = TokenChunker(tokenizer=WordTokenizer()).chunk(document)
    assert chunk.metadata == {"heading": "Water > Heat"}


def test_a_source_may_be_relative_to_a_root(tmp_path: Path) -> None:
    """Equal relative paths have equal ids, wherever the tree stands."""
    ids = []
    for tree in ("one", "two"):
        (tmp_path / tree / "sub").mkdir(parents=True)
        path = tmp_path / tree / "sub" / "a.txt"
        path.write_text("x")
        document = load_document(path, root=tmp_path / tree)
        assert document.source == "sub/a.txt"
        ids.append(document.doc_id)
    assert ids[0] == ids[1]


NOISE = random.Random(7).randbytes(3000)


def bad_nothing(path: Path) -> None:
    """Leave it away."""


def bad_directory(path: Path) -> None:
    path.mkdir()


def bad_noise(path: Path) -> None:
    path.write_bytes(NOISE)


def bad_scanned(path: Path) -> None:
    write_pdf(path, ["", ""])


def bad_password(path: Path) -> None:
    write_pdf(path, ["secret"], password="x")


def bad_half_pdf(path: Path) -> None:
    write_pdf(path, ["Water"])
    path.write_bytes(path.read_bytes()[:100])


def bad_compressed(path: Path) -> None:
    path.write_bytes(b"%PDF-1.4\n" + zlib.compress(NOISE))


def bad_old_word(path: Path) -> None:
    path.write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + NOISE)


def bad_other_zip(path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "x")


def bad_chinese(path: Path) -> None:
    path.write_bytes("水在一百度沸腾。".encode("gb18030") * 20)


def bad_empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("a.md", bad_nothing, "no such file"),
        ("a.md", bad_directory, "is a directory"),
        ("a.txt", bad_noise, "binary data"),
        ("a.html", bad_noise, "binary data"),
        ("a.pdf", bad_noise, "is not a PDF"),
        ("a.docx", bad_noise, "is not a DOCX"),
        ("a.pdf", bad_empty, "is not a PDF"),
        ("a.docx", bad_empty, "is not a DOCX"),
        ("a.pdf", bad_scanned, "holds no text on its 2 page"),
        ("a.pdf", bad_password, "is encrypted"),
        ("a.pdf", bad_half_pdf, "PDF"),
        ("a.pdf", bad_compressed, "damaged PDF"),
        ("a.docx", bad_old_word, "old or encrypted Office file"),
        ("a.docx", bad_other_zip, "damaged DOCX"),
        ("a.txt", bad_chinese, "is not UTF-8 text"),
        ("a.tex", bad_noise, "'.tex' are not supported"),
        ("README", bad_noise, "without a suffix are not supported"),
    ],
)
def test_bad_files_are_refused_in_one_line(
    tmp_path: Path, name: str, make: Callable[[Path], None], message: str
) -> None:
    """The error names the file, says what is wrong and what to do, and carries the path."""
    path = tmp_path / name
    make(path)
    with pytest.raises(DataError, match=message) as caught:
        load_document(path)
    assert repr(str(path)) in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.fields["path"] == str(path)


def test_an_unsupported_kind_names_the_supported_ones(tmp_path: Path) -> None:
    """The hint lists every suffix."""
    (tmp_path / "a.tex").write_text("x")
    with pytest.raises(DataError) as caught:
        load_document(tmp_path / "a.tex")
    assert all(suffix in (caught.value.hint or "") for suffix in SUPPORTED_SUFFIXES)


def test_a_large_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    """A file of a terabyte is no danger."""
    path = tmp_path / "a.txt"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(DataError, match="too large: 1,099,511,627,776 bytes"):
        load_document(path)
    path.write_text("12345")
    with pytest.raises(DataError, match="too large"):
        load_document(path, max_bytes=4)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_a_file_without_permission_is_named(tmp_path: Path) -> None:
    """The error says that it is the permission."""
    path = tmp_path / "a.txt"
    path.write_text("x")
    path.chmod(0)
    with pytest.raises(DataError, match="no permission to read"):
        load_document(path)


def test_cells_of_html_tables_may_hold_paragraphs(tmp_path: Path) -> None:
    """A row stays one line."""
    path = tmp_path / "a.html"
    path.write_text("<table><tr><td> <p>ice</p> </td><td><div>0</div></td></tr></table><p>x")
    assert load_document(path).text == "| ice | 0 |\n\nx\n"


@pytest.mark.parametrize("seed", range(30))
def test_damaged_files_never_raise_anything_else(tmp_path: Path, seed: int) -> None:
    """A PDF or DOCX with random bytes changed is read or refused with a `DataError`."""
    numbers = random.Random(seed)
    word = docx.Document()
    word.add_paragraph("Water boils.")
    word.save(str(tmp_path / "a.docx"))
    write_pdf(tmp_path / "a.pdf", ["Water boils.", "Ice melts."])
    for name in ("a.pdf", "a.docx"):
        data = bytearray((tmp_path / name).read_bytes())
        for _ in range(20):
            data[numbers.randrange(8, len(data))] = numbers.randrange(256)
        (tmp_path / name).write_bytes(data)
        with contextlib.suppress(DataError):
            load_document(tmp_path / name)
