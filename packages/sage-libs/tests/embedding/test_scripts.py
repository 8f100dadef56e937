"""What an embedder can read: scripts of which its vocabulary has more than the letters."""

from __future__ import annotations

import pytest

from sage.libs.embedding import MockTextEmbedder, OnnxEmbedder
from sage.libs.embedding.embedder import DEFAULT_MODEL
from sage.libs.embedding.scripts import known_scripts, readable_share, share_in


def test_the_packaged_model_reads_latin_letters_only() -> None:
    """MiniLM can spell Chinese and Cyrillic, but was trained on English."""
    assert known_scripts(DEFAULT_MODEL) == {"LATIN"}
    embedder = OnnxEmbedder()
    assert readable_share(embedder, "When does water boil?") == 1.0
    assert readable_share(embedder, "水在多少度沸腾？") == 0.0
    assert 0 < readable_share(embedder, "Was ist ein Самовар?") < 1


def test_an_embedder_that_says_nothing_reads_everything() -> None:
    """Embedders of one's own need no such method."""
    assert readable_share(MockTextEmbedder(), "水") == 1.0


@pytest.mark.parametrize(
    ("text", "share"),
    [("", 1.0), ("12 + 3 = ?", 1.0), ("ひらがなカタカナ漢字", 1.0), ("слово", 0.0)],
)
def test_letters_alone_count(text: str, share: float) -> None:
    """Digits and marks belong to every script; Japanese is one script for an embedder."""
    assert share_in(frozenset({"CJK"}), text) == share
