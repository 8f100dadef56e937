"""Text as text: where sentences begin and end. Tokens belong to ``sage.libs.embedding``.

Layout:
    sentences   spans of sentences, English and Chinese
"""

from sage.libs.text.sentences import split_sentences

__all__ = ["split_sentences"]
