"""`load_tokenizer`: what chunkers count with."""

from __future__ import annotations

import pytest

from sage.libs.embedding import load_tokenizer
from sage.libs.embedding.embedder import DEFAULT_MODEL
from sage.libs.embedding.weights import MissingWeightsError


@pytest.mark.parametrize("model", [f"vllm:{DEFAULT_MODEL}", "openai:text-embedding-3-small"])
def test_a_served_model_has_a_tokenizer_here(model: str) -> None:
    """What a server embeds can be cut here: by its own tokenizer, or else the default's."""
    assert load_tokenizer(model) is load_tokenizer()


def test_a_model_that_should_be_here_and_is_not_is_an_error() -> None:
    """Nobody else's tokenizer stands in for one of a model on this machine."""
    with pytest.raises(MissingWeightsError):
        load_tokenizer("nobody/has-this-model")
