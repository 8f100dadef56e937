"""Which URLs documents may be fetched from: the public web, and what is allowed by name.

A server that fetches what a user names can be made to fetch what only the server can reach
(server-side request forgery). Two rules hold against that, and both are checked at each hop: a URL
has one spelling that everybody reads the same way, or is refused; and the address that is connected
to is one that was checked. What is *not* tried is to find out from a name whether it is harmless.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, NoReturn
from urllib.parse import quote

from sage.common.errors import AccessRefusedError, ConfigError, Problem

__all__ = ["Target", "UrlPolicy", "is_url", "parse_url", "why_not_public"]

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_URL = re.compile(r"(https?)://([^/?#]*)([^#]*)(?:#.*)?", re.IGNORECASE)
_AUTHORITY = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^:\[\]]+))(?::([0-9]{0,5}))?")
_HOST = re.compile(r"[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*")
# What the system's resolver takes for (a part of) an address in some base.
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
# Blanks and controls, and the backslash, which browsers read as a slash and others do not.
_ODD = re.compile(r"[\x00-\x20\x7f\\]")
_LONGEST = 8192
_DEFAULT_PORTS = {"http": 80, "https": 443}
_SAFE = "/?:@!$&'()*+,;=-._~%[]|"

_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_COMPATIBLE = ipaddress.IPv6Network("::/96")
# Not public, though tables of the standard library (some versions of it) have them as such.
_NEVER = tuple(
    ipaddress.ip_network(network)
    for network in (
        "100.64.0.0/10",  # carrier-grade NAT
        "168.63.129.16/32",  # the host of virtual machines on Azure
        "192.0.0.0/24",
        "192.88.99.0/24",
        "2001::/23",
        "2001:db8::/32",
        "3fff::/20",
    )
)


class Target(NamedTuple):
    """A URL taken apart, each part in its one spelling.

    Attributes:
        scheme: ``http`` or ``https``.
        host: A name in ASCII and lower case, or an address.
        port: Given or that of the scheme.
        path: What is asked for: path and query.
    """

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """Host and port as they stand in a URL."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The URL, without a fragment."""
        return f"{self.scheme}://{self.authority}{self.path}"


@dataclass(frozen=True, kw_only=True)
class UrlPolicy:
    """Where documents may be fetched from, and how much may come from there.

    Attributes:
        allow: What may be fetched from though it is not public or has another port: a host
            (``wiki.example``), a host and port (``127.0.0.1:8000``), a network (``10.1.0.0/16``).
        allow_private: Allow every address. Only where whoever names URLs may see everything that
            this machine can reach.
        ports: The ports that may be connected to, or None for any.
        max_bytes: The largest answer, packed and unpacked.
        timeout_s: Most seconds for one document, redirects and all.
        max_redirects: How many redirects are followed.

    Raises:
        ConfigError: if something allowed with a ``/`` in it is not a network.

    Example:
        >>> policy = UrlPolicy(allow=("wiki.example", "10.1.0.0/16"))
        >>> policy.check(parse_url("http://wiki.example:8080/a"), ["10.9.9.9"])
        >>> policy.check(parse_url("http://intranet.example/"), ["10.1.2.3"])
        >>> policy.check(parse_url("http://intranet.example/"), ["10.9.9.9"])
        Traceback (most recent call last):
        sage.common.errors.AccessRefusedError: 'http://intranet.example/' leads to 10.9.9.9, \
which is private
          hint: to fetch from there all the same, allow it by name: sage index --allow-host \
intranet.example, or UrlPolicy(allow=('intranet.example',))
    """

    allow: tuple[str, ...] = ()
    allow_private: bool = False
    ports: tuple[int, ...] | None = (80, 443)
    max_bytes: int = 100_000_000
    timeout_s: float = 30.0
    max_redirects: int = 5

    def __post_init__(self) -> None:
        for entry in self.allow:
            try:
                if "/" in entry:
                    ipaddress.ip_network(entry)
            except ValueError as error:
                problem = Problem("$.allow", f"{error}, got {entry!r}")
                hint = "a host (wiki.example), a host and port, or a network (10.1.0.0/16)"
                raise ConfigError("UrlPolicy", [problem], hint=hint) from error

    def check(self, target: Target, addresses: Sequence[str]) -> None:
        """Refuse a URL if any address that its host has may not be connected to.

        A name with a public and a private address is a mistake at best.

        Raises:
            AccessRefusedError: naming the address and why.
        """
        if self.allow_private or self._names(target):
            return
        for text in addresses:
            address = ipaddress.ip_address(text)
            if self._covers(address):
                continue
            if reason := why_not_public(address):
                raise AccessRefusedError(
                    f"{target.url!r} leads to {address}, which is {reason}",
                    hint=_how_to_allow(target.host),
                    url=target.url,
                    address=str(address),
                )
            if self.ports is not None and target.port not in self.ports:
                raise AccessRefusedError(
                    f"{target.url!r} has port {target.port}, allowed are "
                    + ", ".join(map(str, self.ports)),
                    hint=_how_to_allow(target.authority),
                    url=target.url,
                )

    def _names(self, target: Target) -> bool:
        own = {target.host, f"{target.host}:{target.port}", target.authority}
        return any(entry.lower() in own for entry in self.allow)

    def _covers(self, address: _Address) -> bool:
        networks = [ipaddress.ip_network(entry) for entry in self.allow if "/" in entry]
        return any(address in network for network in networks)


def _how_to_allow(name: str) -> str:
    return (
        f"to fetch from there all the same, allow it by name: sage index --allow-host {name}, "
        f"or UrlPolicy(allow=({name!r},))"
    )


def is_url(source: str) -> bool:
    """Say whether a source is meant as a URL, of whatever scheme, and not as a path.

    Example:
        >>> is_url("https://example.com/a.md"), is_url("file:///etc/passwd"), is_url("notes/a.md")
        (True, True, False)
    """
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", source) is not None


def parse_url(url: str) -> Target:
    """Take a URL apart, and refuse what different programs would read differently.

    Args:
        url: ``http`` or ``https``; the host may be a name in any language.

    Raises:
        AccessRefusedError: for another scheme, a user name, an address in any but its usual
            spelling, or characters that have no place in a URL.

    Example:
        >>> parse_url("HTTPS://Example.COM/a?b#c").url
        'https://example.com/a?b'
        >>> parse_url("http://2130706433/")
        Traceback (most recent call last):
        sage.common.errors.AccessRefusedError: 'http://2130706433/' is refused: its host is an \
address in an odd spelling
    """
    if len(url) > _LONGEST:
        _refuse(url, f"it is longer than {_LONGEST:,} characters")
    if _ODD.search(url):
        _refuse(url, "it has a blank, a control character or a backslash in it")
    whole = _URL.fullmatch(url)
    if whole is None:
        _refuse(url, "only http:// and https:// are fetched")
    scheme, authority, path = whole[1].lower(), whole[2], whole[3]
    if "@" in authority:
        _refuse(url, "it has a user name before its host")
    parts = _AUTHORITY.fullmatch(authority)
    if parts is None:
        _refuse(url, f"{authority!r} is no host")
    host = _ipv6(url, parts[1]) if parts[1] else _name(url, parts[2])
    port = int(parts[3]) if parts[3] else _DEFAULT_PORTS[scheme]
    if not 0 < port < 1 << 16:
        _refuse(url, f"{port} is no port")
    path = quote(path if path.startswith("/") else "/" + path, safe=_SAFE)
    return Target(scheme, host, port, path)


def _ipv6(url: str, text: str) -> str:
    try:
        return str(ipaddress.IPv6Address(text))
    except ValueError:
        _refuse(url, f"{text!r} is no IPv6 address")


def _name(url: str, text: str) -> str:
    try:
        # Full-width digits, circled letters and the like become what they stand for.
        host = text.lower() if text.isascii() else text.encode("idna").decode("ascii").lower()
    except UnicodeError:
        _refuse(url, f"{text!r} is no name of a host")
    host = host.removesuffix(".")
    if len(host) > 253 or not _HOST.fullmatch(host):
        _refuse(url, f"{text!r} is no name of a host")
    if _NUMBER.fullmatch(host.rpartition(".")[2]):
        try:
            ipaddress.IPv4Address(host)
        except ValueError:
            _refuse(url, "its host is an address in an odd spelling")
    return host


def _refuse(url: str, reason: str) -> NoReturn:
    raise AccessRefusedError(f"{url[:200]!r} is refused: {reason}", url=url[:_LONGEST])


def why_not_public(address: _Address) -> str | None:
    """Return what an address is if it is not public, or None if anybody may reach it.

    An IPv4 address inside an IPv6 one (mapped, 6to4, Teredo, NAT64) counts as what it is.

    Example:
        >>> [why_not_public(ipaddress.ip_address(a)) for a in ("127.0.0.1", "::ffff:10.0.0.1")]
        ['loopback', 'private']
        >>> why_not_public(ipaddress.ip_address("9.9.9.9"))
    """
    inner = _inner(address) if isinstance(address, ipaddress.IPv6Address) else None
    if inner is not None:
        return why_not_public(inner)
    kinds = ("unspecified", "loopback", "link_local", "multicast", "reserved")
    for kind in kinds:
        if getattr(address, f"is_{kind}"):
            return kind.replace("_", "-")
    outside = isinstance(address, ipaddress.IPv6Address) and address not in _GLOBAL_UNICAST
    if outside or address.is_private or not address.is_global:
        return "private"
    return "private" if any(address in network for network in _NEVER) else None


def _inner(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address that traffic to an IPv6 address ends at, if it does."""
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    if address in _NAT64 or (address in _COMPATIBLE and int(address) > 1):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return None
