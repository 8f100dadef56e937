"""Sources that are found by name: ``env.read_text(path)`` and its like.

The kernel does not know the classes. They belong to packages that register them in the entry-point
group ``sage.sources``, and are imported when a reader is called.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sage.common.errors import MissingExtraError
from sage.common.registry import Registry, registry
from sage.kernel.api.building import PlanBuilder
from sage.kernel.errors import GraphError

if TYPE_CHECKING:
    from sage.kernel.api.datastream import DataStream

__all__ = ["NamedSources", "source_class"]


_EXTRAS = {
    "csv": "isage-libs",
    "file": "isage-libs",
    "jsonl": "isage-libs",
    "parquet": "isage-libs[parquet]",
}

_INSTEAD = {
    "kafka": "; a Redis stream can be read and replayed: RedisStreamSource of isage-libs[redis]"
}


def source_class(name: str, sources: Registry | None = None) -> Any:
    """Return the source that is registered under a name.

    Args:
        name: Its name in the registry.
        sources: Where to look; by default what is installed.

    Raises:
        MissingExtraError: if nothing is registered under it, and SAGE has a package for it.
        GraphError: if nothing is registered under it, and SAGE has none.
    """
    known = sources if sources is not None else registry("sources")
    if name in known:
        return known.get(name)
    if name in _EXTRAS:
        raise MissingExtraError(_EXTRAS[name].partition("[")[0], extra=_EXTRAS[name])
    raise GraphError(
        f"there is no source called {name!r} in this version",
        hint="read it in a SourceFunction or generator of your own and give that to from_source, "
        f"or register a class as {name!r} among the entry points sage.sources"
        + _INSTEAD.get(name, ""),
    )


class NamedSources(PlanBuilder):
    """The readers of an environment.

    A reader takes the options that every verb takes (``name``, ``uid``, ...); further keyword
    arguments go to the constructor of the source.
    """

    def read_text(
        self, path: str | os.PathLike[str], *, skip_blank: bool = False, **options: Any
    ) -> DataStream[str]:
        """Start a stream at the lines of a UTF-8 file, without their ends.

        Args:
            path: The file.
            skip_blank: Whether to leave out lines that hold nothing but blanks.
            options: See the class.

        Raises:
            MissingExtraError: if isage-libs is not installed.

        Example:
            >>> import pathlib, tempfile
            >>> path = pathlib.Path(tempfile.mkdtemp(), "questions.txt")
            >>> _ = path.write_text("What is SAGE?\\n\\nWho wrote it?\\n")
            >>> from sage.kernel import LocalEnvironment
            >>> LocalEnvironment().read_text(path, skip_blank=True).collect()
            ['What is SAGE?', 'Who wrote it?']
        """
        config = {"file_path": path, "skip_blank": skip_blank}
        return self._read("file", config, options)

    def read_jsonl(self, path: str | os.PathLike[str], **options: Any) -> DataStream[Any]:
        """Start a stream at the values of a file of JSON lines.

        Args:
            path: The file.
            options: See the class.

        Raises:
            MissingExtraError: if isage-libs is not installed.

        Example:
            >>> import pathlib, tempfile
            >>> path = pathlib.Path(tempfile.mkdtemp(), "documents.jsonl")
            >>> _ = path.write_text('{"text": "Water boils."}\\n')
            >>> from sage.kernel import LocalEnvironment
            >>> LocalEnvironment().read_jsonl(path).map(lambda row: row["text"]).collect()
            ['Water boils.']
        """
        return self._read("jsonl", {"file_path": path}, options)

    def read_csv(
        self,
        path: str | os.PathLike[str],
        *,
        columns: Sequence[str] | None = None,
        delimiter: str = ",",
        **options: Any,
    ) -> DataStream[dict[str, str]]:
        """Start a stream at the rows of a CSV file, each a mapping from column to text.

        Args:
            path: The file, in UTF-8.
            columns: Names of the columns; by default the first row has them.
            delimiter: The character between two fields.
            options: See the class.

        Raises:
            MissingExtraError: if isage-libs is not installed.

        Example:
            >>> import pathlib, tempfile
            >>> path = pathlib.Path(tempfile.mkdtemp(), "people.csv")
            >>> _ = path.write_text("name,born\\nNoether,1882\\n")
            >>> from sage.kernel import LocalEnvironment
            >>> LocalEnvironment().read_csv(path).collect()
            [{'name': 'Noether', 'born': '1882'}]
        """
        config = {"file_path": path, "columns": columns, "delimiter": delimiter}
        return self._read("csv", config, options)

    def read_parquet(
        self,
        path: str | os.PathLike[str],
        *,
        columns: Sequence[str] | None = None,
        **options: Any,
    ) -> DataStream[dict[str, Any]]:
        """Start a stream at the rows of a Parquet file, each a mapping from column to value.

        Args:
            path: The file.
            columns: The columns to read; by default all of them.
            options: See the class.

        Raises:
            MissingExtraError: if isage-libs[parquet] is not installed.
        """
        config = {"file_path": path, "columns": columns}
        return self._read("parquet", config, options)

    def from_kafka(self, *args: Any, **options: Any) -> DataStream[Any]:
        """Start a stream at a Kafka source that a package has registered as ``kafka``.

        SAGE itself has none yet.

        Args:
            args: Config of the source.
            options: See the class.

        Raises:
            GraphError: if no package has registered one.
        """
        return self.from_source(source_class("kafka"), *args, **{"name": "kafka", **options})

    def _read(
        self, source: str, config: dict[str, Any], options: dict[str, Any]
    ) -> DataStream[Any]:
        cls = source_class(source)
        given = {name: value for name, value in config.items() if value is not None}
        return self.from_source(cls, **{"name": source, **given, **options})
