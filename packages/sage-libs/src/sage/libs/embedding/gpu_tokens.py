"""Tokenizes faster than the tokenizer: words that were seen before are looked up.

A device embeds a hundred thousand short texts in a second, a tokenizer reads ten thousand: the
device waits. In BERT's tokenization the pieces of a word do not depend on its neighbours, and
words repeat (Zipf), so their pieces are kept in a dict; only new words go through the tokenizer.
That takes half the time or less, and the invariant is that the ids are the same, for any text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["CachedTokenizer", "TokenIds", "joined"]

Ints = npt.NDArray[np.int32]

# Between texts that are tokenized together. In a text another one stands for it: BERT's normalizer
# drops control characters, whichever they are. Left out, it could make a special token of "[SE_P]".
_SEPARATOR: Final = "\x1e"
_STAND_IN: Final = "\x1f"
# Splits only where the tokenizer is certain to split: at blanks, which it drops, and around ASCII
# punctuation, which it isolates. What it does inside of a piece (accents, Chinese, odd blanks) is
# left to it.
_WORDS: Final = re.compile(r"[^ \t\n\r\x1e!-/:-@\[-`{-~]+|[\x1e!-/:-@\[-`{-~]")
# About 100,000 words, 25 MB.
_MOST_CHARACTERS: Final = 1 << 20


@dataclass(frozen=True)
class TokenIds:
    """The tokens of several texts, one after the other.

    Attributes:
        flat: int32 [tokens of all texts], the special ones included.
        lengths: int32 [texts], how many tokens each text has.
    """

    flat: Ints
    lengths: Ints

    def truncated(self, most: int) -> TokenIds:
        """Return them with at most so many tokens of each text; its last, special one stays."""
        if self.lengths.max(initial=0) <= most:
            return self
        starts = np.cumsum(self.lengths) - self.lengths
        place = np.arange(len(self.flat)) - np.repeat(starts, self.lengths)
        is_last = place == np.repeat(self.lengths, self.lengths) - 1
        return TokenIds(
            self.flat[(place < most - 1) | is_last], np.minimum(self.lengths, np.int32(most))
        )

    def padded(self, rows: npt.NDArray[np.intp], out: Ints) -> None:
        """Write the tokens of some texts into ``out``: int32 [len(rows), width], zeros behind."""
        starts = (np.cumsum(self.lengths) - self.lengths)[rows]
        columns = np.arange(out.shape[1])
        # Behind the last text there is nothing to read: clipped, then overwritten like all padding.
        np.take(self.flat, starts[:, None] + columns, out=out, mode="clip")
        out[columns >= self.lengths[rows][:, None]] = 0


def joined(texts: Sequence[str]) -> str:
    """Return texts as the one string that `CachedTokenizer.encode` takes."""
    together = _SEPARATOR.join(texts)
    if together.count(_SEPARATOR) >= len(texts):
        together = _SEPARATOR.join(text.replace(_SEPARATOR, _STAND_IN) for text in texts)
    return together


class CachedTokenizer:
    """A tokenizer that remembers words; safe to use from several threads.

    Tokenizers that are not BERT's, and texts that spell special tokens such as ``[SEP]``, are
    given to the tokenizer whole.

    Args:
        tokenizer: Without truncation and padding, see `sage.libs.embedding.tokenizer`.
        max_tokens: Longest text in tokens, the special ones included; longer ones are cut.
    """

    def __init__(self, tokenizer: Tokenizer, max_tokens: int) -> None:
        self._tokenizer, self._max_tokens = tokenizer, max_tokens
        self._special = [token.content for token in tokenizer.get_added_tokens_decoder().values()]
        self._frame = tokenizer.encode("").ids
        self._knows_words = _splits_like_bert(tokenizer)
        self._forget()

    def encode(self, texts: str) -> TokenIds:
        """Return the tokens of the texts that `joined` made one string of."""
        if self._knows_words and not any(token in texts for token in self._special):
            return self._by_words(texts).truncated(self._max_tokens)
        encodings = self._tokenizer.encode_batch_fast(texts.split(_SEPARATOR))
        ids = [encoding.ids for encoding in encodings]
        lengths = np.fromiter(map(len, ids), dtype=np.int32, count=len(ids))
        flat = np.fromiter(chain.from_iterable(ids), dtype=np.int32, count=int(lengths.sum()))
        return TokenIds(flat, lengths).truncated(self._max_tokens)

    def _by_words(self, texts: str) -> TokenIds:
        # Another thread may forget meanwhile: this one goes on with the dict it has.
        known = self._known
        words = _WORDS.findall(texts)
        new = [word for word in set(words) if word not in known]
        if new:
            encodings = self._tokenizer.encode_batch_fast(new, add_special_tokens=False)
            known.update((word, e.ids) for word, e in zip(new, encodings, strict=True))
            self._characters += sum(map(len, new))
        first, last = self._frame
        pieces = chain.from_iterable(map(known.__getitem__, words))
        flat = np.fromiter(chain((first,), pieces, (last,)), dtype=np.int32)
        # No word is spelt like a special token, so the last token is where a text ends.
        ends = np.flatnonzero(flat == last) + 1
        if self._characters > _MOST_CHARACTERS:
            self._forget()
        return TokenIds(flat, np.diff(ends, prepend=0).astype(np.int32))

    def _forget(self) -> None:
        self._known: dict[str, Sequence[int]] = {}
        self._characters = 0
        if self._knows_words:
            self._known[_SEPARATOR] = (self._frame[1], self._frame[0])


def _splits_like_bert(tokenizer: Tokenizer) -> bool:
    from tokenizers.normalizers import BertNormalizer
    from tokenizers.pre_tokenizers import BertPreTokenizer

    return (
        isinstance(tokenizer.normalizer, BertNormalizer)
        and tokenizer.normalizer.clean_text
        and isinstance(tokenizer.pre_tokenizer, BertPreTokenizer)
        and len(tokenizer.encode("").ids) == 2
        and not any(token.normalized for token in tokenizer.get_added_tokens_decoder().values())
    )
