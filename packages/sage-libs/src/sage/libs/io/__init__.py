"""Where records come from and go to: files, directories, the terminal.

Not here: how a document's format is read (``sage.libs.documents``) and how a source is driven
(``sage.kernel``).

Layout:
    source      `FileSource`: lines
    tables      `JsonlSource`, `CsvSource`: rows
    directory   `DirectorySource`, `ChunkedFileSource`: paths and chunks of documents
    sources     all the sources under one name
    sink        `FileSink`, `TerminalSink`
    lines       block-wise reading of lines, with positions
    reading     opening a user's file, or saying why not
"""

from sage.libs.io.sink import FileSink, TerminalSink
from sage.libs.io.sources import (
    ChunkedFileSource,
    CsvSource,
    DirectorySource,
    FileSource,
    JsonlSource,
)

__all__ = [
    "ChunkedFileSource",
    "CsvSource",
    "DirectorySource",
    "FileSink",
    "FileSource",
    "JsonlSource",
    "TerminalSink",
]
