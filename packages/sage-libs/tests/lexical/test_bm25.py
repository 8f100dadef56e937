"""The index by words."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage.common.errors import ConfigError, DataError, StorageError
from sage.libs.lexical import Bm25Index, Terms

TEXTS = [
    "The stream processes records, one record at a time.",
    "A river runs to the sea.",
    "水在一百度沸腾。",
    "Records are kept in a store; the store is kept on disk, record by record.",
    "",
]
IDS = ["stream", "river", "water", "store", "nothing"]


@pytest.fixture
def index() -> Bm25Index:
    return Bm25Index(IDS, TEXTS)


def test_scores_are_bm25(index: Bm25Index) -> None:
    """Scores are those of the formula with k1 = 0.9 and b = 0.4."""
    terms = [Terms()(text) for text in TEXTS]
    average = sum(map(len, terms)) / len(terms)

    def score(document: list[str]) -> float:
        holding = sum("record" in other for other in terms)
        idf = math.log(1 + (len(terms) - holding + 0.5) / (holding + 0.5))
        count = document.count("record")
        return idf * count / (count + 0.9 * (1 - 0.4 + 0.4 * len(document) / average))

    found = dict(index.search("records", top_k=5))
    assert set(found) == {"stream", "store"}
    for name, value in found.items():
        assert value == pytest.approx(score(terms[IDS.index(name)]), rel=1e-4)


def test_chinese_is_found_by_pairs(index: Bm25Index) -> None:
    """A Chinese question finds the text it shares words with."""
    assert index.search("水什么时候沸腾？", top_k=3)[0][0] == "water"


def test_nothing_shared_is_nothing_found(index: Bm25Index) -> None:
    """No common term, only stop words or no text at all find nothing."""
    for query in ("volcano", "the of and", "", "?!"):
        assert index.search(query, top_k=3) == []


def test_top_k_and_allowed(index: Bm25Index) -> None:
    """At most top_k are returned, and none that is not allowed."""
    assert len(index.search("record store river", top_k=2)) == 2
    allowed = np.array([True, True, True, False, True])
    assert {i for i, _ in index.search("record store river", 5, allowed=allowed)} == {
        "stream",
        "river",
    }
    with pytest.raises(ConfigError, match="at least 1"):
        index.search("record", top_k=0)


@pytest.mark.parametrize("texts", [[], [""], ["the"], ["?"]])
def test_no_terms_at_all(tmp_path: Path, texts: list[str]) -> None:
    """An index without any term is built, saved, loaded and finds nothing."""
    Bm25Index([str(n) for n in range(len(texts))], texts).save(tmp_path)
    again = Bm25Index.load(tmp_path)
    assert len(again) == len(texts)
    assert again.search("word", top_k=1) == []


def test_loads_as_saved(index: Bm25Index, tmp_path: Path) -> None:
    """A loaded index gives the same answers, and no file of it is a pickle."""
    index.save(tmp_path)
    again = Bm25Index.load(tmp_path)
    for query in ("records", "river", "沸腾"):
        assert again.search(query, 5) == index.search(query, 5)
    for path in tmp_path.iterdir():
        assert not path.read_bytes().startswith(b"\x80"), path


def test_damage_is_an_error(index: Bm25Index, tmp_path: Path) -> None:
    """A file that is cut off or gone is an error that names the directory."""
    with pytest.raises(StorageError, match=str(tmp_path)):
        Bm25Index.load(tmp_path)
    index.save(tmp_path)
    for path in list(tmp_path.iterdir()):
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 3])
        with pytest.raises(StorageError, match=str(tmp_path)):
            Bm25Index.load(tmp_path)
        path.write_bytes(whole)
    assert len(Bm25Index.load(tmp_path)) == 5


def test_ids_and_texts_must_match() -> None:
    """One id too many is an error."""
    with pytest.raises(DataError, match="2 ids and 1 texts"):
        Bm25Index(["a", "b"], ["x"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Running RUNS ran", ["run", "run", "ran"]),
        ("the cat and the hat", ["cat", "hat"]),
        ("ＦＵＬＬ width ﬁt", ["full", "width", "fit"]),
        ("水在沸腾", ["水在", "在沸", "沸腾"]),
        ("我 爱 Python3 吗", ["我", "爱", "python3", "吗"]),
        ("GPT4模型", ["gpt4", "模型"]),
        ("한국어 검색", ["한국", "국어", "검색"]),
        ("snake_case e-mail C 5", ["snake_cas", "e", "mail", "c", "5"]),
    ],
)
def test_terms(text: str, expected: list[str]) -> None:
    """Words are folded and stemmed, scripts without spaces go by pairs."""
    assert Terms()(text) == expected


@given(st.text())
def test_terms_of_any_text(text: str) -> None:
    """Any text has terms, none of them empty or blank, the same each time."""
    terms = Terms()
    assert terms(text) == terms(text) == Terms()(text)
    assert all(term.strip() for term in terms(text))
