"""Generators on a stream: they take what the stage before gives, and lose nothing of it."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from sage.common.config import config_schema
from sage.common.core.functions import MapFunction
from sage.common.errors import DataError, MissingKeyError
from sage.common.records import Passage, Prompt, Query, Retrieved
from sage.libs import generation
from sage.libs.embedding import MockTextEmbedder
from sage.libs.generation.extractive import NO_PASSAGES
from sage.libs.generation.testing import FakeOpenAIServer
from sage.middleware.operators.rag import (
    ExtractiveGenerator,
    OpenAIGenerator,
    OpenAIGeneratorOperator,
)

FOUND = Retrieved(Query("When does water boil?"), (Passage("Water boils at 100.", source="a.md"),))


def test_they_are_map_functions_and_the_generators_of_libs() -> None:
    """One declaration serves both: the options, their schema and the text are the same."""
    for name in ("ExtractiveGenerator", "OpenAIGenerator"):
        operator = {"ExtractiveGenerator": ExtractiveGenerator, "OpenAIGenerator": OpenAIGenerator}[
            name
        ]
        library = getattr(generation, name)
        assert issubclass(operator, MapFunction)
        assert issubclass(operator, library)
        assert config_schema(operator) == config_schema(library)
    assert OpenAIGeneratorOperator is OpenAIGenerator


def test_an_answer_comes_of_a_prompt_or_of_passages() -> None:
    """A generator right behind a retriever prompts by itself, and says so in the steps."""
    generator = ExtractiveGenerator(model="mock:64", preface="")
    for record in (FOUND, {"query": "When does water boil?", "passages": FOUND.passages}):
        answer = generator.map(record)
        assert answer.text == "Water boils at 100. [1]"
        assert [step.name for step in answer.steps] == ["prompt", "generate"]
    prompt = Prompt("text", FOUND.query, FOUND.passages)
    assert generator.map(prompt).text == "Water boils at 100. [1]"


def test_a_question_by_itself_has_no_passages() -> None:
    """Text and queries are asked as they stand; the extractive generator has nothing to quote."""
    assert ExtractiveGenerator().map("When?").text == NO_PASSAGES
    with FakeOpenAIServer() as server, OpenAIGenerator(base_url=server.base_url) as generator:
        assert generator.map({"question": "When?"}).text == "You said: When?"


@pytest.mark.parametrize(
    "record", [{"query": "When?", "results": [{"text": "At 100."}]}, 7, None, {"a": 1}, ""]
)
def test_passages_under_another_name_are_refused_not_lost(record: Any) -> None:
    """A record whose documents would be dropped is an error, not an answer without them."""
    with pytest.raises(DataError):
        ExtractiveGenerator().map(record)


def test_the_prompt_that_is_sent_has_the_passages() -> None:
    """What was retrieved is what the endpoint reads."""
    with FakeOpenAIServer(["At 100 [1]."]) as server:
        with OpenAIGenerator(base_url=server.base_url, model="m") as generator:
            answer = generator.map(FOUND)
        assert (
            "[1] (a.md) Water boils at 100." in server.requests[0].body["messages"][-1]["content"]
        )
    assert [c.source for c in answer.citations] == ["a.md"]


def test_a_missing_key_is_told_when_the_pipeline_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the first record finds out, but the constructor."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(MissingKeyError, match="OPENAI_API_KEY"):
        OpenAIGenerator(model="gpt-3.5-turbo")


def test_copies_share_an_embedder_that_cannot_be_copied() -> None:
    """Each parallel instance gets a copy of the generator; the model is loaded once."""

    class Uncopyable(MockTextEmbedder):
        def __deepcopy__(self, memo: object) -> None:
            raise TypeError("cannot be copied")

    generator = ExtractiveGenerator(embedder=Uncopyable(fixed_dim=64), preface="")
    assert copy.deepcopy(generator).map(FOUND).text == "Water boils at 100. [1]"
