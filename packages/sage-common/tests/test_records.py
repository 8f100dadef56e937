"""The records: coerced once at the edge, immutable, readable as attributes and as mappings."""

from __future__ import annotations

import dataclasses
import json
import pickle
from typing import Any

import pytest

from sage.common.errors import DataError
from sage.common.records import Answer, Chunk, Citation, Document, Passage, Prompt, Query, Retrieved


@pytest.mark.parametrize(
    ("metadata", "place"),
    [
        ({"line": 3}, "a.docx:3"),
        ({"page": 2, "line": 3}, "a.docx, page 2"),
        ({"heading": "Wool > Drying"}, 'a.docx, "Wool > Drying"'),
        ({"line": 3, "heading": "Wool"}, "a.docx:3"),
        ({}, "a.docx"),
    ],
)
def test_a_place_says_what_is_known_of_the_position(metadata: dict[str, Any], place: str) -> None:
    """Page before line before heading: a Word document has neither page nor line."""
    assert Passage("x", source="a.docx", doc_id="d", metadata=metadata).place == place


def test_a_passage_without_a_source_is_found_by_its_document() -> None:
    """Documents in memory have ids alone."""
    assert Passage("x", doc_id="d").place == "d"


@pytest.mark.parametrize(
    "value",
    [
        "Why?",
        " Why? ",
        {"query": "Why?"},
        {"question": "Why?"},
        {"text": "Why?"},
        {"query": Query("Why?")},
        Query("Why?"),
    ],
)
def test_a_question_comes_in_many_forms(value: Any) -> None:
    """Text, mappings and queries are one thing behind the edge; equal questions have equal ids."""
    assert Query.of(value) == Query("Why?")


def test_other_keys_of_a_question_are_kept() -> None:
    """What came with a question stays with it; filter and id have their own place."""
    query = Query.of({"query": "Why?", "id": "7", "filter": {"a": 1}, "user": "ada"})
    assert (query.id, query.filter, query.metadata) == ("7", {"a": 1}, {"user": "ada"})


@pytest.mark.parametrize(
    "metadata",
    [{1: "a", "b": 2}, {("a", 1): 2}, {"a": {1, "b"}}, {"a": "\ud800"}, {"a": 1 << 70}, {"a": {}}],
    ids=["mixed keys", "a tuple", "a mixed set", "no text", "a large number", "nothing"],
)
def test_whatever_comes_with_a_question_it_has_an_id(metadata: dict[Any, Any]) -> None:
    """Metadata is of any kind; equal questions have equal ids, in whatever order it was written."""
    query = Query("Why?", metadata=metadata)
    assert query.id == Query("Why?", metadata=dict(reversed(metadata.items()))).id
    assert query.id != Query("Why?").id


@pytest.mark.parametrize("value", ["", "  \n", {"query": " "}, {"answer": "x"}, 7, None])
def test_no_question_is_an_error(value: Any) -> None:
    """An empty question is refused at the edge, not answered."""
    with pytest.raises(DataError):
        Query.of(value)


def test_passages_come_in_many_forms() -> None:
    """Text, chunks and mappings; keys without a field of their own become metadata."""
    chunk = Chunk("x", chunk_id="c", doc_id="d", start=2, end=3, source="a.md")
    assert Passage.of(chunk).passage_id == "c"
    passage = Passage.of({"text": "x", "doc_id": "d", "page": 2, "metadata": {"title": "T"}})
    assert passage.metadata == {"title": "T", "page": 2}
    assert Passage.of("x").doc_id == Passage.of({"text": "x"}).doc_id != ""
    with pytest.raises(DataError, match="text"):
        Passage.of({"txt": "x"})


def test_retrieved_is_a_sequence_and_a_mapping() -> None:
    """A promptor iterates it, a user reads its fields."""
    found = Retrieved.of({"query": "Why?", "passages": ["a", {"text": "b"}]})
    assert [p.text for p in found] == ["a", "b"]
    assert (len(found), found[1]["text"], found["query"].text) == (2, "b", "Why?")
    assert [p.text for p in found[:1]] == ["a"]
    with pytest.raises(DataError, match="retriever"):
        Retrieved.of({"results": []})


def test_records_do_not_change() -> None:
    """Several branches may hold one record."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        Query("Why?").text = "How?"  # type: ignore[misc]


def test_steps_ride_along_and_all_of_it_becomes_json() -> None:
    """An answer can be explained, printed and sent."""
    query = Query("Why?").with_step("ask", 0.5, route="a")
    passage = Passage("x", source="a.md", metadata={"line": 1})
    prompt = Prompt("P", query, (passage,), system="S", steps=query.steps)
    assert [m["role"] for m in prompt.messages] == ["system", "user"]
    answer = Answer("x [1]", query, (Citation(1, "a.md", "a.md:1"),), (passage,), steps=query.steps)
    assert str(answer) == "x [1]\n[1] a.md:1"
    told = json.loads(json.dumps(answer.to_dict()))
    assert told["steps"] == [{"name": "ask", "elapsed_s": 0.5, "detail": {"route": "a"}}]
    assert told["passages"][0]["metadata"] == {"line": 1}
    assert pickle.loads(pickle.dumps(answer)) == answer
    assert {**passage}["text"] == passage.get("text") == "x"
    assert passage.get("nope", 1) == 1
    with pytest.raises(KeyError):
        passage["nope"]


def test_a_document_is_one_passage() -> None:
    """What a loader returns can be searched as it is, with its place and what is known of it."""
    passage = Passage.of(Document("Iron rusts.", source="iron.md", metadata={"title": "Iron"}))
    assert (passage.text, passage.place, passage["metadata"]) == (
        "Iron rusts.",
        "iron.md",
        {"title": "Iron"},
    )
    assert (passage.start, passage.end, bool(passage.doc_id)) == (0, 11, True)
