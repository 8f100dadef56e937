"""Ways to cut a document: each chooses spans, `sage.libs.documents.chunker` makes chunks of them.

Not here: what all of them promise (``chunker``) and check (``testing``).

Layout:
    token        `TokenChunker`: headings, then paragraphs, then sentences
    sentence     `SentenceChunker`: so many sentences
    heading      `HeadingChunker`: the largest sections that fit
    code         `CodeChunker`: functions, classes and methods
    fixed        `FixedChunker`: so many tokens, or characters
    recursive    `RecursiveChunker`: a list of separators
    semantic     `SemanticChunker`: where the subject changes
    media_type   `MediaTypeChunker`: chooses by the kind of document
"""

from sage.libs.documents.chunkers.code import CodeChunker
from sage.libs.documents.chunkers.fixed import FixedChunker
from sage.libs.documents.chunkers.heading import HeadingChunker
from sage.libs.documents.chunkers.media_type import MediaTypeChunker
from sage.libs.documents.chunkers.recursive import RecursiveChunker
from sage.libs.documents.chunkers.semantic import SemanticChunker
from sage.libs.documents.chunkers.sentence import SentenceChunker
from sage.libs.documents.chunkers.token import TokenChunker

__all__ = [
    "CodeChunker",
    "FixedChunker",
    "HeadingChunker",
    "MediaTypeChunker",
    "RecursiveChunker",
    "SemanticChunker",
    "SentenceChunker",
    "TokenChunker",
]
