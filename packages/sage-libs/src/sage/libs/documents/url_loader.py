"""`load_url`: what a URL leads to as a `Document`, read by the loader of its media type."""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from sage.common.errors import DataError
from sage.common.records import Document
from sage.libs.documents.loaders import Kind, kind_of, kinds, load_bytes
from sage.libs.documents.url_policy import UrlPolicy

if TYPE_CHECKING:
    from sage.libs.documents.url_fetch import Fetched

__all__ = ["load_url"]

# Beside those that the kinds have themselves.
_ALIASES = {
    "application/javascript": "text/x-javascript",
    "application/jsonl": "application/x-ndjson",
    "application/jsonlines": "application/x-ndjson",
    "application/toml": "text/x-toml",
    "application/x-sh": "text/x-shell",
    "application/x-yaml": "text/x-yaml",
    "application/xhtml+xml": "text/html",
    "application/yaml": "text/x-yaml",
    "text/css": "text/x-css",
    "text/javascript": "text/x-javascript",
    "text/x-markdown": "text/markdown",
    "text/yaml": "text/x-yaml",
}
# What servers say of files that they know nothing of.
_UNTOLD = (None, "application/octet-stream", "binary/octet-stream", "text/plain")


def load_url(
    url: str, policy: UrlPolicy | None = None, *, text_field: str | None = None
) -> Document:
    """Fetch a document from the web and read it.

    It is fetched and read here and now; `load_documents` takes URLs as well, and bounds the time
    and the memory that reading takes.

    Args:
        url: ``http`` or ``https``.
        policy: What may be fetched; by default public addresses only, 100 MB, 30 seconds.
        text_field: As for `load_document`.

    Returns:
        The document, its ``source`` the URL as it was given; ``final_url`` in the metadata is where
        redirects led to.

    Raises:
        AccessRefusedError: if the URL, or one that it redirects to, may not be fetched.
        UnreachableError: if the host is not known or does not answer.
        EndpointError: if it answers with an error, or breaks off.
        LimitError: if it is too large or takes too long.
        DataError: if it is of a kind that no loader reads, or not what it says that it is.

    Example:
        >>> load_url("http://localhost/secrets")
        Traceback (most recent call last):
        sage.common.errors.AccessRefusedError: 'http://localhost/secrets' leads to 127.0.0.1, \
which is loopback
          hint: to fetch from there all the same, allow it by name: sage index --allow-host \
localhost, or UrlPolicy(allow=('localhost',))
    """
    from sage.libs.documents.url_fetch import fetch  # late: it brings in the TLS library

    fetched = fetch(url, policy)
    document = load_bytes(_in_utf8(fetched), _kind(fetched), url, text_field=text_field)
    if fetched.url == url:
        return document
    metadata = {**document.metadata, "final_url": fetched.url}
    return Document(document.text, document.doc_id, document.source, metadata)


def _kind(fetched: Fetched) -> Kind:
    by_media_type = {kind.media_type: kind for kind in kinds()}
    path = urlsplit(fetched.url).path
    if fetched.media_type in _UNTOLD:
        try:
            return kind_of(path)
        except DataError:
            if fetched.media_type is None:
                raise
    said = fetched.media_type or ""
    kind = by_media_type.get(_ALIASES.get(said, said))
    if kind is None:
        raise DataError(
            f"cannot read {fetched.url!r}: files of kind {said!r} are not supported",
            hint=f"supported are {' '.join(sorted(by_media_type))}",
            path=fetched.url,
        )
    return kind


def _in_utf8(fetched: Fetched) -> bytes:
    """Return text in UTF-8 with a mark where the server says that it has another encoding."""
    try:
        encoding = codecs.lookup(fetched.charset or "utf-8").name
        if encoding == "utf-8" or not (fetched.media_type or "").startswith("text/"):
            return fetched.data
        return fetched.data.decode(encoding).encode("utf-8-sig")
    except (LookupError, UnicodeError):
        return fetched.data  # the server errs; what the file says of itself has to do
