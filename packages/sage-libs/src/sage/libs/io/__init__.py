"""Where records come from and go to: files, directories, the terminal.

Not here: how a document's format is read (``sage.libs.documents``) and how a source is driven
(``sage.kernel``).

Layout:
    source      `FileSource`: lines
    tables      `JsonlSource`, `CsvSource`: rows
    parquet     `ParquetSource`: rows, of a columnar file; `parquet_sink`, `ParquetSink`
    directory   `DirectorySource`, `ChunkedFileSource`: paths and chunks of documents
    sources     all the sources under one name
    sink        all the sinks under one name: `FileSink`, `JsonlSink`, `CsvSink`, `TerminalSink`
    sql_source  `SqlSource`: rows of SQLite and PostgreSQL; `sql_sink`, `SqlSink`: rows into them
    redis_source  `RedisStreamSource`: entries; `redis_sink`, `RedisStreamSink`: entries into them
    whole_file  a file that is whole or not there
    file_parts  a directory of parts that appear with their checkpoint
    lines       block-wise reading of lines, with positions
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sage.libs.io.sink import (
        CsvSink,
        FileSink,
        JsonlSink,
        ParquetSink,
        RedisStreamSink,
        SqlSink,
        TerminalSink,
    )
    from sage.libs.io.sources import (
        ChunkedFileSource,
        CsvSource,
        DirectorySource,
        FileSource,
        JsonlSource,
        ParquetSource,
        RedisStreamSource,
        SqlSource,
    )

__all__ = [
    "ChunkedFileSource",
    "CsvSink",
    "CsvSource",
    "DirectorySource",
    "FileSink",
    "FileSource",
    "JsonlSink",
    "JsonlSource",
    "ParquetSink",
    "ParquetSource",
    "RedisStreamSink",
    "RedisStreamSource",
    "SqlSink",
    "SqlSource",
    "TerminalSink",
]


def __getattr__(name: str) -> Any:
    """Import a re-export on first use: ``sage.libs.documents`` needs ``reading`` and no source."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = "sink" if name.endswith("Sink") else "sources"
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
