"""Documents as text: found, loaded, and cut into chunks with exact positions.

Not here: where the chunks are kept (``sage.libs.collection``) and how a directory becomes a stream
(``sage.libs.io``, ``sage.middleware.indexing``). The parsers of the formats are imported by the
loader that needs them.

Layout:
    discovery   `find_documents`, `fingerprint`
    loaders     `load_document`, which chooses among:
    text        plain text and Markdown
    html        pages
    pdf         PDF
    word        DOCX
    chunker     `TokenChunker`, made of:
    blocks      headings, code fences, paragraphs
    units       sentences and smaller, with how good a cut before them is
    tokens      where tokens begin, for any tokenizer
    positions   offset to line or page
"""

from sage.libs.documents.chunker import TokenChunker
from sage.libs.documents.discovery import find_documents, fingerprint
from sage.libs.documents.loaders import SUPPORTED_SUFFIXES, load_document
from sage.libs.documents.tokens import Tokenizer, WordTokenizer

__all__ = [
    "SUPPORTED_SUFFIXES",
    "TokenChunker",
    "Tokenizer",
    "WordTokenizer",
    "find_documents",
    "fingerprint",
    "load_document",
]
