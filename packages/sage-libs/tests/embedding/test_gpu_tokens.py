"""The tokenizer that remembers words, against the one that does not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage.libs.embedding import gpu_tokens, load_tokenizer
from sage.libs.embedding.gpu_tokens import CachedTokenizer, TokenIds, joined

# What could tell where the tokenizer splits: blanks and controls of all kinds, accents alone and
# composed, Chinese, punctuation inside and outside of ASCII, special tokens whole and broken.
PARTS = [
    *(
        "a",
        "B",
        "é",
        "e\u0301",
        "\u0301",
        "ß",
        "İ",
        "Σ",
        "ς",
        "ﬁ",
        "水",
        "\u200b",
        "\ufffd",
        "\x00",
    ),
    *(
        " ",
        "\t",
        "\n",
        "\r",
        "\u3000",
        "\xa0",
        "\u2028",
        "\x0b",
        "\x0c",
        "\x1c",
        "\x1e",
        "\x7f",
        "\x85",
    ),
    *("-", "--", "'", "_", "`", "~", "“", "№", "…", "☂", "👩\u200d🚀", "[", "SEP", "]", "##ing"),
    "[SE\x1eP]",
    *("[CLS]", "[SEP]", "[sep]", "word", "unaffable", "x" * 120, "  ", "don't", "3.14", "U.S.A."),
]
texts = st.lists(st.lists(st.sampled_from(PARTS), max_size=8).map("".join), min_size=1, max_size=4)


def expected(given: Sequence[str], most: int) -> list[list[int]]:
    ids = [encoding.ids for encoding in load_tokenizer().encode_batch(list(given))]
    return [own if len(own) <= most else [*own[: most - 1], own[-1]] for own in ids]


def as_lists(tokens: TokenIds) -> list[list[int]]:
    return [part.tolist() for part in np.split(tokens.flat, np.cumsum(tokens.lengths))[:-1]]


@pytest.fixture(scope="module")
def tokenizer() -> CachedTokenizer:
    return CachedTokenizer(load_tokenizer(), 16)


@given(texts | st.lists(st.text(max_size=20), min_size=1, max_size=4))
def test_gives_the_same_ids(tokenizer: CachedTokenizer, given: list[str]) -> None:
    """Any texts have the tokens that the tokenizer gives them, cut at the same place."""
    clean = [text.encode("utf-8", "replace").decode("utf-8") for text in given]
    assert as_lists(tokenizer.encode(joined(clean))) == expected(clean, 16)


def test_splits_where_the_tokenizer_splits(tokenizer: CachedTokenizer) -> None:
    """Any two of them between letters have the same tokens."""
    plain = [part for part in PARTS if part not in ("[CLS]", "[SEP]")]
    pairs = [f"ab{one}{other}cd" for one in plain for other in plain]
    assert as_lists(tokenizer.encode(joined(pairs))) == expected(pairs, 16)


def test_remembers_words() -> None:
    """A word goes through the tokenizer once."""
    seen: list[str] = []

    class Counting:
        """A tokenizer that writes down what it is asked."""

        def __getattr__(self, name: str) -> object:
            return getattr(load_tokenizer(), name)

        def encode_batch_fast(self, words: list[str], **options: bool) -> object:
            seen.extend(words)
            return load_tokenizer().encode_batch_fast(words, **options)

    tokenizer = CachedTokenizer(Counting(), 16)  # type: ignore[arg-type]
    for _ in range(2):
        tokenizer.encode(joined(["red cat", "red, red"]))
    assert sorted(seen) == [",", "cat", "red"]


def test_forgets(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it remembers is bounded, and it is right after it has forgotten."""
    monkeypatch.setattr(gpu_tokens, "_MOST_CHARACTERS", 10)
    tokenizer = CachedTokenizer(load_tokenizer(), 16)
    for n in range(20):
        several = [f"word{n} again", f"other{n}"]
        assert as_lists(tokenizer.encode(joined(several))) == expected(several, 16)
        assert len(tokenizer._known) < 8


def test_padded() -> None:
    """Rows are taken in the order asked for, zeros behind; the last text's row too."""
    tokens = TokenIds(np.arange(1, 7, dtype=np.int32), np.array([2, 1, 3], dtype=np.int32))
    out = np.full((3, 4), -1, dtype=np.int32)
    tokens.padded(np.array([2, 0, 1]), out)
    assert out.tolist() == [[4, 5, 6, 0], [1, 2, 0, 0], [3, 0, 0, 0]]


def test_a_separator_left_out_makes_no_special_token(tokenizer: CachedTokenizer) -> None:
    """What a text only spells in pieces stays text."""
    given = ["[SE\x1eP] end", "a\x1eb", "\x1e"]
    assert as_lists(tokenizer.encode(joined(given))) == expected(given, 16)
