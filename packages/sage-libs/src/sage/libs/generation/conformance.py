"""Conformance suite: what every generator must do, as tests that any generator can run.

In a test module of the generator::

    class TestMyGenerator(GeneratorConformance):
        @pytest.fixture
        def generator(self):
            return MyGenerator()

Needs pytest. The question is one that the passages answer.
"""

from __future__ import annotations

from typing import Any

from sage.common.records import Answer, Passage, Prompt, Query, Step
from sage.libs.generation.citations import cited_numbers
from sage.libs.generation.generator import Generator

__all__ = ["GeneratorConformance"]

_PASSAGES = (
    Passage("Water boils at 100 degrees.", doc_id="a", source="water.md", metadata={"line": 3}),
    Passage("Iron rusts in wet air.", doc_id="b", source="iron.md"),
)
_PROMPT = Prompt(
    "[1] Water boils at 100 degrees.\n[2] Iron rusts in wet air.\nWhen does water boil?",
    Query("When does water boil?", metadata={"user": "u"}),
    _PASSAGES,
    steps=(Step("retrieve", 0.1),),
)


class GeneratorConformance:
    """The promises of `Generator`; a subclass gives the ``generator`` fixture."""

    def test_it_is_a_generator(self, generator: Any) -> None:
        """It has both methods of the protocol."""
        assert isinstance(generator, Generator)

    def test_an_answer_belongs_to_its_question(self, generator: Generator) -> None:
        """Question and passages come back unchanged; there is a text, and who wrote it."""
        answer = generator.generate(_PROMPT)
        assert answer.query == _PROMPT.query
        assert answer.passages == _PASSAGES
        assert answer.text
        assert answer.model

    def test_every_number_in_the_text_is_a_citation_of_a_passage(
        self, generator: Generator
    ) -> None:
        """What the text cites is listed, and stands for a passage that was given."""
        answer = generator.generate(_PROMPT)
        assert [c.number for c in answer.citations] == cited_numbers(answer.text)
        for citation in answer.citations:
            passage = _PASSAGES[citation.number - 1]
            assert (citation.source, citation.doc_id) == (passage.source, passage.doc_id)

    def test_the_stage_adds_one_timed_step(self, generator: Generator) -> None:
        """Earlier steps stay, and the time of this one is measured."""
        steps = generator.generate(_PROMPT).steps
        assert [step.name for step in steps] == ["retrieve", "generate"]
        assert steps[-1].elapsed_s > 0

    def test_a_stream_ends_in_the_answer(self, generator: Generator) -> None:
        """Pieces of text come first, the answer last and once."""
        *pieces, answer = generator.stream(_PROMPT)
        assert isinstance(answer, Answer)
        assert pieces
        assert all(isinstance(piece, str) for piece in pieces)
        assert cited_numbers(answer.text) == [c.number for c in answer.citations]

    def test_it_works_without_passages(self, generator: Generator) -> None:
        """Nothing retrieved is no failure, and nothing is cited then."""
        answer = generator.generate(Prompt("When?", Query("When?")))
        assert answer.text
        assert answer.citations == ()
