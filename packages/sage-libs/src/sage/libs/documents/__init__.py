"""Documents as text: found, loaded, and cut into chunks with exact positions.

Not here: where the chunks are kept (``sage.libs.collection``) and how a directory becomes a stream
(``sage.libs.io``, ``sage.middleware.indexing``). The parsers of the formats are imported by the
loader that needs them.

Layout:
    discovery   `find_documents`, `fingerprint`
    loader_pool `load_documents`, in processes under limits; what runs there: loader_process
    loaders     `load_document`, which chooses among:
    text        plain text and Markdown
    html        pages
    pdf         PDF
    word        DOCX; sheets: XLSX; slides: PPTX; what all three are: office_package
    tables      CSV and TSV; json_records: JSON and JSON Lines; code: source code
    rooted      a file below a directory, and none elsewhere
    url_loader  `load_url`, made of url_policy (where from) and url_fetch (how much)
    chunker     what a chunker promises, `open_chunker`
    chunkers    the ways to cut: `TokenChunker`, `CodeChunker` and others, made of:
    blocks      headings, code fences, paragraphs
    definitions functions and classes of source code
    units       sentences and smaller, with how good a cut before them is
    packing     as many units to a span as fit
    tokens      where tokens begin, for any tokenizer
    positions   offset to line or page
    testing     conformance checks for chunkers
"""

from sage.libs.documents.chunker import Chunker, open_chunker
from sage.libs.documents.chunkers import (
    CodeChunker,
    FixedChunker,
    HeadingChunker,
    MediaTypeChunker,
    RecursiveChunker,
    SemanticChunker,
    SentenceChunker,
    TokenChunker,
)
from sage.libs.documents.discovery import find_documents, fingerprint
from sage.libs.documents.loader_pool import LoaderPool, LoadFailure, load_documents
from sage.libs.documents.loaders import SUPPORTED_SUFFIXES, load_document
from sage.libs.documents.tokens import CharacterTokenizer, Tokenizer, WordTokenizer
from sage.libs.documents.url_loader import load_url
from sage.libs.documents.url_policy import UrlPolicy

__all__ = [
    "SUPPORTED_SUFFIXES",
    "CharacterTokenizer",
    "Chunker",
    "CodeChunker",
    "FixedChunker",
    "HeadingChunker",
    "LoadFailure",
    "LoaderPool",
    "MediaTypeChunker",
    "RecursiveChunker",
    "SemanticChunker",
    "SentenceChunker",
    "TokenChunker",
    "Tokenizer",
    "UrlPolicy",
    "WordTokenizer",
    "find_documents",
    "fingerprint",
    "load_document",
    "load_documents",
    "load_url",
    "open_chunker",
]
