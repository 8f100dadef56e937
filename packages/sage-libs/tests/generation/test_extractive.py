"""The extractive generator: it quotes what answers, cites it, and says when nothing does."""

from __future__ import annotations

import pytest

from sage.common.errors import ConfigError
from sage.common.records import Answer, Passage, Prompt, Query, Step
from sage.libs.embedding import MockTextEmbedder
from sage.libs.generation import Generator
from sage.libs.generation.citations import cited_numbers
from sage.libs.generation.extractive import NO_ANSWER, NO_PASSAGES, PREFACE, ExtractiveGenerator
from sage.libs.generation.quotable import quotable_sentences
from sage.libs.generation.sentence_ranking import rank_sentences

PASSAGES = (
    Passage(
        "# Units\n\nIron rusts in water.\nWater boils at 100 degrees Celsius.",
        doc_id="a",
        passage_id="a#0",
        source="a.md",
        metadata={"line": 10},
    ),
    Passage("Paris lies on the Seine. Water boils sooner on a mountain.", doc_id="b"),
)


def prompt(question: str, *passages: Passage) -> Prompt:
    return Prompt("not read", Query(question), passages, steps=(Step("retrieve", 0.1),))


@pytest.fixture
def generator() -> ExtractiveGenerator:
    return ExtractiveGenerator(embedder=MockTextEmbedder(fixed_dim=256), preface="")


def test_it_quotes_in_order_with_numbers(generator: ExtractiveGenerator) -> None:
    """The sentences that answer are quoted as they stand, in their order, each with its [n]."""
    answer = generator.generate(prompt("When does water boil?", *PASSAGES))
    assert answer.text == (
        "Water boils at 100 degrees Celsius. [1] Water boils sooner on a mountain. [2]"
    )
    assert [(c.number, c.quote) for c in answer.citations] == [
        (1, "Water boils at 100 degrees Celsius."),
        (2, "Water boils sooner on a mountain."),
    ]
    assert answer.passages == PASSAGES


def test_a_sentence_that_points_back_is_quoted_with_the_one_before() -> None:
    """Nobody knows what "It" is without it; the limit holds, and another heading is no context."""
    passage = Passage(
        "Cats sleep. The samovar is a Russian kettle. It heats water with charcoal.\n\n"
        "# Other\n\nIt melts snow with charcoal and heats water.",
        doc_id="a",
    )

    def quoted(limit: int) -> str:
        embedder = MockTextEmbedder(fixed_dim=256)
        generator = ExtractiveGenerator(embedder=embedder, preface="", max_sentences=limit)
        return generator.generate(prompt("What heats water with charcoal?", passage)).text

    assert quoted(2) == "The samovar is a Russian kettle. It heats water with charcoal. [1]"
    assert quoted(1) == "It heats water with charcoal. [1]"
    assert "It melts snow with charcoal and heats water." in quoted(3)
    assert "Cats" not in quoted(3)


def test_a_citation_points_at_the_line_of_the_quote(generator: ExtractiveGenerator) -> None:
    """The place is the quoted line, not the first line of the passage."""
    answer = generator.generate(prompt("When does water boil?", *PASSAGES))
    assert [c.place for c in answer.citations] == ["a.md:13", "b"]
    assert answer.citations[0].passage_id == "a#0"


def test_it_says_that_it_is_extractive() -> None:
    """The first line, the model and the step say so; nobody takes it for a model's answer."""
    answer = ExtractiveGenerator(model="mock:64").generate(prompt("water boils when?", *PASSAGES))
    assert answer.text.startswith(PREFACE)
    assert "extractive" in PREFACE
    assert answer.model == "extractive"
    assert answer.steps[-1].detail["extractive"] is True
    assert [step.name for step in answer.steps] == ["retrieve", "generate"]


def test_without_a_match_it_says_so(generator: ExtractiveGenerator) -> None:
    """When no sentence matches it does not quote the least bad one, and cites nothing."""
    answer = generator.generate(prompt("Who composed the Marseillaise?", *PASSAGES))
    assert (answer.text, answer.citations) == (NO_ANSWER, ())
    assert answer.steps[-1].detail["best_match"] < 0.42


def test_without_passages_it_says_so(generator: ExtractiveGenerator) -> None:
    """Nothing retrieved is told apart from nothing found; passages of pure code hold nothing."""
    assert generator.generate(prompt("When?")).text == NO_PASSAGES
    assert generator.generate(prompt("When?", Passage("```\nx = 1\n```"))).text == NO_ANSWER


@pytest.mark.parametrize("most", [1, 2])
def test_it_quotes_no_more_than_asked(most: int) -> None:
    """max_sentences is an upper bound."""
    passage = Passage("Water boils. Water boils hot. Water boils now. Water boils at sea level.")
    generator = ExtractiveGenerator(max_sentences=most, model="mock:64", preface="", min_match=0.1)
    answer = generator.generate(prompt("water boils", passage))
    assert answer.text.count("Water") <= most
    assert cited_numbers(answer.text) == [1]


def test_weak_sentences_do_not_fill_up_the_answer(generator: ExtractiveGenerator) -> None:
    """A sentence that only shares a word with the question is not quoted beside a good one."""
    passage = Passage("Checkpoints promise exactly-once state. Water is wet. A promise is a word.")
    answer = generator.generate(prompt("What do checkpoints promise about state?", passage))
    assert answer.text == "Checkpoints promise exactly-once state. [1]"


def test_neighbours_share_a_number_and_items_get_a_stop(generator: ExtractiveGenerator) -> None:
    """Quotes join into running text."""
    passage = Passage("- water boils at 100 degrees\n- water boils at 90 degrees up high\n")
    answer = generator.generate(prompt("water boils at degrees", passage))
    assert answer.text == "water boils at 100 degrees. water boils at 90 degrees up high. [1]"


def test_streaming_ends_in_the_same_answer(generator: ExtractiveGenerator) -> None:
    """The quotes are found all at once: one piece, then the answer."""
    asked = prompt("When does water boil?", *PASSAGES)
    text, answer = generator.stream(asked)
    assert isinstance(generator, Generator)
    assert isinstance(answer, Answer)
    assert text == answer.text == generator.generate(asked).text


def test_options_are_checked() -> None:
    """A wrong option is refused with a suggestion when the generator is made."""
    with pytest.raises(ConfigError, match="did you mean 'max_sentences'"):
        ExtractiveGenerator(max_sentence=3)  # type: ignore[call-arg]
    with pytest.raises(ConfigError, match="max_sentences"):
        ExtractiveGenerator(max_sentences=0)


def test_meaning_and_words_weigh_the_same() -> None:
    """A sentence best in both comes first, and scores lie between 0 and 1."""
    sentences = quotable_sentences(PASSAGES)
    ranked = rank_sentences("water boils 100 degrees", sentences, MockTextEmbedder(fixed_dim=256))
    assert ranked[0].sentence.text == "Water boils at 100 degrees Celsius."
    assert ranked[0].score == pytest.approx(1.0)
    assert ranked[0].coverage == 1.0
    assert all(0.0 <= s.score <= 1.0 for s in ranked)
    assert rank_sentences("anything", [], MockTextEmbedder()) == []


def test_with_the_real_model_it_tells_answers_from_neighbours() -> None:
    """MiniLM finds the answer without a shared word, and declines a question of the same field."""
    generator = ExtractiveGenerator(preface="")
    passage = Passage(
        "The capital of France is Paris, with two million inhabitants. "
        "Its army is led by the president. The country exports wine."
    )
    answer = generator.generate(prompt("How many people live in the French capital?", passage))
    assert answer.text == "The capital of France is Paris, with two million inhabitants. [1]"
    declined = generator.generate(prompt("Which chemical element has the symbol Fe?", passage))
    assert declined.text == NO_ANSWER


def test_chinese_is_answered_in_chinese() -> None:
    """A Chinese question finds its Chinese sentence."""
    generator = ExtractiveGenerator(preface="")
    passage = Passage("检查点在故障之后恢复状态。水在一百度沸腾。巴黎位于塞纳河畔。")
    answer = generator.generate(prompt("水在多少度沸腾？", passage))
    assert answer.text == "水在一百度沸腾。 [1]"
