"""JSON and JSON Lines to text: each record becomes a paragraph that knows its line.

Which field holds the text is said by the caller, or found by its usual names; a record without
such a field becomes lines of ``key: value``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from sage.common.errors import DataError
from sage.libs.documents.tables import PlacedText
from sage.libs.documents.text import Loaded, decoded, normalised

__all__ = ["load_json", "load_jsonl"]

_TEXT_FIELDS = ("text", "content", "body", "page_content", "passage")
_BLANKS = re.compile(r"[ \t\n\r]*")


def load_jsonl(data: bytes, source: str, *, text_field: str | None = None) -> Loaded:
    """Read JSON Lines: a record on each line.

    Args:
        data: The file.
        source: Its name, for the error.
        text_field: The field that holds the text; by default ``text``, ``content``, ``body``,
            ``page_content`` or ``passage``, with ``title`` before it, or else all fields.

    Returns:
        A paragraph for each record; ``records`` in the metadata says how many there are, and
        ``line_offsets`` holds ``[offset in the text, line of the file]``.

    Raises:
        DataError: if it is not text, or a line is no JSON or has no such field; it names the line.

    Example:
        >>> print(load_jsonl(b'{"title": "Water", "text": "It boils."}\\n{"n": 1}', "a.jsonl").text)
        Water
        It boils.
        <BLANKLINE>
        n: 1
        <BLANKLINE>
    """
    text, metadata = decoded(data, source)
    return _loaded(_lines(text, source), metadata, source, text_field)


def load_json(data: bytes, source: str, *, text_field: str | None = None) -> Loaded:
    """Read a JSON file: a list of records, or one.

    Args:
        data: The file.
        source: Its name, for the error.
        text_field: As for `load_jsonl`.

    Returns:
        As `load_jsonl` does.

    Raises:
        DataError: if it is no JSON, or a record has no such field; it names the line.
    """
    text, metadata = decoded(data, source)
    return _loaded(_items(text, source), metadata, source, text_field)


def _loaded(
    records: Iterator[tuple[int, Any]],
    metadata: dict[str, Any],
    source: str,
    text_field: str | None,
) -> Loaded:
    written = PlacedText()
    count = 0
    for line, record in records:
        count += 1
        written.add(normalised(_text(record, text_field, source, line)), line)
    metadata["records"] = count
    metadata["line_offsets"] = written.offsets
    return Loaded(written.text, metadata)


def _lines(text: str, source: str) -> Iterator[tuple[int, Any]]:
    # Not splitlines, which also parts at characters that JSON strings may hold.
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except ValueError as error:
                raise _broken(source, number, error) from error


def _items(text: str, source: str) -> Iterator[tuple[int, Any]]:
    """Yield each item of a list with its line, or the one value that the file is."""
    decoder = json.JSONDecoder()
    at, line, counted = _skipped(text, 0), 1, 0
    is_list = text.startswith("[", at)
    if is_list:
        at = _skipped(text, at + 1)
    if is_list and text.startswith("]", at):
        _refuse_more(text, at + 1, source)
        return
    while True:
        line, counted = line + text.count("\n", counted, at), at
        try:
            item, end = decoder.raw_decode(text, at)
        except ValueError as error:
            wrong = line + text.count("\n", at, getattr(error, "pos", at))
            raise _broken(source, wrong, error) from error
        yield line, item
        at = _skipped(text, end)
        if not is_list or text.startswith("]", at):
            _refuse_more(text, at + is_list, source)
            return
        if not text.startswith(",", at):
            wrong = line + text.count("\n", counted, at)
            raise _broken(source, wrong, ValueError("expected ',' or ']' behind a record"))
        at = _skipped(text, at + 1)


def _skipped(text: str, at: int) -> int:
    match = _BLANKS.match(text, at)
    return match.end() if match else at


def _refuse_more(text: str, at: int, source: str) -> None:
    if (at := _skipped(text, at)) < len(text):
        line = text.count("\n", 0, at) + 1
        raise _broken(source, line, ValueError("more stands behind the end of the value"))


def _broken(source: str, line: int, error: ValueError) -> DataError:
    reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
    return DataError(
        f"{source!r} line {line} is not JSON: {reason}",
        hint="mend or delete the line; a file of one record on each line is named .jsonl",
        path=source,
        line=line,
    )


def _text(record: Any, text_field: str | None, source: str, line: int) -> str:
    if not isinstance(record, dict):
        return record if isinstance(record, str) else "\n".join(_flat(record, ""))
    if text_field is not None:
        if not isinstance(record.get(text_field), str):
            raise DataError(
                f"{source!r} line {line}: the record has no text in a field {text_field!r}",
                hint=f"its fields are {', '.join(map(repr, record)) or 'none'}"[:500],
                path=source,
                line=line,
            )
        return str(record[text_field])
    for name in _TEXT_FIELDS:
        if isinstance(text := record.get(name), str):
            title = record.get("title")
            return f"{title}\n{text}" if isinstance(title, str) and title.strip() else text
    return "\n".join(_flat(record, ""))


def _flat(value: Any, name: str) -> Iterator[str]:
    """Yield ``name: value`` for each scalar, names of what is nested joined by dots."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _flat(item, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list):
        if all(not isinstance(item, (dict, list)) for item in value):
            value = ", ".join(str(item) for item in value if item is not None)
            yield from _flat(value, name)
        else:
            for item in value:
                yield from _flat(item, name)
    elif value is not None and (shown := str(value).strip()):
        yield f"{name}: {shown}" if name else shown
