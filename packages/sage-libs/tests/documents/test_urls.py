"""URLs: what is fetched, what is refused however it is spelled, and how much a server may cost."""

from __future__ import annotations

import contextlib
import gzip
import ipaddress
import socket
import threading
import zlib
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from sage.common.errors import (
    AccessRefusedError,
    ConfigError,
    DataError,
    EndpointError,
    LimitError,
    UnreachableError,
)
from sage.common.records import Document
from sage.libs.documents import load_documents
from sage.libs.documents.loader_pool import LoadFailure
from sage.libs.documents.url_fetch import fetch
from sage.libs.documents.url_loader import load_url
from sage.libs.documents.url_policy import UrlPolicy, parse_url, why_not_public

PUBLIC = "93.184.216.34"


class Site(ThreadingHTTPServer):
    """A real server on the loopback address; ``pages`` are what it answers with."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.pages: dict[str, Callable[[BaseHTTPRequestHandler], None]] = {}
        self.asked: list[str] = []
        self.over = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.policy = UrlPolicy(allow=(f"127.0.0.1:{self.server_port}",), timeout_s=10)

    def page(self, path: str, body: bytes, *, status: int = 200, **headers: str) -> str:
        """Answer to ``path`` with a body, and return its URL."""

        def answer(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(status)
            sent = {"Content_Length": str(len(body)), **headers}
            for name, value in sent.items():
                handler.send_header(name.replace("_", "-"), value)
            handler.end_headers()
            handler.wfile.write(body)

        self.pages[path] = answer
        return self.url + path

    def redirect(self, path: str, location: str) -> str:
        """Answer to ``path`` with a redirect."""
        return self.page(path, b"", status=302, Location=location)


class _Handler(BaseHTTPRequestHandler):
    server: Site

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        with contextlib.suppress(OSError):  # the client has seen enough
            self.server.pages[self.path](self)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.over.set()
        server.shutdown()
        thread.join()


def test_a_page_is_read_by_what_the_server_says_that_it_is(site: Site) -> None:
    """The media type chooses the loader; redirects are followed and told."""
    page = site.page("/a", b"<h1>Water</h1><p>It boils.", Content_Type="text/html; charset=utf-8")
    document = load_url(page, site.policy)
    assert document.text == "# Water\n\nIt boils.\n"
    assert document.source == page
    assert document.metadata["media_type"] == "text/html"
    moved = load_url(site.redirect("/old", "a"), site.policy)
    assert moved.source == site.url + "/old"
    assert moved.metadata["final_url"] == page


@pytest.mark.parametrize(
    ("path", "said", "body", "media_type", "text"),
    [
        ("/a.md?raw=1", "text/plain", b"# Water\n", "text/markdown", "# Water\n"),
        ("/a.csv", "application/octet-stream", b"a\nx\n", "text/csv", "a: x\n"),
        ("/a.py?raw=1", "text/plain", b"x = 1\n", "text/x-python", "x = 1\n"),
        ("/a", "application/yaml", b"x: 1\n", "text/x-yaml", "x: 1\n"),
        ("/a", "text/plain", b"Water\n", "text/plain", "Water\n"),
        ("/a", "text/plain; charset=gb18030", "水沸".encode("gb18030"), "text/plain", "水沸"),
        ("/a", "text/html; charset=gb18030", "水沸".encode("gb18030"), "text/html", "水沸\n"),
    ],
)
def test_kinds_are_told_by_media_type_then_by_name(
    site: Site, path: str, said: str, body: bytes, media_type: str, text: str
) -> None:
    """Servers call plain text what they do not know; then the name in the URL counts."""
    document = load_url(site.page(path, body, Content_Type=said), site.policy)
    assert (document.metadata["media_type"], document.text) == (media_type, text)


def test_a_picture_is_refused_with_what_is_supported(site: Site) -> None:
    """The error names the media type."""
    with pytest.raises(DataError, match="files of kind 'image/png' are not supported"):
        load_url(site.page("/a.txt", b"x", Content_Type="image/png"), site.policy)


def _raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [("gzip", gzip.compress), ("deflate", zlib.compress), ("deflate", _raw_deflate)],
)
def test_packed_answers_are_unpacked_within_bounds(
    site: Site, encoding: str, pack: Callable[[bytes], bytes]
) -> None:
    """One that unpacks to too much is given up long before it has been unpacked."""
    text = b"Water boils. " * 1000
    fine = site.page("/a.txt", pack(text), Content_Encoding=encoding)
    assert fetch(fine, site.policy).data == text
    policy = UrlPolicy(allow_private=True, ports=None, max_bytes=100_000)
    bomb = site.page("/b.txt", pack(b"\0" * 5_000_000), Content_Encoding=encoding)
    with pytest.raises(LimitError, match="more than 100,000 bytes"):
        fetch(bomb, policy)
    broken = site.page("/c.txt", pack(text)[:-9], Content_Encoding=encoding)
    with pytest.raises(EndpointError, match="broke off"):
        fetch(broken, site.policy)


def test_an_answer_that_says_it_is_too_large_is_not_read(site: Site) -> None:
    """Nor is one that says nothing and goes on and on."""

    def endless(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not site.over.is_set():
            handler.wfile.write(b"x" * 65536)

    policy = UrlPolicy(allow_private=True, ports=None, max_bytes=1000)
    with pytest.raises(LimitError, match="too large"):
        fetch(site.page("/a", b"", Content_Length=str(10**15)), policy)
    site.pages["/b"] = endless
    with pytest.raises(LimitError, match="too large"):
        fetch(site.url + "/b", policy)


@pytest.mark.parametrize("where", ["before the answer", "in a header", "in the body"])
def test_a_server_that_drips_does_not_get_around_the_deadline(site: Site, where: str) -> None:
    """Each byte would be in time by itself; all of them are not."""

    def dripping(handler: BaseHTTPRequestHandler) -> None:
        if where == "in a header":
            handler.wfile.write(b"HTTP/1.0 200 OK\r\nX-Long: ")
        if where == "in the body":
            handler.wfile.write(b"HTTP/1.0 200 OK\r\n\r\n")
        while not site.over.wait(0.002):
            if where != "before the answer":
                handler.wfile.write(b"x")

    site.pages["/a"] = dripping
    with pytest.raises(LimitError, match=r"takes more than 0.2 seconds"):
        fetch(site.url + "/a", UrlPolicy(allow_private=True, ports=None, timeout_s=0.2))


def test_an_answer_that_breaks_off_is_no_document(site: Site) -> None:
    """Half a text would be indexed as if it were the whole."""
    with pytest.raises(EndpointError, match="broke off"):
        fetch(site.page("/a", b"half", Content_Length="8"), site.policy)
    chunked = b"4\r\nhalf\r\n8\r\nha"

    def half(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked)

    site.pages["/b"] = half
    with pytest.raises(EndpointError, match="broke off"):
        fetch(site.url + "/b", site.policy)


def test_an_error_page_is_no_document(site: Site) -> None:
    """The status is named, for people and for programs."""
    with pytest.raises(EndpointError, match="answered with 404") as caught:
        fetch(site.page("/a", b"gone", status=404), site.policy)
    assert caught.value.fields["status"] == 404


def test_redirects_end(site: Site) -> None:
    """A circle is left after as many hops as are allowed."""
    with pytest.raises(LimitError, match="redirects more than 5 times"):
        fetch(site.redirect("/a", "/a"), site.policy)
    assert len(site.asked) == 6


def test_a_host_that_is_not_there_is_unreachable() -> None:
    """A refused connection and an unknown name are told apart from a refusal of ours."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        with pytest.raises(UnreachableError, match="cannot reach"):
            fetch(f"http://127.0.0.1:{port}/", UrlPolicy(allow_private=True, ports=None))

    def unknown(host: str, port: int) -> list[tuple[Any, ...]]:
        raise socket.gaierror("Name or service not known")

    with pytest.raises(UnreachableError, match="is not known"):
        fetch("http://nowhere.example/", resolve=unknown)


NOT_PUBLIC = [
    "http://127.0.0.1/",
    "http://127.8.9.10/",
    "http://0.0.0.0/",
    "http://10.0.0.1/",
    "http://172.16.0.1/",
    "http://192.168.1.1/",
    "http://169.254.169.254/latest/meta-data/",
    "http://100.64.0.1/",
    "http://100.100.100.200/",
    "http://168.63.129.16/",
    "http://192.0.0.192/",
    "http://198.18.0.1/",
    "http://224.0.0.1/",
    "http://240.0.0.1/",
    "http://255.255.255.255/",
    "http://localhost/",
    "http://LOCALHOST./",
    "http://[::1]/",
    "http://[::]/",
    "http://[0:0:0:0:0:0:0:1]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:7f00:1]/",
    "http://[::127.0.0.1]/",
    "http://[64:ff9b::7f00:1]/",
    "http://[64:ff9b:1::a00:1]/",
    "http://[2002:7f00:1::]/",
    "http://[2001:0:0:0:0:0:80ff:fffe]/",
    "http://[fe80::1]/",
    "http://[fec0::1]/",
    "http://[fd00:ec2::254]/",
    "http://[ff02::1]/",
    "http://[2001:db8::1]/",
    "http://[100::1]/",
]
ODD = [
    "http://2130706433/",
    "http://0x7f000001/",
    "http://017700000001/",
    "http://0x7f.0x0.0x0.0x1/",
    "http://0177.0.0.1/",
    "http://0127.0.0.1/",
    "http://127.1/",
    "http://127.0.1/",
    "http://127.0.0.0x1/",
    "http://10.0.0.1.0x/",
    "http://256.256.256.256/",
    "http://\uff11\uff12\uff17.0.0.1/",
    "http://\u2460\u2461\u2466.0.0.1/",
    "http://127\u30020\u30020\u30021/",
    "http://\u24db\u24de\u24d2\u24d0\u24db\u24d7\u24de\u24e2\u24e3/",
    "http://127.0.0.1%00.example.com/",
    "http://%31%32%37.0.0.1/",
    "http://user@127.0.0.1/",
    "http://example.com@127.0.0.1/",
    "http://127.0.0.1:80@example.com/",
    "http://example.com:80:80/",
    "http://example.com:99999/",
    "http://example.com:0/",
    "http://example.com:-1/",
    "http://example.com:\u0661/",
    "http://[::1/",
    "http://[fe80::1%25eth0]/",
    "http://[::1].example.com/",
    "http://127.0.0.1\\@example.com/",
    "http://example.com\\@127.0.0.1/",
    "http:\\\\127.0.0.1\\",
    "http://example.com\t/",
    " http://127.0.0.1/",
    "http://exa mple.com/",
    "http://example.com/a\r\nHost: localhost",
    "http://a..b/",
    "http:///etc/passwd",
    "http:127.0.0.1",
    "//127.0.0.1/",
    "file:///etc/passwd",
    "FILE:///etc/passwd",
    "ftp://example.com/",
    "gopher://127.0.0.1:25/",
    "jar:http://example.com!/",
    "data:text/plain,x",
    "javascript:1",
    "",
    "http://" + "a" * 10_000,
]


@pytest.mark.parametrize("url", [*NOT_PUBLIC, *ODD])
def test_what_is_not_public_is_refused_however_it_is_spelled(url: str) -> None:
    """Nothing is connected to; the resolver is the system's, which knows the odd spellings too."""
    with pytest.raises(AccessRefusedError):
        fetch(url)


def test_a_redirect_is_checked_like_the_first_url(site: Site) -> None:
    """To what is not public, to what is not HTTP, and from a hop that was fine."""
    elsewhere = ["//localhost/", "file:///etc/passwd", "http://user@example.com/", "http://127.1/"]
    for number, location in enumerate([*NOT_PUBLIC, *elsewhere]):
        site.redirect(f"/{number}", location)
        with pytest.raises(AccessRefusedError):
            fetch(site.redirect("/first", f"/{number}"), site.policy)
        assert site.asked[-2:] == ["/first", f"/{number}"]


def _answering(*answers: str) -> Callable[[str, int], list[tuple[Any, ...]]]:
    """Return a fake name server that gives one answer after the other."""
    left = list(answers)

    def resolve(host: str, port: int) -> list[tuple[Any, ...]]:
        address = left.pop(0)
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        return [(family, socket.SOCK_STREAM, 6, "", (address, port))]

    return resolve


def test_a_name_is_resolved_once_and_what_was_checked_is_connected_to(site: Site) -> None:
    """A name server that would answer differently the second time is not asked again."""
    site.page("/a", b"Water")
    policy = UrlPolicy(allow=("127.0.0.0/8",))
    url = f"http://docs.example:{site.server_port}/a"
    assert fetch(url, policy, resolve=_answering("127.0.0.1")).data == b"Water"
    with pytest.raises(AccessRefusedError, match=r"leads to 10\.0\.0\.1, which is private"):
        fetch(url, policy, resolve=_answering("10.0.0.1"))


def test_a_name_with_a_public_and_a_private_address_is_refused() -> None:
    """Which one is connected to would be chance."""

    def both(host: str, port: int) -> list[tuple[Any, ...]]:
        return [*_answering(PUBLIC)(host, port), *_answering("::1")(host, port)]

    with pytest.raises(AccessRefusedError, match="leads to ::1, which is loopback"):
        fetch("http://docs.example/", resolve=both)


def test_the_allow_list_names_hosts_ports_and_networks() -> None:
    """What is allowed by name may have any port; what is not may not."""
    policy = UrlPolicy(allow=("wiki.example", "docs.example:8000", "10.1.0.0/16"))

    def check(url: str, address: str) -> None:
        policy.check(parse_url(url), [address])

    check("http://WIKI.example:9000/", "10.9.9.9")
    check("http://docs.example:8000/", "127.0.0.1")
    check("http://other.example:9000/", "10.1.2.3")
    check("https://other.example/", PUBLIC)
    for url, address in [
        ("http://docs.example/", "127.0.0.1"),
        ("http://sub.wiki.example/", "10.9.9.9"),
        ("http://other.example:9000/", PUBLIC),
        ("http://other.example/", "::ffff:10.1.2.3"),
    ]:
        with pytest.raises(AccessRefusedError):
            check(url, address)


@pytest.mark.parametrize("address", [PUBLIC, "8.8.8.8", "2606:4700:4700::1111", "64:ff9b::808:808"])
def test_public_addresses_are_public(address: str) -> None:
    """IPv4 through a translating network counts as what it is."""
    assert why_not_public(ipaddress.ip_address(address)) is None


def test_names_in_any_language_have_one_spelling() -> None:
    """Host, path and fragment come out as they are sent."""
    target = parse_url("HTTP://B\u00dcCHER.example.:080/\u6c34?q=a b#f".replace(" ", "%20"))
    assert target.url == "http://xn--bcher-kva.example/%E6%B0%B4?q=a%20b"


def test_urls_and_paths_may_be_loaded_together(site: Site, tmp_path: Path) -> None:
    """Each URL that cannot be fetched is one failure with its code."""
    (tmp_path / "a.md").write_text("# Water\n")
    page = site.page("/b.md", b"# Ice\n")
    sources = [tmp_path / "a.md", page, "http://10.0.0.1/", "file:///etc/passwd"]
    loaded = list(load_documents(sources, workers=1, root=tmp_path, urls=site.policy))
    first, second, third, fourth = loaded
    assert isinstance(first, Document)
    assert isinstance(second, Document)
    assert (first.source, second.source) == ("a.md", page)
    assert isinstance(third, LoadFailure)
    assert isinstance(fourth, LoadFailure)
    assert {third.code, fourth.code} == {"access-refused"}


@pytest.mark.parametrize("entry", ["http://wiki.example", "10.1.0.0/33"])
def test_what_is_allowed_is_a_host_or_a_network(entry: str) -> None:
    """A URL or a network that is none is told at once, and not with the first document."""
    with pytest.raises(ConfigError, match="a host"):
        UrlPolicy(allow=(entry,))
