"""`RedisStreamSink`: records as entries of a Redis stream, each exactly once with checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from sage.common.config import Meta, configurable
from sage.common.errors import DataError
from sage.libs.io.record_writer import as_json
from sage.libs.io.redis_server import RedisServer
from sage.libs.io.redis_staging import RedisStaging
from sage.libs.io.staged_sink import Share, StagedSink

__all__ = ["RedisStreamSink"]


@configurable
class RedisStreamSink(StagedSink):
    """Adds each record to a Redis stream.

    Without checkpoints a record is in the stream as soon as it is written. With checkpoints it
    appears when the checkpoint that covers it is complete, exactly once whatever happens, also if
    the reply to a commit is lost; until then it is staged beside the stream. What others add to the
    stream is left alone, also by ``fresh=True``, which removes what this sink has added. Several
    subtasks may write. Needs ``isage-libs[redis]``.

    What is staged or committed is as durable as the server is: to survive its crash it needs
    ``appendonly yes``, to survive every crash ``appendfsync always``.

    Args:
        stream: Name of the stream.
        url: The server: ``redis://host:port/database`` or ``unix:///path/of/socket``.
        field: The field that takes the record as JSON, as `RedisStreamSource` reads it; None
            writes the items of a mapping as fields, whose values are text or numbers.
        max_entries: About how many entries the stream keeps; None for all.
        owner: Tells the sinks of several jobs at one stream apart; by default the operator's uid.

    Raises:
        UnreachableError: from ``open`` if the server cannot be reached.
        StorageError: if the server does not take a record; from the start of a job, if it would
            write again what is there already.
        DataError: if a record cannot be written as JSON or as fields.
        MissingExtraError: from ``open`` without ``isage-libs[redis]``.

    Example:
        >>> RedisStreamSink("answers", url="redis://localhost:6379/0").stream
        'answers'
    """

    def __init__(
        self,
        stream: Annotated[str, Meta(min_length=1)],
        *,
        url: str = "redis://localhost:6379/0",
        field: str | None = "json",
        max_entries: Annotated[int, Meta(ge=1)] | None = None,
        owner: str | None = None,
    ) -> None:
        self.stream = stream
        self.url = url
        self.field = field
        self.max_entries = max_entries
        self.owner = owner
        self._server: RedisServer | None = None
        self._entries: RedisStaging | None = None

    def open(self, context: Any) -> None:
        """Connect.

        Raises:
            UnreachableError: if the server cannot be reached.
        """
        share = Share.of(context, self.logger)
        # Without checkpoints nothing could tell that an entry is there already.
        self._server = RedisServer(self.url, repeats=share is not None)
        if share is not None:
            self._stage = self._entries = RedisStaging(
                self._server,
                self.stream,
                self.owner or context.uid,
                share,
                max_entries=self.max_entries,
            )

    def write(self, record: Any) -> None:
        """Add one record, or stage it.

        Raises:
            StorageError: if the server does not take it.
            DataError: if it cannot be written.
        """
        fields = self._fields(record)
        if self._entries is not None:
            self._entries.write([part for item in fields.items() for part in item])
            return
        server = self._connected()
        with server.failures("write to", self.stream):
            server.client.xadd(self.stream, fields, maxlen=self.max_entries, approximate=True)

    def close(self) -> None:
        """Close the connection; what is prepared stays for whoever takes over."""
        if self._server is not None:
            self._server.close()
        self._server = self._stage = self._entries = None

    def _connected(self) -> RedisServer:
        if self._server is None:
            self._server = RedisServer(self.url, repeats=False)
        return self._server

    def _target(self) -> str:
        return f"the sink of the stream {self.stream!r}"

    def _fields(self, record: Any) -> dict[str, str | bytes]:
        if self.field is not None:
            return {self.field: as_json(record).rstrip(b"\n")}
        if not isinstance(record, Mapping) or not record:
            raise DataError(
                f"fields of an entry are written from a mapping with items, got "
                f"{type(record).__name__}: {record!r:.100}",
                hint="map it to a dict before the sink, or name a field for its JSON",
            )
        return {str(name): _as_field(name, value) for name, value in record.items()}


def _as_field(name: Any, value: Any) -> str | bytes:
    if isinstance(value, (str, bytes)):
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return repr(value)
    raise DataError(
        f"the field {name!r} of an entry is text or a number, got {type(value).__name__}: "
        f"{value!r:.100}",
        hint="name a field for the JSON of the whole record: field='json'",
    )
