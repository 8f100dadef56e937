"""Readers: sources that are found by name, and what is said when they are not there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sage.common.core.functions import SourceFunction
from sage.common.errors import ConfigError, DataError, MissingExtraError
from sage.common.registry import Registry, registry
from sage.kernel import LocalEnvironment
from sage.kernel.api.readers import source_class
from sage.kernel.errors import GraphError, JobFailedError

NOBODYS = "nobody has registered sources here"


@pytest.fixture
def env() -> LocalEnvironment:
    return LocalEnvironment()


def test_lines_are_read(env: LocalEnvironment, tmp_path: Path) -> None:
    """``read_text`` gives the lines of a file, blank ones too unless they are left out."""
    path = tmp_path / "a.txt"
    path.write_text("one\n\ntwo\n")
    assert env.read_text(path).collect() == ["one", "", "two"]
    assert env.read_text(str(path), skip_blank=True).map(str.upper).collect() == ["ONE", "TWO"]


def test_rows_are_read(env: LocalEnvironment, tmp_path: Path) -> None:
    """JSON lines and CSV give what their sources give, with the same options."""
    (tmp_path / "a.jsonl").write_text('{"n": 1}\n[2]\n')
    assert env.read_jsonl(tmp_path / "a.jsonl").collect() == [{"n": 1}, [2]]
    (tmp_path / "a.csv").write_text("1;x\n")
    rows = env.read_csv(tmp_path / "a.csv", columns=["n", "text"], delimiter=";")
    assert rows.collect() == [{"n": "1", "text": "x"}]


def test_parquet_is_read(env: LocalEnvironment, tmp_path: Path) -> None:
    """``read_parquet`` gives rows, of the chosen columns."""
    pyarrow = pytest.importorskip("pyarrow", reason="isage-libs[parquet] is not installed")
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"n": [1, 2], "x": ["a", "b"]}), tmp_path / "a.parquet")
    assert env.read_parquet(tmp_path / "a.parquet", columns=["n"]).collect() == [{"n": 1}, {"n": 2}]


def test_a_reader_takes_the_options_of_every_verb(env: LocalEnvironment, tmp_path: Path) -> None:
    """Name and uid are the operator's, all else is the source's; a misspelt option is refused."""
    stream = env.read_text(tmp_path / "a.txt", name="questions", uid="q")
    assert env.graph()["q"].name == "questions"
    assert stream.uid == "q"
    unnamed = env.read_text(tmp_path / "a.txt")
    assert env.graph()[unnamed.uid].name == "file"
    with pytest.raises(ConfigError, match="did you mean 'skip_blank'"):
        env.read_text(tmp_path / "a.txt", skip_blanks=True)


def test_a_missing_file_is_named_when_the_job_opens_it(
    env: LocalEnvironment, tmp_path: Path
) -> None:
    """Building reads nothing, so a file may be written between building and running."""
    stream = env.read_text(tmp_path / "later.txt")
    with pytest.raises(JobFailedError, match=r"later\.txt") as caught:
        stream.collect()
    assert isinstance(caught.value.__cause__, DataError)
    (tmp_path / "later.txt").write_text("now\n")
    assert stream.collect() == ["now"]


def test_a_source_that_is_not_installed_says_what_to_install() -> None:
    """Without the package that has it, the error names the package and its extra."""
    with pytest.raises(MissingExtraError) as caught:
        source_class("parquet", Registry(NOBODYS))
    assert caught.value.hint == "pip install 'isage-libs[parquet]'"
    for name in ("file", "jsonl", "csv"):
        with pytest.raises(MissingExtraError, match="'isage-libs' is needed here"):
            source_class(name, Registry(NOBODYS))


class FakeTopic(SourceFunction[str]):
    """Stands in for the source of a package that reads Kafka."""

    def __init__(self, topic: str) -> None:
        self.left = [f"{topic} 1", f"{topic} 2"]

    def read(self, max_records: int) -> list[Any] | None:
        read, self.left = self.left, []
        return read or None


def test_kafka_is_whatever_is_registered_for_it(env: LocalEnvironment) -> None:
    """SAGE has no Kafka source and says what it has; one that a package registers is used."""
    assert "kafka" not in registry("sources")
    with pytest.raises(GraphError, match="no source called 'kafka' in this version") as caught:
        env.from_kafka("questions")
    assert "RedisStreamSource" in str(caught.value)
    registered = Registry(NOBODYS)
    registered.add("kafka", FakeTopic)
    stream = env.from_source(source_class("kafka", registered), "questions")
    assert stream.collect() == ["questions 1", "questions 2"]
