"""Identifiers: stable ones from content, short ones for people."""

from __future__ import annotations

import hashlib
import uuid

__all__ = ["content_id", "fresh_id"]


def content_id(*parts: str | bytes, digits: int = 16) -> str:
    """Return an id that depends on the parts alone, the same in every process and run.

    Parts are length-prefixed before hashing (BLAKE2b), so ``("ab", "c")`` and ``("a", "bc")``
    differ.

    Args:
        parts: Text (hashed as UTF-8) or bytes.
        digits: Length of the id in hexadecimal digits, at most 64.

    Example:
        >>> content_id("a.md", "0") == content_id("a.md", "0")
        True
        >>> content_id("ab", "c") == content_id("a", "bc")
        False
    """
    digest = hashlib.blake2b(digest_size=32)
    for part in parts:
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()[:digits]


def fresh_id(digits: int = 12) -> str:
    """Return a random id of so many hexadecimal digits."""
    return uuid.uuid4().hex[:digits]
