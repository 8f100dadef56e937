"""A test collection made by hand, of which the rankings are known."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

PASSAGES = {
    "iron": ("Iron", "It rusts in wet air."),
    "gold": ("Gold", "It never rusts, and shines."),
    "tides": ("", "The moon pulls the sea."),
    "bread": ("Bread", "Yeast makes the dough rise."),
}
QUERIES = {
    "q1": "why does dough rise",
    "q2": "what never rusts and shines in air",
    "q3": "lunar gravity",
    "q4": "nobody judged this",
}
# Of q2 the relevant one shares fewer rare words than gold; q3 shares no word with its passage.
JUDGEMENTS = (("q1", "bread", 1), ("q1", "gold", 0), ("q2", "iron", 2), ("q3", "tides", 1))


@pytest.fixture
def beir(tmp_path: Path) -> Path:
    """A BEIR folder ``tiny``."""
    folder = tmp_path / "data" / "tiny"
    (folder / "qrels").mkdir(parents=True)
    corpus = [{"_id": i, "title": t, "text": x} for i, (t, x) in PASSAGES.items()]
    queries = [{"_id": i, "text": text} for i, text in QUERIES.items()]
    for name, lines in (("corpus", corpus), ("queries", queries)):
        text = "\n".join(map(json.dumps, lines))
        (folder / f"{name}.jsonl").write_text(text + "\n")
    rows = ["query-id\tcorpus-id\tscore", *("\t".join(map(str, row)) for row in JUDGEMENTS)]
    (folder / "qrels" / "test.tsv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture
def squad(tmp_path: Path) -> Path:
    """A file in SQuAD's form, ``small/small.en.json``."""
    paragraphs = [
        {"context": "Water boils.", "qas": [{"id": "a", "question": "What boils?"}]},
        {"context": "Iron rusts.", "qas": [{"id": "b", "question": "What rusts?"}]},
    ]
    path = tmp_path / "data" / "small" / "small.en.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"data": [{"title": "T", "paragraphs": paragraphs}]}))
    return path
