"""Every sink of this package under one name, as pipelines import them."""

from sage.libs.io.file_sink import CsvSink, FileSink, JsonlSink
from sage.libs.io.parquet_sink import ParquetSink
from sage.libs.io.redis_sink import RedisStreamSink
from sage.libs.io.sql_sink import SqlSink
from sage.libs.io.terminal import TerminalSink

__all__ = [
    "CsvSink",
    "FileSink",
    "JsonlSink",
    "ParquetSink",
    "RedisStreamSink",
    "SqlSink",
    "TerminalSink",
]
