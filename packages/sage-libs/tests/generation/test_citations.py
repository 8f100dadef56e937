"""Citations: every number in an answer stands for a passage that was given."""

from __future__ import annotations

import pytest

from sage.common.records import Passage
from sage.libs.generation.citations import check_citations, cited_numbers

TWO = (
    Passage("Boils.", doc_id="a", source="a.md", metadata={"line": 3}),
    Passage("Freezes.", doc_id="b", passage_id="b#1", source="b.pdf", metadata={"page": 2}),
)


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("Nothing.", []),
        ("It boils [1].", [1]),
        ("It boils[2][1].", [1, 2]),
        ("Both [1, 2] and [1–3].", [1, 2, 3]),
        ("A link [1](https://example.org), a year [2019], `code[1]`.", []),
        ("```\nx[1]\n``` and [2]", [2]),
        ("[citation needed] [a1] [1", []),
        ("[9-2]", [2, 9]),
    ],
)
def test_numbers_are_read_as_people_write_them(text: str, numbers: list[int]) -> None:
    """Lists, ranges and neighbours count; links, years and code do not."""
    assert cited_numbers(text) == numbers


def test_citations_name_the_place_of_their_passage() -> None:
    """A citation carries the number, the source and the place, in the order of the numbers."""
    checked = check_citations("It freezes [2] and boils [1].", TWO)
    assert [(c.number, c.source, c.place) for c in checked.citations] == [
        (1, "a.md", "a.md:3"),
        (2, "b.pdf", "b.pdf, page 2"),
    ]
    assert checked.citations[1].passage_id == "b#1"
    assert checked.dropped == ()


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("It melts [7].", "It melts."),
        ("It melts [0].", "It melts."),
        ("It melts [2, 7].", "It melts [2]."),
        ("It melts [1-4].", "It melts [1, 2]."),
        ("It melts [7] [1], `x[7]`.", "It melts [1], `x[7]`."),
    ],
)
def test_numbers_beyond_the_passages_are_dropped_and_reported(text: str, kept: str) -> None:
    """A number that no passage has leaves the text, and the caller is told."""
    checked = check_citations(text, TWO)
    assert checked.text == kept
    assert checked.dropped
    assert all(1 <= c.number <= 2 for c in checked.citations)


def test_an_answer_without_passages_cites_nothing() -> None:
    """With nothing to cite, every number goes."""
    checked = check_citations("So it is [1].", ())
    assert (checked.text, checked.citations, checked.dropped) == ("So it is.", (), (1,))
