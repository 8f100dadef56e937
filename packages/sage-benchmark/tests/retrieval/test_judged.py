"""Test collections are read as others read them."""

from __future__ import annotations

from pathlib import Path

import pytest

from sage.benchmark.retrieval.judged import find_collections, read_beir, read_squad
from sage.common.errors import ConfigError, DataError


def test_a_beir_folder(beir: Path) -> None:
    """A passage is its title and text; questions without a relevant passage are left out."""
    read = read_beir(beir)
    assert read.name == "tiny"
    assert read.passages["iron"] == "Iron It rusts in wet air."
    assert read.passages["tides"] == "The moon pulls the sea."
    assert [(q.query_id, dict(q.grades)) for q in read.queries] == [
        ("q1", {"bread": 1, "gold": 0}),
        ("q2", {"iron": 2}),
        ("q3", {"tides": 1}),
    ]


def test_a_file_in_squads_form(squad: Path) -> None:
    """Each paragraph is a passage, and the only relevant one of its questions."""
    read = read_squad(squad)
    assert read.name == "small-en"
    assert list(read.passages.values()) == ["Water boils.", "Iron rusts."]
    assert [(q.text, dict(q.grades)) for q in read.queries] == [
        ("What boils?", {"0": 1}),
        ("What rusts?", {"1": 1}),
    ]


def test_a_small_part_keeps_what_is_relevant(beir: Path) -> None:
    """Of a cut collection each question can still be answered."""
    small = read_beir(beir).small(queries=1, passages=1)
    assert list(small.passages) == ["iron", "gold", "bread"]
    assert [q.query_id for q in small.queries] == ["q1"]


def test_collections_are_found_by_name(beir: Path, squad: Path) -> None:
    """A directory may be a BEIR folder or hold several; a misspelt name lists those there are."""
    assert list(find_collections(beir)) == ["tiny"]
    assert list(find_collections(beir.parent)) == ["small-en", "tiny"]
    assert list(find_collections(beir.parent, ["tiny"])) == ["tiny"]
    with pytest.raises(ConfigError, match="did you mean 'tiny'"):
        find_collections(beir.parent, ["tinny"])


def test_what_is_no_test_collection_is_said(tmp_path: Path, beir: Path, squad: Path) -> None:
    """A missing or empty directory and a damaged file are errors that name what was looked at."""
    with pytest.raises(DataError, match="there is no directory"):
        find_collections(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no test collection in"):
        find_collections(tmp_path / "empty")
    for path, text, place in (
        (beir / "qrels" / "test.tsv", "h\th\th\nq1 bread 1\n", "test.tsv:2"),
        (beir / "corpus.jsonl", '{"_id": "a", "text": "b"}\n{"_id": 1}\n', "corpus.jsonl:2"),
    ):
        whole = path.read_text()
        path.write_text(text)
        with pytest.raises(DataError, match=place):
            read_beir(beir)
        path.write_text(whole)
    squad.write_text('{"data": 3}')
    with pytest.raises(DataError, match="not in SQuAD's form"):
        read_squad(squad)
