"""Decodes server-sent events, the wire format of streamed chat completions.

A decoder is fed bytes as they come off the wire, cut anywhere, in the middle of a character too;
how they are cut never changes which events come out. It follows the WHATWG rules for ``data``
fields; the other fields (``event``, ``id``, ``retry``) and comments are skipped.
"""

from __future__ import annotations

__all__ = ["SseDecoder"]


class SseDecoder:
    """Turns bytes into the ``data`` of events.

    Args:
        max_bytes: The longest event; a longer one is an error rather than a full memory.

    Example:
        >>> decoder = SseDecoder()
        >>> decoder.feed(b"data: 1\\n\\nda"), decoder.feed(b"ta: 2\\n\\n"), decoder.finish()
        (['1'], ['2'], [])
    """

    def __init__(self, max_bytes: int = 4 * 1024 * 1024) -> None:
        self._max_bytes = max_bytes
        self._buffer = bytearray()
        self._data: list[str] = []
        self._held = 0

    def feed(self, received: bytes) -> list[str]:
        """Return the data of the events that ``received`` completes.

        Raises:
            ValueError: if a line is not UTF-8 or an event is longer than ``max_bytes``.
        """
        self._buffer += received
        *lines, rest = self._buffer.split(b"\n")
        self._buffer = bytearray(rest)
        events = [data for line in lines if (data := self._take(bytes(line))) is not None]
        if len(self._buffer) + self._held > self._max_bytes:
            raise ValueError(f"an event of more than {self._max_bytes} bytes")
        return events

    def finish(self) -> list[str]:
        """Return the event that the end of the stream completes: some servers omit the last blank.

        Raises:
            ValueError: if the last line is not UTF-8.
        """
        last = bytes(self._buffer)
        self._buffer.clear()
        events = [self._take(last), self._take(b"")]
        return [data for data in events if data is not None]

    def _take(self, raw: bytes) -> str | None:
        """Take one line; return the data of the event if the line is the blank that ends it."""
        line = raw.removesuffix(b"\r").decode("utf-8")
        if not line:
            if not self._data:
                return None
            data = "\n".join(self._data)
            self._data, self._held = [], 0
            return data
        name, _, value = line.partition(":")
        if name.removeprefix("\ufeff") == "data":
            self._data.append(value.removeprefix(" "))
            self._held += len(raw)
        return None
