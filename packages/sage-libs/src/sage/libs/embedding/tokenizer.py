"""The model's own tokenizer, one per process: the chunker counts with what the embedder reads."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Final

from sage.common.errors import DataError
from sage.libs.embedding.embedder import DEFAULT_MODEL
from sage.libs.embedding.weights import MissingWeightsError, resolve, split_precision

if TYPE_CHECKING:
    from pathlib import Path

    from tokenizers import Tokenizer

__all__ = ["beginning", "load_tokenizer"]

# Of a longer text, in characters, only a beginning is tokenised: 1 MB would take 60 MB.
_LONG_TEXT: Final = 1 << 15
# As many tokens can end otherwise where a text is cut within a word.
_UNSURE_TOKENS: Final = 128
# Ids of models that a server runs: whether their tokenizer is here as well is luck.
_SERVED: Final = ("openai", "vllm")


def load_tokenizer(model: str = DEFAULT_MODEL) -> Tokenizer:
    """Return the tokenizer of a model, without truncation and padding, shared by all callers.

    Do not switch truncation or padding on in it: everybody in the process would get them.

    Of a model that a server runs it is the tokenizer of the same name if that is on this machine,
    and the default model's otherwise: what is counted is then near, not exact.

    Args:
        model: A model id or a directory, as for `sage.libs.embedding.weights.resolve`, or the id
            of a served model, such as ``"vllm:NAME"``.

    Raises:
        MissingWeightsError: if the model is nowhere on this machine.
        DataError: if its ``tokenizer.json`` cannot be read.
    """
    kind, _, served = model.partition(":")
    if kind in _SERVED:
        try:
            return load_tokenizer(served)
        except MissingWeightsError:
            return load_tokenizer()
    return _load(resolve(split_precision(model)[0]) / "tokenizer.json")


def beginning(model: str, text: str, max_tokens: int) -> str:
    """Return what has the same first ``max_tokens`` tokens as the text, and is not much more.

    Tokens depend on their word alone, so that what follows the beginning changes none of them.
    """
    size = _LONG_TEXT
    while size < len(text):
        if len(load_tokenizer(model).encode(text[:size])) > max_tokens + _UNSURE_TOKENS:
            return text[:size]
        size *= 4
    return text


@functools.lru_cache(maxsize=8)
def _load(path: Path) -> Tokenizer:
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises plain Exception for whatever is wrong
        raise DataError(f"cannot read the tokenizer {str(path)!r}: {error}", path=str(path)) from (
            error
        )
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
