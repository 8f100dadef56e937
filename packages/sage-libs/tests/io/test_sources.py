"""Sources: what is read, where it can be taken up again, and what is said about bad input."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage.common.config import check_config
from sage.common.core.functions import ReplayableSource, SourceFunction
from sage.common.errors import ConfigError, DataError
from sage.libs.documents import WordTokenizer
from sage.libs.io.lines import LineReader
from sage.libs.io.sources import (
    ChunkedFileSource,
    CsvSource,
    DirectorySource,
    FileSource,
    JsonlSource,
)


def read_all(source: SourceFunction[Any], batch: int = 3) -> list[Any]:
    source.open(None)
    records: list[Any] = []
    while (read := source.read(batch)) is not None:
        assert len(read) <= batch
        records += read
    source.close()
    return records


@given(
    text=st.text(alphabet="ab水 \n\r", max_size=40),
    block=st.integers(1, 9),
    batch=st.integers(1, 5),
)
def test_lines_are_those_of_universal_newlines(
    tmp_path_factory: pytest.TempPathFactory, text: str, block: int, batch: int
) -> None:
    """Whatever the size of the blocks, the lines are those that Python's text mode gives."""
    path = tmp_path_factory.mktemp("lines") / "a.txt"
    path.write_bytes(text.encode())
    with path.open(encoding="utf-8", newline=None) as file:
        expected = [line.removesuffix("\n") for line in file]
    reader = LineReader(path, block_bytes=block)
    lines: list[str] = []
    positions = [reader.snapshot()]
    while (read := reader.read(batch)) is not None:
        lines += read
        positions.append(reader.snapshot())
        assert reader.line_number == len(lines)
    reader.close()
    assert lines == expected
    for position in positions:
        again = LineReader(path, block_bytes=7)
        again.seek(position)
        done = position["line_number"]
        rest: list[str] = []
        while (read := again.read(2)) is not None:
            rest += read
        again.close()
        assert rest == expected[done:]


def test_blank_lines_are_records_unless_skipped(tmp_path: Path) -> None:
    """An empty line is an empty string; a file of questions can leave such lines out."""
    path = tmp_path / "questions.txt"
    path.write_text("\nWhat?\n  \n\nWho?\n\n")
    assert read_all(FileSource(path)) == ["", "What?", "  ", "", "Who?", ""]
    assert read_all(FileSource(path, skip_blank=True)) == ["What?", "Who?"]


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    """What Windows editors put before the text does not become part of the first line."""
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfone\r\ntwo")
    assert read_all(FileSource(path)) == ["one", "two"]


def test_a_long_line_is_read_in_linear_time(tmp_path: Path) -> None:
    """A line that is much longer than a block comes whole."""
    path = tmp_path / "a.txt"
    path.write_text("x" * 3_000_000 + "\nend")
    assert [len(line) for line in read_all(FileSource(path))] == [3_000_000, 3]


def make_missing(path: Path) -> None:
    """Leave it away."""


def make_directory(path: Path) -> None:
    path.mkdir()


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize("make", [make_missing, make_directory, make_pipe])
@pytest.mark.parametrize("source", [FileSource, JsonlSource, CsvSource])
def test_what_cannot_be_read_is_refused_at_open(
    tmp_path: Path, make: Callable[[Path], None], source: type[Any]
) -> None:
    """A missing file, a directory and a pipe are named in one line, when the job opens it."""
    path = tmp_path / "input"
    make(path)
    with pytest.raises(DataError) as caught:
        source(path).open(None)
    assert str(path) in caught.value.message
    assert "\n" not in caught.value.message


def test_a_changed_file_refuses_old_positions(tmp_path: Path) -> None:
    """A position is never applied to a file that was changed or put in the place of the old one."""
    path = tmp_path / "a.txt"
    path.write_text("one\ntwo\nthree\n")
    source = FileSource(path)
    assert isinstance(source, ReplayableSource)
    assert source.read(2) == ["one", "two"]
    position = source.snapshot_position()
    source.close()
    source.seek(position)
    assert source.read(9) == ["three"]
    source.close()
    path.write_text("one\nTWO\nthree\n")
    with pytest.raises(DataError, match="has changed"):
        source.seek(position)
    source.close()


def test_bytes_that_are_not_text_are_named_with_their_offset(tmp_path: Path) -> None:
    """Latin-1 is not read as UTF-8: the error says which byte and where."""
    path = tmp_path / "a.txt"
    path.write_bytes(b"plain\ncaf\xe9\n")
    source = FileSource(path)
    with pytest.raises(DataError, match=r"0xe9 at offset 9"):
        read_all(source)
    source.close()


def test_jsonl_names_the_line_that_is_wrong(tmp_path: Path) -> None:
    """A bad line is found by file and line; blank lines are none."""
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1}\n\n[2]\n{"a":\n')
    source = JsonlSource(path)
    with pytest.raises(DataError, match=r"a\.jsonl:4: not a JSON value"):
        read_all(source)
    source.close()
    path.write_text('{"a": 1}\n\n[2]\n"水"\n')
    assert read_all(source) == [{"a": 1}, [2], "水"]


def test_csv_fields_may_hold_delimiters_and_line_breaks(tmp_path: Path) -> None:
    """Quoting is CSV's, and a position between two rows survives it."""
    path = tmp_path / "a.csv"
    path.write_text('n;text\n1;"a;b"\n2;"two\nlines"\n\n3;"say ""hi"""\n')
    source = CsvSource(path, delimiter=";")
    rows = read_all(source, 1)
    assert rows == [
        {"n": "1", "text": "a;b"},
        {"n": "2", "text": "two\nlines"},
        {"n": "3", "text": 'say "hi"'},
    ]
    source.open(None)
    source.read(2)
    position = source.snapshot_position()
    source.close()
    source.seek(position)
    assert source.read(9) == rows[2:]
    source.close()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a,b\n1,2,3\n", r":2: 3 fields, expected 2"),
        ("a,a\n1,2\n", "two columns are called 'a'"),
        ('a,b\n1,"2\n', "not valid CSV"),
    ],
)
def test_bad_csv_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    """A row that does not fit its header is an error with its line, not a shifted record."""
    path = tmp_path / "a.csv"
    path.write_text(text)
    source = CsvSource(path)
    with pytest.raises(DataError, match=problem):
        read_all(source)
    source.close()


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.md").write_text("# A\n\nOne. Two. Three.\n")
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "sub" / "b.txt").write_text("Four. " * 30)
    return tmp_path


def test_a_directory_source_goes_on_behind_a_path(documents: Path) -> None:
    """Replay starts behind the last path given, though files before it have come."""
    source = DirectorySource(documents)
    names = [Path(path).name for path in read_all(source)]
    assert names == ["a.md", "empty.txt", "b.txt"]
    source.read(2)
    position = source.snapshot_position()
    source.close()
    (documents / "a0.txt").write_text("new")
    source.seek(position)
    assert [Path(path).name for path in source.read(9) or ()] == ["b.txt"]


def test_an_empty_directory_is_an_error(tmp_path: Path) -> None:
    """A pipeline over nothing says so and what it looked for."""
    with pytest.raises(DataError, match="no documents found") as caught:
        DirectorySource(tmp_path).open(None)
    assert ".md" in (caught.value.hint or "")


def test_chunks_of_a_directory_can_be_replayed(documents: Path) -> None:
    """From any position on, the same chunks come; from a changed file none do."""
    source = ChunkedFileSource(
        documents, chunk_tokens=8, overlap_tokens=2, tokenizer=WordTokenizer()
    )
    chunks = read_all(source)
    assert len(chunks) > 5
    assert chunks[0].metadata == {"line": 1, "heading": "A"}
    for done in range(len(chunks)):
        source.open(None)
        for _ in range(done):
            source.read(1)
        position = source.snapshot_position()
        source.close()
        source.seek(position)
        rest = []
        while (read := source.read(4)) is not None:
            rest += read
        assert rest == chunks[done:]
        source.close()
    (documents / "sub" / "b.txt").write_text("Five. " * 30)
    with pytest.raises(DataError, match="has changed"):
        source.seek(position)


def test_a_bad_file_fails_the_source_unless_it_is_skipped(
    documents: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is left out in silence: a bad file is an error, or a warning if so configured."""
    (documents / "bad.pdf").write_bytes(os.urandom(100))
    strict = ChunkedFileSource(documents, tokenizer=WordTokenizer())
    with pytest.raises(DataError, match=r"bad\.pdf"):
        read_all(strict)
    lenient = ChunkedFileSource(documents, tokenizer=WordTokenizer(), on_bad_file="skip")
    assert {Path(chunk.source).name for chunk in read_all(lenient)} == {"a.md", "b.txt"}
    assert "bad.pdf" in caplog.text


def test_options_are_checked_when_the_source_is_built() -> None:
    """A misspelt option is refused with a suggestion, as the seeds' config dicts need it."""
    with pytest.raises(ConfigError, match="did you mean 'file_path'"):
        FileSource(filepath="a.txt")
    assert check_config(FileSource, {"file_path": "questions.txt"}) == []
    with pytest.raises(ConfigError, match="chunk_tokens"):
        ChunkedFileSource("docs", chunk_tokens=1)
