"""Sinks: a file is whole or not there, and answers are printed with their citations."""

from __future__ import annotations

import copy
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest

from sage.common.errors import ConfigError, DataError, StorageError
from sage.common.records import Answer, Citation, Passage, Query
from sage.libs.io.record_writer import LineWriter
from sage.libs.io.sink import CsvSink, FileSink, JsonlSink, TerminalSink
from sage.libs.io.sources import CsvSource, JsonlSource


class FakeContext:
    """The part of a runtime context that sinks look at."""

    name = "sink"
    uid = "sink-1"
    parallel_index = 0
    attempt = 0

    def __init__(self, parallelism: int = 1) -> None:
        import logging

        self.parallelism = parallelism
        self.logger = logging.getLogger("test.sink")


def sink_in_a_job(path: Path) -> FileSink:
    sink = FileSink(path)
    context = FakeContext()
    sink.attach(context)  # type: ignore[arg-type]
    sink.open(context)
    return sink


def all_of(source: JsonlSource | CsvSource) -> list[Any]:
    records = source.read(10)
    assert records is not None
    source.close()
    return records


def names(directory: Path) -> list[str]:
    return sorted(entry.name for entry in directory.iterdir())


def test_one_record_is_one_line(tmp_path: Path) -> None:
    """Text is written as it is, everything else as JSON, and line breaks never split a record."""
    path = tmp_path / "out.jsonl"
    sink = FileSink(path)
    passage = Passage("水", doc_id="d")
    records = [
        "plain 水",
        {"a": [1]},
        passage,
        3,
        "two\nlines",
        "end\n",
        "\u2028",
        "",
        None,
        (1, 2),
    ]
    for record in records:
        sink.write(record)
    sink.close()
    lines = path.read_text(encoding="utf-8").split("\n")
    assert lines[0] == "plain 水"
    assert [json.loads(line) for line in lines[1:6]] == [
        {"a": [1]},
        passage.to_dict(),
        3,
        "two\nlines",
        "end\n",
    ]
    assert lines[6:] == ["\u2028", "", "null", "[1,2]", ""]


def test_the_file_appears_when_the_input_has_ended(tmp_path: Path) -> None:
    """Until then readers see the old file, and afterwards nothing else is left."""
    path = tmp_path / "out.txt"
    path.write_text("old")
    sink = sink_in_a_job(path)
    sink.write("new")
    assert path.read_text() == "old"
    sink.flush()
    sink.close()
    sink.close()
    assert path.read_text() == "new\n"
    assert names(tmp_path) == ["out.txt"]


def test_an_empty_stream_makes_an_empty_file(tmp_path: Path) -> None:
    """A job without results says so by an empty file, not by an old one."""
    path = tmp_path / "out.txt"
    path.write_text("old")
    sink = sink_in_a_job(path)
    sink.flush()
    sink.close()
    assert path.read_text() == ""


def test_a_failed_job_leaves_the_old_file(tmp_path: Path) -> None:
    """What it wrote is kept under a name that says that it is not complete."""
    path = tmp_path / "out.txt"
    path.write_text("old")
    sink = sink_in_a_job(path)
    sink.write("half")
    sink.close()
    assert path.read_text() == "old"
    assert (tmp_path / "out.txt.incomplete").read_text() == "half\n"
    assert names(tmp_path) == ["out.txt", "out.txt.incomplete"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no full device")
def test_a_full_disk_is_a_storage_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the file, and the old one stays."""
    path = tmp_path / "out.txt"
    path.write_text("old")
    sink = sink_in_a_job(path)
    full = open("/dev/full", "wb")  # noqa: SIM115
    whole = sink._whole
    assert whole is not None
    whole._file.close()
    whole._file, whole._writer = full, LineWriter(full)
    sink.write("x" * 100)
    sink.flush()
    with pytest.raises(StorageError, match=r"cannot write .*out\.txt.*No space left"):
        sink.close()
    assert names(tmp_path) == ["out.txt"]
    assert path.read_text() == "old"


def test_what_cannot_be_written_is_refused_at_open(tmp_path: Path) -> None:
    """A directory, a path below a file and several subtasks are found before the first record."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="directory"):
        FileSink(tmp_path).open(None)
    with pytest.raises(StorageError, match="file"):
        FileSink(tmp_path / "file" / "out.txt").open(None)
    with pytest.raises(ConfigError, match="2 subtasks"):
        FileSink(tmp_path / "out.txt").open(FakeContext(2))


def test_a_link_keeps_being_one(tmp_path: Path) -> None:
    """Writing to a symbolic link writes the file that it points to."""
    (tmp_path / "real.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to("real.txt")
    sink = FileSink(tmp_path / "link.txt")
    sink.write("new")
    sink.close()
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real.txt").read_text() == "new\n"


def test_a_record_without_json_form_is_named(tmp_path: Path) -> None:
    """The error says which type, and the writer goes on."""
    sink = FileSink(tmp_path / "out.txt")
    with pytest.raises(DataError, match="object"):
        sink.write({"a": object()})
    sink.write("b")
    sink.close()
    assert (tmp_path / "out.txt").read_text() == "b\n"


def test_text_stays_text_in_json_lines(tmp_path: Path) -> None:
    """Whatever is written to JSON lines is read back with its type."""
    records = ["text", "two\nlines", {"a": [1, None]}, 3, None]
    sink = JsonlSink(tmp_path / "out.jsonl")
    for record in records:
        sink.write(record)
    sink.close()
    assert all_of(JsonlSource(tmp_path / "out.jsonl")) == records


def test_rows_of_csv_are_read_back(tmp_path: Path) -> None:
    """Columns come from the first record or by name, and fields may come in any order."""
    rows = [{"name": 'Noether, "Emmy"', "note": "two\nlines"}, {"note": "", "name": "水"}]
    for columns, path in ((None, tmp_path / "a.csv"), (["note", "name"], tmp_path / "b.csv")):
        sink = CsvSink(path, columns=columns, delimiter=";")
        for row in rows:
            sink.write(row)
        sink.close()
        assert all_of(CsvSource(path, delimiter=";")) == rows
    assert (tmp_path / "b.csv").read_text().startswith("note;name\n")


def test_a_row_that_does_not_fit_the_columns_is_refused(tmp_path: Path) -> None:
    """Nothing is left out in silence: a missing, an unknown field and a bare value are named."""
    sink = CsvSink(tmp_path / "out.csv", columns=["a", "b"])
    for record in ({"a": 1}, {"a": 1, "b": 2, "c": 3}, {"a": 1, "c": 3}):
        with pytest.raises(DataError, match="the columns are a, b"):
            sink.write(record)
    with pytest.raises(DataError, match="got str: 'text'"):
        sink.write("text")
    sink.close()


ANSWER = Answer(
    "It boils at 100 degrees [1]. At high altitude it boils at fewer degrees [2].",
    Query("When does water boil?"),
    citations=(Citation(1, "water.md", "water.md:3"), Citation(2, "b.pdf", "b.pdf, page 2")),
)


def test_an_answer_is_printed_with_numbered_citations() -> None:
    """Question, wrapped answer, and where each source stands."""
    stream = io.StringIO()
    TerminalSink(width=40, stream=stream).write(ANSWER)
    assert stream.getvalue() == (
        "When does water boil?\n"
        "  It boils at 100 degrees [1]. At high\n"
        "  altitude it boils at fewer degrees\n"
        "  [2].\n"
        "\n"
        "  [1] water.md:3\n"
        "  [2] b.pdf, page 2\n"
        "\n"
    )


def test_lines_stay_whole_where_no_terminal_is() -> None:
    """What is piped into another program is not wrapped."""
    stream = io.StringIO()
    TerminalSink(stream=stream).write(ANSWER)
    assert f"  {ANSWER.text}\n" in stream.getvalue()


def test_pieces_of_an_answer_are_printed_as_they_come() -> None:
    """A stream of deltas and its answer print the text once."""
    stream = io.StringIO()
    sink = TerminalSink(deltas=True, stream=stream)
    for delta in ("It ", "boils", "."):
        sink.write(delta)
        assert stream.getvalue().endswith(delta)
    sink.write(ANSWER)
    sink.flush()
    assert stream.getvalue() == "It boils.\n\n  [1] water.md:3\n  [2] b.pdf, page 2\n\n"


def test_other_records_are_printed_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a stream of its own it prints to what stdout is at the time."""
    sink = TerminalSink()
    sink.write("text")
    sink.write({"a": 1})
    assert capsys.readouterr().out == "text\n{'a': 1}\n"


def test_documents_cannot_send_escape_sequences() -> None:
    """Text from documents cannot clear the screen or recolour it."""
    stream = io.StringIO()
    TerminalSink(stream=stream).write("a\x1b[2Jb\r\n\tc\x9b1m")
    assert stream.getvalue() == "a\ufffd[2Jb\n\tc\ufffd1m\n"


def test_a_terminal_without_the_characters_gets_question_marks() -> None:
    """An ASCII terminal is no reason to fail."""
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    TerminalSink(stream=stream).write("水 boils")
    assert raw.getvalue() == f"? boils{os.linesep}".encode()


def test_copies_print_to_the_same_stream() -> None:
    """The engine copies sinks for each subtask; what they print goes where the user said."""
    stream = io.StringIO()
    copy.deepcopy(TerminalSink(stream=stream)).write("x")
    assert stream.getvalue() == "x\n"
