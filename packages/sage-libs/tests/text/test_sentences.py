"""Sentences: the spans tile the text, and stand where a reader would put them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage.libs.text.sentences import split_sentences

_PIECES = [
    *"。！？.!?…,;:'\"”’)]`*_#|->1aAZé字",
    " ",
    "\n",
    "\n\n",
    "\r\n",
    "\t",
    "```\n",
    "- ",
    "1. ",
    "Dr.",
    "e.g.",
    "U.S.",
    "\u2028",
    "\x0b",
    "\u3000",
    "word",
    "The",
]


def sentences(text: str) -> list[str]:
    return [text[a:b].strip() for a, b in split_sentences(text)]


def assert_tiles(text: str) -> None:
    spans = split_sentences(text)
    assert [a for a, _ in spans] == [0, *(b for _, b in spans)][: len(spans)]
    assert all(a < b for a, b in spans)
    assert (spans[-1][1] if spans else 0) == len(text)


@given(st.text())
def test_spans_tile_any_text(text: str) -> None:
    """The spans tile any text exactly."""
    assert_tiles(text)


@given(st.lists(st.sampled_from(_PIECES), max_size=40).map("".join))
def test_spans_tile_text_full_of_marks(text: str) -> None:
    """The spans tile text made of the very marks that the rules look at."""
    assert_tiles(text)


@given(st.lists(st.sampled_from(_PIECES), max_size=40).map("".join))
def test_no_span_is_blank_unless_the_text_is(text: str) -> None:
    """Blanks belong to a sentence; none consists of blanks alone."""
    if text.strip():
        assert all(text[a:b].strip() for a, b in split_sentences(text))


@given(st.lists(st.sampled_from(_PIECES), max_size=40).map("".join))
def test_words_are_never_torn(text: str) -> None:
    """Outside Chinese, a boundary stands behind a blank, never inside a word or number."""
    for _, end in split_sentences(text)[:-1]:
        assert text[end - 1].isspace() or any(mark in text[:end] for mark in "。！？｡")
        assert not (text[end - 1].isalnum() and text[end].isalnum())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("One.", ["One."]),
        ("One. Two.", ["One.", "Two."]),
        ("No end", ["No end"]),
        ("Wrapped\nline. Next\none.", ["Wrapped\nline.", "Next\none."]),
        ("It took 3.5 s. Then 4.", ["It took 3.5 s.", "Then 4."]),
        (
            "Dr. Wu and Mr. J. R. Hale met. All left.",
            ["Dr. Wu and Mr. J. R. Hale met.", "All left."],
        ),
        ("See Fig. 3. It shows it.", ["See Fig. 3.", "It shows it."]),
        ("Use a store, e.g. Chroma. Done.", ["Use a store, e.g. Chroma.", "Done."]),
        ("He met the U.S. Army. OK.", ["He met the U.S. Army.", "OK."]),
        ("He is in the U.S. The rest is not.", ["He is in the U.S.", "The rest is not."]),
        ("It is No. 5. No. Never.", ["It is No. 5.", "No.", "Never."]),
        ("Apples, pears, etc. They sell.", ["Apples, pears, etc.", "They sell."]),
        ('He said "Go." She went.', ['He said "Go."', "She went."]),
        ('"Really?" he asked. Yes.', ['"Really?" he asked.', "Yes."]),
        (
            "Import sage.kernel first. `close` ends it.",
            ["Import sage.kernel first.", "`close` ends it."],
        ),
        ("Wait... what? Yes!", ["Wait... what?", "Yes!"]),
        ("It was so.[3] Then not.[4][5] End.", ["It was so.[3]", "Then not.[4][5]", "End."]),
        ("So do I. He left.", ["So do I.", "He left."]),
        ("它会结束。为什么？因为没有输入！", ["它会结束。", "为什么？", "因为没有输入！"]),
        ("他说：“走吧。”她走了。", ["他说：“走吧。”", "她走了。"]),
        ("版本是 3.5。下一个是 4.0。", ["版本是 3.5。", "下一个是 4.0。"]),
    ],
)
def test_sentences_stand_where_a_reader_puts_them(text: str, expected: list[str]) -> None:
    """Abbreviations, decimals, initials and quotes do not fool it; Chinese needs no blanks."""
    assert sentences(text) == expected


def test_blocks_of_markdown_are_not_crossed() -> None:
    """Headings, list items, table rows and lines of code are sentences of their own."""
    text = (
        "# Title\nA line\nthat goes on. Next.\n\n"
        "1. First item. It has two.\n2. Second\n- dash\n  goes on\n\n"
        "| a | b |\n|---|---|\n| 1 | 2 |\n\n```python\nx = 1. \ny = 2\n```\nAfter."
    )
    assert sentences(text) == [
        "# Title",
        "A line\nthat goes on.",
        "Next.",
        "1. First item.",
        "It has two.",
        "2. Second",
        "- dash\n  goes on",
        "| a | b |",
        "|---|---|",
        "| 1 | 2 |",
        "```python",
        "x = 1.",
        "y = 2",
        "```",
        "After.",
    ]


def test_a_title_above_a_blank_line_is_a_sentence() -> None:
    """A plain-text title without a full stop does not run into the paragraph below."""
    assert sentences("On Streams\n\nThey flow. Always.") == ["On Streams", "They flow.", "Always."]
