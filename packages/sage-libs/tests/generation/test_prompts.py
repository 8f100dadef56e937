"""Prompts: no blank reaches a model unfilled, and nothing is cut silently."""

from __future__ import annotations

import pytest

from sage.common.errors import ConfigError
from sage.common.records import Passage
from sage.libs.generation.prompts import Template, estimate_tokens, fit_passages, numbered

BOTH = ("context", "query")


def test_braces_in_a_document_stay_what_they_are() -> None:
    """What is filled in is not a template: neither a brace nor a placeholder in it is expanded."""
    template = Template.of('Say {{"a": 1}}.\n{context}\nQ: {query}', BOTH)
    filled = template.fill({"context": "{query} {0} {{", "query": "{context}?"})
    assert filled == 'Say {"a": 1}.\n{query} {0} {{\nQ: {context}?'


def test_a_blank_may_be_used_twice() -> None:
    """Each occurrence is filled."""
    assert (
        Template.of("{query}{context}{query}", BOTH).fill({"query": "q", "context": "c"}) == "qcq"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{contxt} {query}", "unknown placeholder '{contxt}'; did you mean 'context'?"),
        ("{context} {question}", "unknown placeholder '{question}'"),
        ("{context}", "placeholder '{query}' is missing"),
        ("no blanks at all", "placeholder '{context}' is missing"),
        ("{context} {query} {}", "unknown placeholder '{}'"),
        ("{context} {query!r}", "unknown placeholder '{query!r}'"),
        ("{context} {query:>9}", "unknown placeholder '{query:>9}'"),
        ('{context} {query} {"answer": 1}', "unknown placeholder"),
        ("{context} {query} }", "not a template"),
        ("{context} {query", "not a template"),
    ],
)
def test_a_template_that_would_leak_is_refused_when_it_is_made(text: str, message: str) -> None:
    """Unknown, missing and malformed placeholders are refused, with a suggestion and the rule."""
    with pytest.raises(ConfigError) as refused:
        Template.of(text, BOTH, owner="QAPromptor")
    assert message in str(refused.value)
    assert "{{ and }}" in str(refused.value)


def test_every_problem_of_a_template_is_told_at_once() -> None:
    """Two typos give two problems."""
    with pytest.raises(ConfigError) as refused:
        Template.of("{contxt} {qery}", BOTH)
    assert len(refused.value.problems) == 2


def test_the_context_is_numbered_as_citations_are() -> None:
    """Passage n stands behind ``[n]``, with its place where it has a source."""
    passages = [Passage("One. ", source="a.md", metadata={"line": 3}), Passage("Two.", doc_id="x")]
    assert numbered(passages) == "[1] (a.md:3) One.\n\n[2] Two."


def test_a_budget_keeps_the_best_and_tells_what_it_left_out() -> None:
    """Passages are kept best first, whole, while they fit; the rest is counted."""
    passages = [Passage("a" * 40), Passage("b" * 40), Passage("c" * 40)]
    fitted = fit_passages(passages, 20)
    assert (fitted.passages, fitted.dropped, fitted.shortened) == (tuple(passages[:2]), 1, False)
    assert fit_passages(passages, None).passages == tuple(passages)
    assert fit_passages([], 5).passages == ()


def test_a_first_passage_that_is_too_long_loses_whole_sentences() -> None:
    """The best passage is never left out, only cut behind a sentence, and that is told."""
    passage = Passage("One two three. Four five six. Seven.", start=10, end=46)
    fitted = fit_passages([passage, passage], 8)
    assert fitted.shortened
    assert fitted.dropped == 1
    assert fitted.passages[0].text == "One two three. Four five six. "
    assert fitted.passages[0].end == 40
    assert fit_passages([passage], 1).passages[0].text == "One two three. "


def test_chinese_costs_a_token_a_character() -> None:
    """The estimate does not take Chinese for English."""
    assert estimate_tokens("检查点承诺什么") == 7
    assert estimate_tokens("") == 0
