"""The chunker: its three promises for any text, and that it cuts where a reader would."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, models, pre_tokenizers

from sage.common.errors import ConfigError
from sage.common.records import Chunk, Document
from sage.libs.documents import TokenChunker, WordTokenizer


def whitespace_tokenizer() -> Tokenizer:
    """A real tokenizer: every word, mark and Chinese character is one (unknown) token."""
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Whitespace(),
            pre_tokenizers.Split(Regex("[\u4e00-\u9fff]"), "isolated"),
        ]
    )
    return tokenizer


class FakePairTokenizer:
    """Two characters make a token, blanks included: counts depend on where a text begins."""

    def encode(self, sequence: str, *, add_special_tokens: bool = True) -> Any:
        assert not add_special_tokens
        size = len(sequence)
        return SimpleNamespace(offsets=[(i, min(i + 2, size)) for i in range(0, size, 2)])


class FakeGreedyTokenizer(FakePairTokenizer):
    """Counts every character of a text that has no blank, and else words: pieces cost more."""

    def encode(self, sequence: str, *, add_special_tokens: bool = True) -> Any:
        if " " in sequence:
            return WordTokenizer().encode(sequence)
        return SimpleNamespace(offsets=[(i, i + 1) for i in range(len(sequence))])


TOKENIZERS = [whitespace_tokenizer(), WordTokenizer(), FakePairTokenizer(), FakeGreedyTokenizer()]


def assert_promises(text: str, chunks: list[Chunk], tokenizer: Any, limit: int) -> None:
    covered: set[int] = set()
    for chunk in chunks:
        assert text[chunk.start : chunk.end] == chunk.text
        assert chunk.text == chunk.text.strip() != ""
        count = len(tokenizer.encode(chunk.text, add_special_tokens=False).offsets)
        assert count <= limit, f"{count} tokens in {chunk.text!r}"
        covered.update(range(chunk.start, chunk.end))
    missing = [c for i, c in enumerate(text) if i not in covered and not c.isspace()]
    assert not missing, f"not in any chunk: {missing!r:.100}"
    starts = [chunk.start for chunk in chunks]
    assert starts == sorted(set(starts))
    assert len({chunk.chunk_id for chunk in chunks}) == len(chunks)


PIECES = [
    *[
        "word",
        "Water boils. ",
        "It is 3.5 degrees! ",
        "水在一百度沸腾。",
        "水",
        "，",
        "。",
        " ",
        "\n",
    ],
    *[
        "\n\n",
        "# Title\n",
        "## Sub\n\n",
        "Under\n===\n",
        "```\n",
        "~~~\n",
        "- item\n",
        "| a | b |\n",
    ],
    *["\t", "a" * 30, "x" * 300, "\u2028", "\u3000", "é", "🙂", "1. ", "---\n", "e.g. "],
]


@given(
    text=st.lists(st.sampled_from(PIECES), max_size=80).map("".join) | st.text(max_size=200),
    limit=st.integers(8, 30),
    overlap=st.integers(0, 15),
    tokenizer=st.sampled_from(TOKENIZERS),
    media_type=st.sampled_from(["text/markdown", "text/plain"]),
)
@example("a" * 500, 8, 0, FakePairTokenizer(), "text/plain")
@example("one two " * 20 + "x" * 40, 8, 4, FakeGreedyTokenizer(), "text/plain")
def test_every_chunk_keeps_the_three_promises(
    text: str, limit: int, overlap: int, tokenizer: Any, media_type: str
) -> None:
    """Offsets are exact, no chunk is too long by itself, no character that is not blank is lost."""
    chunker = TokenChunker(
        chunk_tokens=limit, overlap_tokens=min(overlap, limit // 2), tokenizer=tokenizer
    )
    chunks = chunker.chunk(Document(text, "d", "s", {"media_type": media_type}))
    assert_promises(text, chunks, tokenizer, limit)


def texts(text: str, *, limit: int = 12, overlap: int = 0) -> list[str]:
    chunker = TokenChunker(
        chunk_tokens=limit, overlap_tokens=overlap, tokenizer=whitespace_tokenizer()
    )
    return [chunk.text for chunk in chunker.chunk(Document(text))]


def test_what_fits_is_one_chunk() -> None:
    """Short texts are not cut, blank ones give nothing."""
    assert texts(" One. Two. \n") == ["One. Two."]
    assert texts(" \n\t ") == []
    assert texts("") == []


def test_sections_are_never_mixed() -> None:
    """A chunk ends where the next heading stands; a heading without text goes with the next."""
    text = "# A\n\n## B\n\nOne.\n\n## C\n\nTwo.\n"
    assert texts(text) == ["# A\n\n## B\n\nOne.", "## C\n\nTwo."]


def test_paragraphs_are_better_ends_than_sentences() -> None:
    """A chunk ends with a paragraph if it is half full by then, else with a sentence."""
    assert texts("One two three. Four five six.\n\nSeven eight. Nine ten.") == [
        "One two three. Four five six.",
        "Seven eight. Nine ten.",
    ]
    assert texts("One.\n\nTwo three four five six. Seven eight nine ten eleven.") == [
        "One.\n\nTwo three four five six.",
        "Seven eight nine ten eleven.",
    ]


def test_words_are_cut_apart_only_in_long_sentences() -> None:
    """A sentence longer than a chunk is cut at blanks, Chinese ones after a character."""
    words = " ".join(f"w{i}" for i in range(20))
    assert texts(words, limit=8) == [
        "w0 w1 w2 w3 w4 w5 w6 w7",
        "w8 w9 w10 w11 w12 w13 w14 w15",
        "w16 w17 w18 w19",
    ]
    assert texts("水" * 20, limit=8) == ["水" * 8, "水" * 8, "水" * 4]


def test_chinese_is_cut_behind_sentences() -> None:
    """Sentences end with the full-width marks, without blanks."""
    assert texts("水在一百度沸腾。冰在零度融化。", limit=10) == [
        "水在一百度沸腾。",
        "冰在零度融化。",
    ]


def test_a_code_fence_stays_whole_when_it_fits() -> None:
    """It is not parted for filling up the chunk before it; a longer one is cut at lines."""
    fence = "```\na = 1\n\nb = 2\n```"
    text = f"One two three four.\n\n{fence}\n\nFive."
    assert texts(text, limit=12) == ["One two three four.", fence + "\n\nFive."]
    long = "```\n" + "x = 1\n" * 10 + "```"
    assert all(t.count("x = 1") * 3 + t.count("```") == len(t.split()) for t in texts(long))


def test_a_heading_inside_code_is_none() -> None:
    """Comments of shell scripts do not begin sections."""
    chunker = TokenChunker(chunk_tokens=40, overlap_tokens=0, tokenizer=WordTokenizer())
    [chunk] = chunker.chunk(Document("# A\n\n```\n# comment\nls\n```\n"))
    assert chunk.metadata["heading"] == "A"


def test_overlap_repeats_whole_sentences() -> None:
    """Each chunk of a section begins with the last sentences of the one before."""
    text = "One two. Three four. Five six. Seven eight. Nine ten."
    assert texts(text, limit=9, overlap=4) == [
        "One two. Three four. Five six.",
        "Five six. Seven eight. Nine ten.",
    ]
    assert texts(text, limit=9, overlap=2) == [
        "One two. Three four. Five six.",
        "Seven eight. Nine ten.",
    ]


def test_overlap_does_not_cross_headings() -> None:
    """What stands under another heading is not repeated."""
    assert texts("# A\n\nOne.\n\n# B\n\nTwo.\n", overlap=6) == ["# A\n\nOne.", "# B\n\nTwo."]


def test_chunks_say_where_they_stand() -> None:
    """Lines count from the beginning of the file, headings are given as a path."""
    text = "# A\n\nOne.\n\n## B\n\nTwo.\n\nC\n=\n\nThree.\n\n#### D #\n\nFour.\n"
    chunker = TokenChunker(chunk_tokens=8, overlap_tokens=0, tokenizer=WordTokenizer())
    chunks = chunker.chunk(Document(text, metadata={"first_line": 4}))
    assert [chunk.metadata for chunk in chunks] == [
        {"line": 4, "heading": "A"},
        {"line": 8, "heading": "A > B"},
        {"line": 12, "heading": "C"},
        {"line": 17, "heading": "C > D"},
    ]


def test_chunks_of_a_pdf_know_their_page() -> None:
    """Pages are looked up by offset."""
    document = Document("One two.\n\nThree.", metadata={"page_offsets": [0, 10], "pages": 2})
    chunker = TokenChunker(chunk_tokens=8, overlap_tokens=0, tokenizer=FakePairTokenizer())
    assert [c.metadata for c in chunker.chunk(document)] == [{"page": 1}]
    chunks = chunker.chunk(Document("One two. " * 4 + "x", metadata={"page_offsets": [0, 20]}))
    assert [c.metadata["page"] for c in chunks] == [1 if c.start < 20 else 2 for c in chunks]
    assert {c.metadata["page"] for c in chunks} == {1, 2}


def test_plain_text_has_no_headings() -> None:
    """In a .txt file a number sign or a row of dashes is text."""
    chunker = TokenChunker(chunk_tokens=40, overlap_tokens=0, tokenizer=WordTokenizer())
    [chunk] = chunker.chunk(Document("# a\n\nb\n---\n\nc", metadata={"media_type": "text/plain"}))
    assert "heading" not in chunk.metadata


def test_too_much_overlap_is_refused() -> None:
    """A chunk that mostly repeats the one before is a mistake, found when the chunker is made."""
    with pytest.raises(ConfigError, match="at most half of chunk_tokens"):
        TokenChunker(chunk_tokens=20, overlap_tokens=11, tokenizer=WordTokenizer())
    with pytest.raises(ConfigError, match="did you mean 'chunk_tokens'"):
        TokenChunker(chunk_token=20)
