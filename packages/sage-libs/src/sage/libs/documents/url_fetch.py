"""Fetches what a URL leads to, bounded in time and size, from checked addresses only.

The name of a host is resolved once for each hop, the addresses are checked, and the connection is
made to one of *those*: a name server that answers differently the second time is not asked a second
time. One deadline holds for the whole, and is set anew before each read: a server that sends a byte
now and then does not get around it.
"""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import time
import zlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from urllib.parse import urljoin

from sage.common.errors import DataError, EndpointError, LimitError, UnreachableError
from sage.libs.documents.url_policy import Target, UrlPolicy, parse_url

__all__ = ["Fetched", "Resolver", "fetch"]

Resolver = Callable[[str, int], list[tuple[Any, ...]]]
"""Returns what ``socket.getaddrinfo`` does for a host and a port."""

_BLOCK_BYTES = 1 << 16
_REDIRECTS = (301, 302, 303, 307, 308)
_HEADERS = {
    "User-Agent": "sage (+document loader)",
    "Accept": "*/*",
    "Accept-Encoding": "gzip, deflate",
    "Connection": "close",
}


class Fetched(NamedTuple):
    """What a server answered.

    Attributes:
        url: Where it came from, after redirects.
        data: The content, unpacked.
        media_type: What the server says that it is, or None.
        charset: Its encoding, if the server says so.
    """

    url: str
    data: bytes
    media_type: str | None = None
    charset: str | None = None


def _resolved(host: str, port: int) -> list[tuple[Any, ...]]:
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)


def fetch(url: str, policy: UrlPolicy | None = None, *, resolve: Resolver = _resolved) -> Fetched:
    """Fetch what a URL leads to, following redirects, each checked like the first.

    No cookies, no credentials and no proxy are used. Only resolving a name is out of reach of the
    deadline; the system bounds it.

    Args:
        url: ``http`` or ``https``.
        policy: What is allowed; by default public addresses only.
        resolve: Finds the addresses of a host.

    Raises:
        AccessRefusedError: if the URL, or one that it redirects to, may not be fetched.
        UnreachableError: if the host is not known or does not answer.
        EndpointError: if the answer is not a document (its ``status`` is among the fields), or
            breaks off.
        LimitError: if it is too large, takes too long, or redirects too often.
    """
    policy = policy or UrlPolicy()
    deadline = time.monotonic() + policy.timeout_s
    target = parse_url(url)
    for _ in range(policy.max_redirects + 1):
        addresses = _checked(target, policy, resolve)
        try:
            answer = _hop(target, addresses, policy, deadline)
        except TimeoutError as error:
            raise LimitError(
                f"{target.url!r} takes more than {policy.timeout_s:g} seconds",
                hint="try again later, or raise timeout_s",
                url=url,
            ) from error
        except (OSError, http.client.HTTPException, zlib.error) as error:
            raise EndpointError(
                f"{target.url!r} broke off, or is no answer: {type(error).__name__}: {error}",
                url=url,
            ) from error
        if isinstance(answer, Fetched):
            return answer
        target = answer
    raise LimitError(f"{url!r} redirects more than {policy.max_redirects} times", url=url)


def _checked(target: Target, policy: UrlPolicy, resolve: Resolver) -> list[tuple[Any, ...]]:
    try:
        addresses = resolve(target.host, target.port)
    except (OSError, UnicodeError) as error:
        raise UnreachableError(
            f"the host of {target.url!r} is not known: {error}",
            hint="check its spelling, and the network",
            url=target.url,
        ) from error
    policy.check(target, [str(address[4][0]) for address in addresses])
    return addresses


def _hop(
    target: Target, addresses: list[tuple[Any, ...]], policy: UrlPolicy, deadline: float
) -> Fetched | Target:
    """Return the answer of one server, or where it redirects to."""
    connection = _Connection(target, addresses, deadline)
    try:
        connection.putrequest("GET", target.path, skip_host=True, skip_accept_encoding=True)
        for name, value in {"Host": target.authority, **_HEADERS}.items():
            connection.putheader(name, value)
        connection.endheaders()
        with connection.getresponse() as response:
            location = response.getheader("Location")
            if response.status in _REDIRECTS and location:
                return parse_url(urljoin(target.url, location))
            if response.status != http.client.OK:
                raise EndpointError(
                    f"{target.url!r} answered with {response.status} {response.reason}"[:300],
                    hint="check the URL",
                    url=target.url,
                    status=response.status,
                )
            data = b"".join(_content(response, target.url, policy.max_bytes))
            given = response.getheader("Content-Type")
            media_type = response.headers.get_content_type() if given else None
            return Fetched(target.url, data, media_type, response.headers.get_content_charset())
    finally:
        connection.close()


class _Connection(http.client.HTTPConnection):
    """A connection to the first of the checked addresses that answers."""

    def __init__(self, target: Target, addresses: list[tuple[Any, ...]], deadline: float) -> None:
        super().__init__(target.host, target.port)
        self._target = target
        self._addresses = addresses
        self._deadline = deadline

    def connect(self) -> None:
        problem: OSError = OSError("it has no address")
        for family, kind, protocol, _, address in self._addresses:
            opened = socket.socket(family, kind, protocol)
            try:
                opened.settimeout(_left(self._deadline))
                opened.connect(address)
                if self._target.scheme == "https":
                    context = ssl.create_default_context()
                    opened = context.wrap_socket(opened, server_hostname=self._target.host)
            except OSError as error:
                opened.close()
                problem = error
            else:
                self.sock = _TimedSocket(opened, self._deadline)
                return
        raise UnreachableError(
            f"cannot reach {self._target.authority!r}: {problem}", url=self._target.url
        ) from problem


class _TimedSocket:
    """What the HTTP client needs of a socket, each operation bounded by one deadline."""

    def __init__(self, opened: socket.socket, deadline: float) -> None:
        self._socket = opened
        self._deadline = deadline

    def sendall(self, data: bytes) -> None:
        self._socket.settimeout(_left(self._deadline))
        self._socket.sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_TimedReader(self._socket, self._deadline))

    def close(self) -> None:
        self._socket.close()


class _TimedReader(io.RawIOBase):
    def __init__(self, opened: socket.socket, deadline: float) -> None:
        self._socket = opened
        self._raw = opened.makefile("rb", buffering=0)  # keeps the socket open until it is closed
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._socket.settimeout(_left(self._deadline))
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("the time is over")
    return left


def _content(response: http.client.HTTPResponse, url: str, max_bytes: int) -> Iterator[bytes]:
    """Yield the content unpacked, and stop before it is too much."""
    too_large = LimitError(
        f"{url!r} is too large: more than {max_bytes:,} bytes",
        hint="raise max_bytes if it is worth it",
        url=url,
    )
    if response.length is not None and response.length > max_bytes:
        raise too_large
    length = 0
    for block in _unpacked(response, url):
        length += len(block)
        if length > max_bytes:
            raise too_large
        yield block


def _unpacked(response: http.client.HTTPResponse, url: str) -> Iterator[bytes]:
    encoding = (response.getheader("Content-Encoding") or "identity").strip().lower()
    if encoding == "identity":
        return _blocks(response)
    if encoding in ("gzip", "x-gzip", "deflate"):
        return _inflated(_blocks(response))
    raise DataError(f"{url!r} is packed with {encoding[:100]!r}, which was not asked for", url=url)


def _blocks(response: http.client.HTTPResponse) -> Iterator[bytes]:
    while block := response.read(_BLOCK_BYTES):
        yield block
    if response.length:
        raise http.client.IncompleteRead(b"", response.length)


def _inflated(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield what is packed, a block at a time however much it unpacks to."""
    inflater = None
    for block in blocks:
        if inflater is None:
            inflater = zlib.decompressobj(_window(block))
        while block and not inflater.eof:
            yield inflater.decompress(block, _BLOCK_BYTES)
            block = inflater.unconsumed_tail
    if inflater is not None and not inflater.eof:
        yield inflater.flush()
        if not inflater.eof:
            raise zlib.error("it is not packed to its end")


def _window(head: bytes) -> int:
    """Tell gzip and zlib, which have headers, from the bare stream that "deflate" also stands for.

    A zlib header is a multiple of 31 whose low four bits say "deflate".
    """
    is_zlib = len(head) > 1 and head[0] & 15 == 8 and int.from_bytes(head[:2], "big") % 31 == 0
    return zlib.MAX_WBITS | 32 if is_zlib or head[:2] == b"\x1f\x8b" else -zlib.MAX_WBITS
