"""`RedisStreamSource`: the entries of Redis streams, which can be read again.

A position is, for each stream, the id of the last entry that was read and how many entries had been
added up to it. Redis counts what was added to a stream and what is in it; so what is missing behind
a position can be counted too.

Invariant: each read looks at the counts and takes the entries in one transaction, and takes none if
any between them and the position is gone. A stream that was trimmed too far is an error, before the
first record behind the gap.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec

from sage.common.config import Meta, configurable
from sage.common.core.functions import SourceFunction
from sage.common.errors import DataError, StorageError
from sage.libs.io.redis_server import RedisServer

__all__ = ["RedisStreamSource"]

_START = "0-0"


@dataclass
class _Place:
    """Where one stream is read.

    Attributes:
        stream: Its name.
        last: Id of the last entry that was read.
        seen: Entries that had been added up to that one.
        deleted: The highest id that was deleted by name before this one was looked for.
        end: Id of the last entry to be read, or None.
    """

    stream: str
    last: str = _START
    seen: int = 0
    deleted: str = _START
    end: str | None = None

    @property
    def is_done(self) -> bool:
        return self.end is not None and _order(self.last) >= _order(self.end)


@configurable
class RedisStreamSource(SourceFunction[Any]):
    """Reads the entries of one or more Redis streams, each in its order. It can be replayed.

    It keeps its position itself and needs no consumer group, so that a restored job reads exactly
    what came behind its checkpoint. The stream has to keep that long enough: an entry that was
    trimmed before it was read is an error that says how many are gone, never silence. With several
    subtasks each reads some of the streams. Needs ``isage-libs[redis]`` and Redis 7.

    Args:
        stream: Name of the stream, or several.
        url: The server: ``redis://host:port/database`` or ``unix:///path/of/socket``.
        field: The field whose JSON is the record, as `RedisStreamSink` writes it; None gives each
            entry whole, a mapping from field to text.
        start: Where a job without a checkpoint begins: ``"oldest"`` entry that is there, or
            ``"newest"``: what comes from now on.
        bounded: Whether it ends behind the last entry that was there when it began.
        poll_timeout_s: How long to wait for an entry, in seconds, before others have their turn.

    Raises:
        DataError: from ``read`` if entries are gone that were to be read, an entry does not hold
            such a record, or a key is no stream.
        UnreachableError: from ``open`` if the server cannot be reached.
        StorageError: if the server does not answer later.
        MissingExtraError: from ``open`` without ``isage-libs[redis]``.

    Example:
        >>> source = RedisStreamSource("questions", url="redis://localhost:6379/0", bounded=True)
        >>> source.streams
        ('questions',)
    """

    bounded = False

    def __init__(
        self,
        stream: str | Sequence[str],
        *,
        url: str = "redis://localhost:6379/0",
        field: str | None = "json",
        start: Literal["oldest", "newest"] = "oldest",
        bounded: bool = False,
        poll_timeout_s: Annotated[float, Meta(gt=0, le=1)] = 0.1,
    ) -> None:
        self.streams = (stream,) if isinstance(stream, str) else tuple(dict.fromkeys(stream))
        self.url = url
        self.field = field
        self.start = start
        self.bounded = bounded
        self.poll_timeout_s = poll_timeout_s
        self._server: RedisServer | None = None
        self._places: deque[_Place] | None = None

    def open(self, context: Any) -> None:
        """Connect, and take over this subtask's share of the streams.

        Raises:
            UnreachableError: if the server cannot be reached.
        """
        subtask = getattr(context, "parallel_index", 0)
        self.streams = self.streams[subtask :: getattr(context, "parallelism", 1)]
        self._connected()

    def read(self, max_records: int) -> list[Any] | None:
        """Return the next records of one stream, at most ``max_records``, or None at the end."""
        places = self._begun()
        for is_second_look in (False, True):
            for _ in range(len(places)):
                place = places[0]
                places.rotate(-1)  # the next one has its turn first next time
                if not place.is_done and (records := self._take(place, max_records)):
                    return records
            open_places = [place for place in places if not place.is_done]
            if self.bounded and not open_places:
                return None
            if open_places and not is_second_look:
                self._wait(open_places)
        return []

    def snapshot_position(self) -> dict[str, Any]:
        """Return the position after the last record that ``read`` returned."""
        return {p.stream: [p.last, p.seen, p.deleted, p.end] for p in self._begun()}

    def seek(self, position: Mapping[str, Sequence[Any]]) -> None:
        """Go to a position; a stream that is not in it is begun as ``start`` says.

        Raises:
            DataError: if the position is in a stream that is not read any more.
        """
        if gone := sorted(set(position) - set(self.streams)):
            raise DataError(
                f"the position is in the streams {', '.join(map(repr, gone))}, "
                f"and {', '.join(map(repr, self.streams))} are read now",
                hint="read them too, or start over with fresh=True",
            )
        self._places = deque(self._first(stream) for stream in self.streams)
        for place in self._places:
            if place.stream in position:
                place.last, place.seen, place.deleted, end = position[place.stream]
                if self.bounded and end is not None:
                    place.end = end

    def close(self) -> None:
        """Close the connection."""
        if self._server is not None:
            self._server.close()
        self._server = self._places = None

    def _connected(self) -> RedisServer:
        if self._server is None:
            self._server = RedisServer(self.url)
        return self._server

    def _begun(self) -> deque[_Place]:
        if self._places is None:
            self._places = deque(self._first(stream) for stream in self.streams)
        return self._places

    def _first(self, stream: str) -> _Place:
        """Return where a job without a checkpoint begins."""
        info, _ = self._look(stream, _START, 1)
        if info is None:
            return _Place(stream, end=_START if self.bounded else None)
        place = _Place(stream, deleted=_text(info["max-deleted-entry-id"]))
        if self.bounded:
            place.end = _text(info["last-entry"][0]) if info["length"] else _START
        if self.start == "newest":
            place.last, place.seen = _text(info["last-generated-id"]), info["entries-added"]
        else:  # what was removed before there was anybody to read it is not missed
            place.seen = info["entries-added"] - info["length"]
        return place

    def _take(self, place: _Place, max_records: int) -> list[Any]:
        info, entries = self._look(place.stream, place.last, max_records)
        self._check_nothing_is_lost(place, info)
        if not entries and place.end is not None:
            raise _gone(place, f"the last entry to be read, {place.end}, has been deleted")
        records = []
        last, seen = place.last, place.seen
        for entry_id, fields in entries:
            entry = _text(entry_id)
            if place.end is not None and _order(entry) > _order(place.end):
                last = place.end
                break
            records.append(self._record(place.stream, entry, fields))
            last, seen = entry, seen + 1
        place.last, place.seen = last, seen
        return records

    def _look(
        self, stream: str, last: str, count: int
    ) -> tuple[dict[str, Any] | None, list[tuple[bytes, dict[bytes, bytes]]]]:
        """Return what Redis says of a stream, None if there is none, and the entries behind one."""
        server = self._connected()
        with server.failures("read", stream):
            both = server.client.pipeline(transaction=True)
            both.xinfo_stream(stream)
            both.xread({stream: last}, count=count)
            info, found = both.execute(raise_on_error=False)
        if isinstance(info, Exception):
            if "no such key" in str(info):
                return None, []
            raise DataError(
                f"{stream!r} in Redis at {server.place} cannot be read as a stream: {info}",
                stream=stream,
            ) from info
        if "entries-added" not in info:
            raise StorageError(
                f"Redis at {server.place} is older than 7 and cannot say what was removed",
                hint="use Redis 7 or newer",
            )
        return info, found[0][1] if found else []

    def _check_nothing_is_lost(self, place: _Place, info: Mapping[str, Any] | None) -> None:
        if info is None:
            if place.seen == 0:
                return
            raise _gone(place, "the stream itself has been deleted")
        first = info["first-entry"]
        if first is None or _order(_text(first[0])) > _order(place.last):
            # Everything that is there lies behind the position, so that it can be counted.
            lost = info["entries-added"] - place.seen - info["length"]
            if lost > 0:
                before = f" and before {_text(first[0])}" if first is not None else ""
                raise _gone(place, f"{lost} entries added after {place.last}{before} are gone")
            if lost < 0:
                raise _gone(place, "the stream has been deleted and made anew")
            return
        deleted = _text(info["max-deleted-entry-id"])
        if _order(deleted) > _order(place.last) and deleted != place.deleted:
            raise _gone(place, f"the entry {deleted} has been deleted")

    def _wait(self, places: Sequence[_Place]) -> None:
        """Sleep until there is something new, or for the poll timeout."""
        server = self._connected()
        with server.failures("read", places[0].stream):
            server.client.xread(
                {place.stream: place.last for place in places},
                count=1,
                block=max(1, int(self.poll_timeout_s * 1000)),
            )

    def _record(self, stream: str, entry: str, fields: Mapping[bytes, bytes]) -> Any:
        hint = "field=None gives entries whole, as text" if self.field is not None else None
        try:
            if self.field is None:
                return {_text(name): _text(value) for name, value in fields.items()}
            return msgspec.json.decode(fields[self.field.encode()])
        except KeyError:
            known = ", ".join(repr(name.decode("utf-8", "replace")) for name in fields)
            told = f"has no field {self.field!r}, it has {known}"
        except (UnicodeDecodeError, msgspec.DecodeError) as error:
            told = f"is not {f'JSON in {self.field!r}' if self.field else 'UTF-8'}: {error}"
        raise DataError(
            f"the entry {entry} of the stream {stream!r} {told}", hint=hint, stream=stream
        )


def _gone(place: _Place, told: str) -> DataError:
    return DataError(
        f"the stream {place.stream!r} was read up to {place.last}, and {told}",
        hint="let it keep more (MAXLEN or MINID of what writes it), or start over with fresh=True",
        stream=place.stream,
        position=place.last,
    )


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _order(entry_id: str) -> tuple[int, int]:
    milliseconds, _, number = entry_id.partition("-")
    return int(milliseconds), int(number)
