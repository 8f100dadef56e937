"""Promptors: the documents that were retrieved reach the prompt, numbered, or it is an error."""

from __future__ import annotations

from typing import Any

import pytest

from sage.common.errors import ConfigError, DataError
from sage.common.records import Passage, Query, Retrieved, Step
from sage.middleware.operators.rag import QAPromptor, SummarizationPromptor

FOUND = Retrieved(
    Query("When does {query} boil?"),
    (
        Passage("At 100 {context}.", source="a.md", metadata={"line": 3}),
        Passage("Later, on a mountain.", doc_id="b"),
    ),
    steps=(Step("retrieve", 0.1),),
)
SEED_TEMPLATE = "Answer based on context: {context}\nQ: {query}\nA:"


def test_passages_are_numbered_and_the_template_is_filled() -> None:
    """The template of the first page works; braces in documents and questions stay."""
    prompt = QAPromptor(template=SEED_TEMPLATE).map(FOUND)
    assert prompt.text == (
        "Answer based on context: [1] (a.md:3) At 100 {context}.\n\n"
        "[2] Later, on a mountain.\nQ: When does {query} boil?\nA:"
    )
    assert prompt.passages == FOUND.passages
    assert prompt.query == FOUND.query


def test_the_system_message_asks_for_citations_unless_told_otherwise() -> None:
    """A template that says nothing of citations still gets them; an empty system sends none."""
    assert "[1]" in (QAPromptor(template=SEED_TEMPLATE).map(FOUND).system or "")
    assert QAPromptor(system="").map(FOUND).messages[0]["role"] == "user"


def test_a_stage_adds_its_step() -> None:
    """Time and size of the prompt ride along."""
    prompt = QAPromptor().map(FOUND)
    assert [step.name for step in prompt.steps] == ["retrieve", "prompt"]
    assert prompt.steps[-1].detail["context_tokens"] > 5


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{contxt} {query}", "did you mean 'context'?"),
        ("{context} {querry}", "did you mean 'query'?"),
        ("Answer!", "placeholder '{context}' is missing"),
        ('{context} {query} {"a": 1}', "write {{ and }}"),
    ],
)
def test_a_placeholder_never_reaches_a_model(template: str, said: str) -> None:
    """A template whose placeholder nobody fills is refused when the pipeline is built."""
    with pytest.raises(ConfigError) as refused:
        QAPromptor(template=template)
    assert said in str(refused.value)
    assert "QAPromptor" in str(refused.value)


def test_literal_braces_are_doubled() -> None:
    """JSON in a template is written with doubled braces."""
    text = QAPromptor(template='{context}{query} {{"a": 1}}').map(FOUND).text
    assert text.endswith('{"a": 1}')


@pytest.mark.parametrize(
    "record",
    [
        {"query": "When?", "results": [{"text": "At 100."}]},
        {"query": "When?", "retrieval_results": [{"text": "At 100."}]},
        {"query": "When?", "coarse_results": [], "fine_results": []},
        "When?",
        Query("When?"),
        7,
        None,
    ],
)
def test_documents_under_another_name_are_refused_not_lost(record: Any) -> None:
    """What is not retrieved passages is an error that names what came, never an empty context."""
    with pytest.raises(DataError) as refused:
        QAPromptor().map(record)
    assert "QAPromptor expected retrieved passages" in str(refused.value)
    if isinstance(record, dict):
        assert str(sorted(record)) in str(refused.value)


def test_a_mapping_with_query_and_passages_is_retrieved_passages() -> None:
    """Plain data from elsewhere is taken when it says what it is."""
    prompt = QAPromptor().map({"query": "When?", "passages": [{"text": "At 100.", "doc_id": "a"}]})
    assert "[1] At 100." in prompt.text
    assert prompt.passages[0].doc_id == "a"


def test_nothing_found_is_said_in_the_prompt() -> None:
    """An empty context is not an empty string that a model fills from its memory."""
    assert "(no passages were found)" in QAPromptor().map(Retrieved(Query("When?"))).text


def test_a_budget_drops_from_the_end_and_says_so() -> None:
    """Nothing is cut silently: the step counts what was left out, and the numbers still fit."""
    prompt = QAPromptor(max_context_tokens=6).map(FOUND)
    assert len(prompt.passages) == 1
    assert prompt.steps[-1].detail["dropped_passages"] == 1
    assert "[2]" not in prompt.text
    first = QAPromptor(max_context_tokens=1).map(FOUND)
    assert first.steps[-1].detail["shortened_passages"] == 1


def test_a_summary_needs_no_question() -> None:
    """The summarizing template may use the question and must use the context."""
    assert "At 100" in SummarizationPromptor().map(FOUND).text
    assert "boil?" in SummarizationPromptor(template="{context} {query}").map(FOUND).text
    with pytest.raises(ConfigError, match="SummarizationPromptor"):
        SummarizationPromptor(template="{query}")


def test_unknown_options_are_refused_with_a_suggestion() -> None:
    """A typo in the config is an error when the pipeline is built."""
    with pytest.raises(ConfigError, match="did you mean 'template'"):
        QAPromptor(templat="{context}{query}")  # type: ignore[call-arg]
