"""JSON that says whether it is still what was written.

Manifests and owner records are small, decide what counts, and ought to be readable by people and
``jq``: so they are plain JSON, ``{"checksum": ..., "content": ...}``, and the checksum is that of
the bytes of the content. Invariant: a change of any byte, of the frame too, is noticed.
"""

from __future__ import annotations

import hashlib

__all__ = ["seal", "unseal"]

_DIGEST = 16
_BEFORE, _BETWEEN, _BEHIND = b'{"checksum":"', b'",\n"content":', b"}\n"


def seal(body: bytes) -> bytes:
    """Return a JSON document that holds another one and its checksum.

    Args:
        body: The other one.

    Example:
        >>> unseal(seal(b'{"a":1}'))
        b'{"a":1}'
    """
    return _BEFORE + _digest(body) + _BETWEEN + body + _BEHIND


def unseal(content: bytes) -> bytes | None:
    """Return the document that was sealed; None if any byte is not what it was."""
    body = content[len(_BEFORE) + 2 * _DIGEST + len(_BETWEEN) : -len(_BEHIND)]
    return body if content == seal(body) else None


def _digest(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=_DIGEST).hexdigest().encode()
