"""Reranking, and late interaction in particular."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sage.common.errors import ConfigError, DataError
from sage.libs.embedding.mock import MockTextEmbedder
from sage.libs.rerank import LateInteractionReranker, Reranker, TokenCache, load_reranker, rerank


class FakeTokens:
    """A fake embedder: each letter is a token, ``a`` to ``d`` the four axes, ``m`` between a, b."""

    model = "letters"
    dim = 4

    def __init__(self) -> None:
        self.asked: list[str] = []

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        raise AssertionError("late interaction needs no vectors of whole texts")

    def embed_tokens(self, texts: Sequence[str]) -> list[npt.NDArray[np.float32]]:
        self.asked += texts
        axes = dict(zip("abcd", np.eye(4, dtype=np.float32), strict=True))
        axes["m"] = np.float32([0.6, 0.8, 0, 0])
        return [
            np.stack([axes[letter] for letter in text])
            if text
            else np.empty((0, 4), dtype=np.float32)
            for text in texts
        ]

    def reads(self, text: str) -> float:
        return sum(letter in "abcdm" for letter in text) / len(text) if text else 1.0


class FakeReranker:
    """A fake that gives the scores it was made with, and reads only so much."""

    model = "fake"

    def __init__(self, scores: Sequence[float], reads: float = 1.0) -> None:
        self._scores, self._reads, self.calls = np.float32(scores), reads, 0

    def scores(self, query: str, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        self.calls += 1
        return self._scores

    def reads(self, text: str) -> float:
        return self._reads


def test_maxsim_by_hand() -> None:
    """The score is the mean over the question's tokens of the best cosine in the passage."""
    reranker = LateInteractionReranker(embedder=FakeTokens())
    scores = reranker.scores("ab", ["ab", "a", "m", "cd", "", "mma"])
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, [1, 0.5, (0.6 + 0.8) / 2, 0, 0, (1 + 0.8) / 2], atol=0.005)
    assert isinstance(reranker, Reranker)


def test_without_tokens_nothing_is_preferred() -> None:
    """A question without tokens scores all passages alike; no passages give no scores."""
    reranker = LateInteractionReranker(embedder=FakeTokens())
    assert reranker.scores("", ["ab", "c"]).tolist() == [0, 0]
    assert reranker.scores("a", []).shape == (0,)
    with pytest.raises(DataError, match="one text"):
        reranker.scores("a", "ab")


@settings(max_examples=40)
@given(
    query=st.text("abcdm", max_size=5),
    texts=st.lists(st.text("abcdm", max_size=6), max_size=12),
    at_once=st.integers(1, 20),
)
def test_blocks_change_nothing(query: str, texts: list[str], at_once: int) -> None:
    """Scores are those of the definition, however passages are put into blocks."""
    fake = FakeTokens()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sage.libs.rerank.late_interaction._TOKENS_AT_ONCE", at_once)
        found = LateInteractionReranker(embedder=fake).scores(query, texts)
    (asked,) = fake.embed_tokens([query])
    for text, score in zip(texts, found, strict=True):
        (tokens,) = fake.embed_tokens([text])
        best = (asked @ tokens.T).max(axis=1).mean() if len(tokens) and len(asked) else 0.0
        assert score == pytest.approx(best, abs=0.005)


def test_a_passage_is_embedded_once() -> None:
    """What was scored lately is not embedded again, by copies neither; a pickle starts anew."""
    fake = FakeTokens()
    reranker = LateInteractionReranker(embedder=fake)
    first = reranker.scores("a", ["ab", "cd", "ab"])
    assert fake.asked == ["a", "ab", "cd"]
    assert copy.deepcopy(reranker).scores("a", ["cd", "ab"]).tolist() == first[[1, 0]].tolist()
    assert fake.asked == ["a", "ab", "cd", "a"]
    again = pickle.loads(pickle.dumps(LateInteractionReranker(model="mock:8")))
    assert again.scores("word", ["word", "other"]).argmax() == 0


def test_the_cache_is_bounded() -> None:
    """The least recently used texts go when the bytes are used up, and are made again."""
    cache = TokenCache(max_bytes=3 * 4 * 2)
    fake = FakeTokens()
    for texts in (["ab", "cd"], ["ab"], ["aa"], ["bb"], ["ab"], ["cd"]):
        cache.vectors(texts, fake.embed_tokens)
        assert cache.size_bytes <= cache.max_bytes
    assert fake.asked == ["ab", "cd", "aa", "bb", "cd"]
    assert len(cache.vectors(["abcdabcd"], fake.embed_tokens)[0]) == 8  # fits in nowhere
    assert (len(cache), cache.size_bytes) == (0, 0)


def test_the_two_stages_are_averaged() -> None:
    """Joined scores are the mean of both, each scaled to 0..1; at weight 1 it is the second."""
    texts, first = ["x", "y", "z"], [3.0, 2.0, 1.0]
    assert rerank(FakeReranker([0, 5, 10]), "?", texts, first) == [(0, 0.5), (1, 0.5), (2, 0.5)]
    assert rerank(FakeReranker([0, 10, 5]), "?", texts, first)[0] == (1, 0.75)
    assert [n for n, _ in rerank(FakeReranker([0, 5, 10]), "?", texts, first, weight=1)] == [
        2,
        1,
        0,
    ]
    assert rerank(FakeReranker([]), "?", [], []) == []


def test_what_cannot_be_read_is_not_judged() -> None:
    """The reranker counts only as far as it can read the question, and is not asked beyond that."""
    texts, first = ["x", "y"], [2.0, 1.0]
    blind = FakeReranker([0, 1], reads=0.0)
    assert rerank(blind, "水", texts, first) == [(0, 1.0), (1, 0.0)]
    assert blind.calls == 0
    assert dict(rerank(FakeReranker([0, 1], reads=0.5), "?", texts, first))[1] == 0.25
    letters = LateInteractionReranker(embedder=FakeTokens())
    assert (letters.reads("水"), letters.reads("ab")) == (0.0, 1.0)


def test_bad_calls_are_refused() -> None:
    """Too few scores, a weight out of range and an embedder without token vectors are errors."""
    with pytest.raises(DataError, match="2 texts and 1 scores"):
        rerank(FakeReranker([]), "?", ["x", "y"], [1.0])
    with pytest.raises(ConfigError, match="expected 0 to 1, got 2"):
        rerank(FakeReranker([]), "?", ["x"], [1.0], weight=2)

    class OneVector:
        model, dim = "pooled", 4
        embed = MockTextEmbedder(fixed_dim=4).embed

    with pytest.raises(ConfigError, match="gives one vector for a text"):
        LateInteractionReranker(embedder=OneVector())


def test_rerankers_are_loaded_by_name() -> None:
    """The default is late interaction, over the embedder that follows its name."""
    assert load_reranker("late-interaction:mock:8").model == "late-interaction:mock:8"
