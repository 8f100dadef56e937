"""``sage bench`` runs a suite, tiny, and writes what it measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sage.cli.main import main


def test_bench_prints_a_table_and_writes_the_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A quick run of one row shows its contestants and leaves every sample in the JSON."""
    numbers = tmp_path / "numbers.json"
    chosen = ["--quick", "--rows", "W1", "--rounds", "1", "--json", str(numbers)]
    assert main(["bench", "kernel", *chosen]) == 0
    printed = capsys.readouterr()
    assert "by hand" in printed.out
    assert "W1: round 1" in printed.err
    (row,) = json.loads(numbers.read_text())["rows"]
    assert [contestant["name"] for contestant in row["contestants"]][:2] == ["by hand", "SAGE"]


def test_bench_knows_its_suites_and_rows(capsys: pytest.CaptureFixture[str]) -> None:
    """A misspelt suite or row is an error that says what there is; nothing is measured."""
    assert main(["bench", "kernle"]) != 0
    assert "kernel" in capsys.readouterr().err
    assert main(["bench", "kernel", "--rows", "W7"]) != 0
    assert "the rows are W1, W2" in capsys.readouterr().err


def test_bench_measures_on_the_data_that_it_is_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--data` names a BEIR folder; a suite without data and a missing folder are errors."""
    monkeypatch.setenv("SAGE_HOME", str(tmp_path / "home"))
    folder = tmp_path / "tiny"
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text('{"_id": "a", "title": "", "text": "Iron rusts."}\n')
    (folder / "queries.jsonl").write_text('{"_id": "q", "text": "What rusts?"}\n')
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\ta\t1\n")
    assert main(["bench", "retrieval", "--data", str(folder), "--quick"]) == 0
    printed = capsys.readouterr()
    assert "hybrid + rerank" in printed.out
    assert "tiny-quick: BM25" in printed.err
    assert main(["bench", "retrieval", "--data", str(tmp_path / "nowhere")]) != 0
    assert "there is no directory" in capsys.readouterr().err
    assert main(["bench", "kernel", "--data", str(folder)]) != 0
    assert "makes its data itself" in capsys.readouterr().err
