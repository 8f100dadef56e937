"""Loaders of tables, records, code, sheets and slides: their text, and where it stands."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import openpyxl
import pptx
import pytest

from sage.common.errors import DataError, LimitError
from sage.common.records import Document, Passage
from sage.libs.documents import TokenChunker, WordTokenizer, load_document
from sage.libs.documents.positions import Positions


def place_of(document: Document, text: str) -> str:
    """Return how a citation of ``text`` would name its place."""
    at = Positions(document).at(document.text.index(text))
    return Passage(text, source=document.source, metadata=at).place


def loaded(path: Path, content: str | bytes, **options: Any) -> Document:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return load_document(path, root=path.parent, **options)


def test_a_row_of_a_csv_names_its_columns_and_its_line(tmp_path: Path) -> None:
    """Quoted cells may hold line ends; the line is that of the file, where the row begins."""
    text = 'name,city\nAda,London\n"Alan\nMathison",Wilmslow\n\nGrace,\n'
    document = loaded(tmp_path / "a.csv", text)
    assert document.text == (
        "name: Ada; city: London\n\nname: Alan Mathison; city: Wilmslow\n\nname: Grace\n"
    )
    assert document.metadata["columns"] == ["name", "city"]
    assert place_of(document, "Mathison") == "a.csv:3"
    assert place_of(document, "Grace") == "a.csv:6"


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.csv", "a;b\n1,5;2\n", "a: 1,5; b: 2\n"),
        ("a.csv", "a|b\n1|2\n", "a: 1; b: 2\n"),
        ("a.tsv", "a\tb, c\n1\t2\n", "a: 1; b, c: 2\n"),
        ("a.csv", "Ada,36\nAlan,41\n", "Ada; 36\n\nAlan; 41\n"),
        ("a.csv", "a,b\n1,2,3\n", "a: 1; b: 2; 3\n"),
        ("a.csv", "", ""),
    ],
)
def test_tables_are_told_by_their_first_line(
    tmp_path: Path, name: str, text: str, expected: str
) -> None:
    """It says what parts the cells, and whether it names the columns."""
    assert loaded(tmp_path / name, text).text == expected


def test_one_column_or_field_may_hold_the_text(tmp_path: Path) -> None:
    """Then the rest is left out, and a table without it is refused with what it has."""
    table = "id,body\n1,Water boils.\n2,Ice melts.\n"
    expected = "Water boils.\n\nIce melts.\n"
    assert loaded(tmp_path / "a.csv", table, text_field="body").text == expected
    lines = '{"id": 1, "body": "Water boils."}\n{"id": 2, "body": "Ice melts."}\n'
    assert loaded(tmp_path / "a.jsonl", lines, text_field="body").text == expected
    with pytest.raises(DataError, match="no column 'txt'") as caught:
        loaded(tmp_path / "a.csv", table, text_field="txt")
    assert caught.value.hint == "its columns are 'id', 'body'"
    with pytest.raises(DataError, match="line 1: the record has no text in a field 'txt'"):
        loaded(tmp_path / "a.jsonl", lines, text_field="txt")
    assert loaded(tmp_path / "a.md", "# Water\n", text_field="body").text == "# Water\n"


def test_a_cell_as_long_as_an_article_is_read(tmp_path: Path) -> None:
    """The standard library would refuse it; a cell without an end is refused with its line."""
    article = "Water boils. " * 20_000
    assert article.strip() in loaded(tmp_path / "a.csv", f"text\n{article}\n").text
    endless = b'text\nfine\n"' + b"x" * 10_000_001
    with pytest.raises(LimitError, match="row that begins on line 3"):
        loaded(tmp_path / "a.csv", endless)


def test_a_line_of_jsonl_is_a_paragraph_that_knows_its_line(tmp_path: Path) -> None:
    """The text is in a field of a usual name, behind the title; without one all fields are it."""
    lines = [
        {"_id": "1", "title": "Water", "text": "It boils.\n\nAt 100 degrees.", "metadata": {}},
        {"content": "Ice melts."},
        {"name": "steam", "degrees": [100, 200], "of": {"what": "water", "n": None}},
        "a bare string",
    ]
    text = "\n\n".join(json.dumps(line) for line in lines)
    document = loaded(tmp_path / "a.jsonl", text)
    assert document.text == (
        "Water\nIt boils.\n\nAt 100 degrees.\n\nIce melts.\n\n"
        "name: steam\ndegrees: 100, 200\nof.what: water\n\na bare string\n"
    )
    assert document.metadata["records"] == 4
    assert place_of(document, "At 100") == "a.jsonl:1"
    assert place_of(document, "steam") == "a.jsonl:5"


def test_a_broken_line_of_jsonl_is_named(tmp_path: Path) -> None:
    """The error says which line, for people and for programs."""
    with pytest.raises(DataError, match=r"'.*a.jsonl' line 3 is not JSON") as caught:
        loaded(tmp_path / "a.jsonl", '{"a": 1}\n{"a": 2}\n{"a": 3,}\n{"a": 4}\n')
    assert caught.value.fields["line"] == 3


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[{"text": "one"},\n {"text": "two"}]\n', "one\n\ntwo\n"),
        ('{"title": "Water", "of": ["h", "o"]}', "title: Water\nof: h, o\n"),
        (" [ ] ", ""),
        ('"text"', "text\n"),
    ],
)
def test_json_is_a_list_of_records_or_one(tmp_path: Path, text: str, expected: str) -> None:
    """Either way each record is a paragraph."""
    assert loaded(tmp_path / "a.json", text).text == expected


@pytest.mark.parametrize(
    ("text", "line"),
    [("", 1), ('[{"a": 1},\n{"a" 2}]', 2), ("[1,\n2\n3]", 3), ("[1]\n\n]", 3), ("[1,\n2", 2)],
)
def test_broken_json_is_named_with_its_line(tmp_path: Path, text: str, line: int) -> None:
    """Wherever in the file it breaks."""
    with pytest.raises(DataError, match=f"line {line} is not JSON"):
        loaded(tmp_path / "a.json", text)


def test_records_of_a_json_list_know_their_lines(tmp_path: Path) -> None:
    """A record may take several lines; its first one is cited."""
    text = '[\n  {\n    "text": "one"\n  },\n  {\n    "text": "two"\n  }\n]\n'
    document = loaded(tmp_path / "a.json", text)
    assert place_of(document, "one") == "a.json:2"
    assert place_of(document, "two") == "a.json:5"


def test_code_stays_as_it_is_and_says_its_language(tmp_path: Path) -> None:
    """A comment is no heading, and a chunk knows its line."""
    document = loaded(tmp_path / "a.py", "# One\nx = 1\n\n\n# Two\ny = 2\n")
    assert document.text == "# One\nx = 1\n\n\n# Two\ny = 2\n"
    assert document.metadata["language"] == "python"
    assert place_of(document, "y = 2") == "a.py:6"
    [chunk] = TokenChunker(tokenizer=WordTokenizer()).chunk(document)
    assert "heading" not in chunk.metadata


def test_a_row_of_a_workbook_names_its_sheet_and_row(tmp_path: Path) -> None:
    """Each sheet has a heading; empty rows and sheets are left out, and counted."""
    book = openpyxl.Workbook()
    book.properties.title = "Staff"
    people = book.active
    people.title = "People & pets"
    for row in (["name", "born"], ["Ada", datetime.datetime(1815, 12, 10)], [], ["Rex", 3.0]):
        people.append(row)
    book.create_sheet("Empty")
    book.create_sheet("Prices").append(["tea", 2.5])
    book.save(tmp_path / "a.xlsx")
    document = load_document(tmp_path / "a.xlsx", root=tmp_path)
    assert document.text == (
        "# People & pets\n\nname: Ada; born: 1815-12-10\n\nname: Rex; born: 3\n\n"
        "# Prices\n\ntea; 2.5\n"
    )
    assert document.metadata["title"] == "Staff"
    assert document.metadata["sheets"] == ["People & pets", "Prices"]
    assert place_of(document, "Ada") == 'a.xlsx, sheet "People & pets" row 2'
    assert place_of(document, "Rex") == 'a.xlsx, sheet "People & pets" row 4'
    assert place_of(document, "# Prices") == 'a.xlsx, sheet "Prices" row 1'
    chunker = TokenChunker(chunk_tokens=12, overlap_tokens=0, tokenizer=WordTokenizer())
    last = chunker.chunk(document)[-1]
    assert last.metadata == {"sheet": "Prices", "row": 1, "heading": "Prices"}


def test_the_text_of_a_slide_names_the_slide(tmp_path: Path) -> None:
    """Title, text, tables, groups and notes are read; a slide without text is only counted."""
    show = pptx.Presentation()
    show.core_properties.title = "States"
    first = show.slides.add_slide(show.slide_layouts[1])
    first.shapes.title.text = "Water"
    first.placeholders[1].text = "It boils.\nIt freezes."
    first.notes_slide.notes_text_frame.text = "Say it slowly."
    show.slides.add_slide(show.slide_layouts[6])
    third = show.slides.add_slide(show.slide_layouts[6])
    table = third.shapes.add_table(1, 2, 0, 0, 100, 100).table
    table.cell(0, 0).text, table.cell(0, 1).text = "ice", "0"
    inner = third.shapes.add_group_shape().shapes.add_group_shape()
    inner.shapes.add_textbox(0, 0, 10, 10).text_frame.text = "deep"
    show.save(str(tmp_path / "a.pptx"))
    document = load_document(tmp_path / "a.pptx", root=tmp_path)
    assert document.text == (
        "# Water\n\nIt boils.\nIt freezes.\n\nNotes: Say it slowly.\n\n"
        "# Slide 3\n\n| ice | 0 |\n\ndeep\n"
    )
    assert document.metadata["slides"] == 3
    assert document.metadata["title"] == "States"
    assert place_of(document, "slowly") == "a.pptx, slide 1"
    assert place_of(document, "deep") == "a.pptx, slide 3"
