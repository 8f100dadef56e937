"""Every source of this package under one name, as pipelines import them."""

from sage.libs.io.directory import ChunkedFileSource, DirectorySource
from sage.libs.io.parquet import ParquetSource
from sage.libs.io.redis_source import RedisStreamSource
from sage.libs.io.source import FileSource
from sage.libs.io.sql_source import SqlSource
from sage.libs.io.tables import CsvSource, JsonlSource

__all__ = [
    "ChunkedFileSource",
    "CsvSource",
    "DirectorySource",
    "FileSource",
    "JsonlSource",
    "ParquetSource",
    "RedisStreamSource",
    "SqlSource",
]
