"""Bytes to text, and text files: plain text and Markdown."""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sage.common.errors import DataError

__all__ = ["Loaded", "decoded", "load_markdown", "load_text", "normalised"]

_BOMS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, whose mark begins it
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
# Text has tabs, line ends, form feeds and escapes; the other control characters mean binary data.
_BINARY = re.compile("[\x00-\x07\x0e-\x1a\x1c-\x1f\ufffd]")
_MOST_BROKEN = 0.05
_FRONT_MATTER = re.compile(r"---[ \t]*\n(.*?\n)?(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_TITLE = re.compile(r"^#[ \t]+(.+?)[ \t#]*$", re.MULTILINE)
_LONGEST_FRONT_MATTER = 1 << 16


@dataclass(frozen=True, slots=True)
class Loaded:
    """The text of a file and what is known of it; what every loader returns."""

    text: str
    metadata: Mapping[str, Any] = field(default_factory=dict)


def load_text(data: bytes, source: str) -> Loaded:
    """Read plain text.

    Raises:
        DataError: if it is not text.
    """
    text, metadata = decoded(data, source)
    return Loaded(text, metadata)


def load_markdown(data: bytes, source: str) -> Loaded:
    """Read Markdown, which stays as it is; front matter moves into the metadata.

    Returns:
        The text with ``title``, ``front_matter`` and ``first_line`` (the line of the file at which
        the text begins) where there are such.

    Raises:
        DataError: if it is not text.

    Example:
        >>> loaded = load_markdown(b"---\\ntitle: Water\\n---\\nIt boils.\\n", "water.md")
        >>> loaded.text, loaded.metadata["title"], loaded.metadata["first_line"]
        ('It boils.\\n', 'Water', 4)
    """
    text, metadata = decoded(data, source)
    match = _FRONT_MATTER.match(text, 0, _LONGEST_FRONT_MATTER)
    matter = _parsed(match[1] or "") if match else None
    if match and matter is not None:
        metadata["first_line"] = text.count("\n", 0, match.end()) + 1
        metadata["front_matter"] = matter
        text = text[match.end() :]
    title = (matter or {}).get("title")
    heading = _TITLE.search(text, 0, _LONGEST_FRONT_MATTER)
    if title or heading:
        metadata["title"] = str(title or (heading[1] if heading else ""))
    return Loaded(text, metadata)


def _parsed(matter: str) -> dict[str, Any] | None:
    """Return the front matter as plain data, or None if it is none (a rule, not front matter).

    Aliases are not read: a few lines of them, one inside the other, stand for gigabytes.
    """
    import msgspec
    import yaml

    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(matter, yaml.SafeLoader)):
            return None
        loaded = yaml.safe_load(matter)
        plain = msgspec.to_builtins({} if loaded is None else loaded, str_keys=True, enc_hook=str)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError):
        return None
    return plain if isinstance(plain, dict) else None


def decoded(data: bytes, source: str, *, encoding: str | None = None) -> tuple[str, dict[str, Any]]:
    """Decode a text file, and say in the metadata if that went less than well.

    A byte-order mark decides, then UTF-8, then ``encoding``. Text of which a few bytes are broken
    is read with replacement characters (``replaced_characters`` in the metadata counts them).

    Args:
        data: The file.
        source: Its name, for the error.
        encoding: The encoding that the file says it has.

    Raises:
        DataError: if it is binary data, or text in an encoding that is not known.

    Example:
        >>> decoded("caf\\u00e9, na\\u00efve\\r\\n".encode(), "menu.txt")
        ('café, naïve\\n', {})
        >>> decoded(b"\\x00\\x01\\x02", "menu.txt")
        Traceback (most recent call last):
        sage.common.errors.DataError: 'menu.txt' is not text: it holds binary data
    """
    mark = next((bom for bom in _BOMS if data.startswith(bom)), None)
    text, own = _first_decoding(data, [_BOMS[mark]] if mark else ["utf-8", encoding])
    metadata: dict[str, Any] = {}
    if text is None:
        text = data.decode("utf-8", "replace")
        metadata["encoding"] = "utf-8"
        metadata["replaced_characters"] = text.count("\ufffd")
    elif own != "utf-8":
        metadata["encoding"] = own
    _refuse_binary(data, text, source)
    return normalised(text), metadata


def _first_decoding(data: bytes, encodings: list[str | None]) -> tuple[str | None, str]:
    for encoding in filter(None, encodings):
        try:
            return data.decode("utf-8-sig" if encoding == "utf-8" else encoding), encoding
        except (UnicodeError, LookupError):
            continue
    return None, ""


def _refuse_binary(data: bytes, text: str, source: str) -> None:
    sample = text[: 1 << 20]
    broken = sum(1 for _ in _BINARY.finditer(sample))
    if "\x00" in sample or broken > _MOST_BROKEN * len(sample):
        # Bytes above the ASCII range and hardly a control character: text, but not in UTF-8.
        controls = sum(1 for c in data[: 1 << 20] if c < 32 and c not in b"\t\n\r\f\v\x1b")
        if "\x00" not in sample and controls * 200 < len(sample):
            raise DataError(
                f"{source!r} is not UTF-8 text",
                hint="it looks like text in another encoding; save it as UTF-8",
                path=source,
            )
        raise DataError(f"{source!r} is not text: it holds binary data", path=source)


def normalised(text: str) -> str:
    """Return text with ``\\n`` line ends and nothing that cannot be encoded again."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:  # halves of surrogate pairs, from broken PDFs and HTML
        text = text.encode("utf-8", "replace").decode("utf-8")
    return text
