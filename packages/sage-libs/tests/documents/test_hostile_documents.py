"""Bombs and oddities: each costs little, is refused in one line, and stops nothing else."""

from __future__ import annotations

import datetime
import importlib.util
import os
import threading
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import docx
import openpyxl
import pytest

from sage.common.errors import AccessRefusedError, DataError, LimitError
from sage.common.records import Document
from sage.libs.documents import (
    LoaderPool,
    LoadFailure,
    fingerprint,
    load_document,
    load_documents,
    loader_pool,
)
from sage.libs.documents.office_package import MOST_UNPACKED_BYTES
from sage.libs.documents.rooted import open_resolved, resolve_below


def _beside(name: str) -> ModuleType:
    """Import a module that stands beside this one; tests are no package."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


hostile = _beside("hostile")
OFFICE = [".docx", ".xlsx", ".pptx"]
PARTS = {".docx": "word/document.xml", ".xlsx": "xl/workbook.xml", ".pptx": "ppt/presentation.xml"}


def refused(path: Path, data: bytes, kind: type[DataError], message: str) -> None:
    """Check that loading fails with an error of exactly this kind, which names the file."""
    path.write_bytes(data)
    with pytest.raises(DataError, match=message) as caught:
        load_document(path)
    assert type(caught.value) is kind
    assert repr(str(path)) in caught.value.message


@pytest.mark.parametrize("suffix", OFFICE)
def test_a_zip_bomb_is_refused_by_what_it_says_of_itself(tmp_path: Path, suffix: str) -> None:
    """By its ratio, by its size, by its entries; nothing is unpacked to find out."""
    path = tmp_path / f"a{suffix}"
    good = hostile.office(path)
    ratio = hostile.rezipped(good, {"bomb.xml": bytes(25_000_000)})
    refused(path, ratio, LimitError, "as only a zip bomb does")
    many = hostile.rezipped(good, {f"{n}.xml": b"" for n in range(10_001)})
    refused(path, many, LimitError, "entries, at most 10,000 are read")


def test_a_zip_that_says_less_than_it_unpacks_to_gives_no_more(tmp_path: Path) -> None:
    """The size in the directory bounds what is read, and the checksum tells the lie."""
    path = tmp_path / "a.docx"
    data = bytearray(hostile.rezipped(hostile.office(path), {"word/document.xml": b"<a>" * 10_000}))
    entry = data.rindex(b"PK\x01\x02", 0, data.rindex(b"word/document.xml"))
    data[entry + 24 : entry + 28] = (10).to_bytes(4, "little")
    refused(path, bytes(data), DataError, "damaged DOCX")


def test_entries_that_share_their_bytes_count_each(tmp_path: Path) -> None:
    """A directory may list one packed entry many times; its sizes are added up all the same."""
    path = tmp_path / "a.xlsx"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.xml", bytes(1_000_000))
        [entry] = archive.infolist()
        archive.filelist.extend([entry] * (MOST_UNPACKED_BYTES // 1_000_000))
    refused(path, path.read_bytes(), LimitError, "unpacks to 401,000,000 bytes")


def test_an_archive_inside_is_not_opened(tmp_path: Path) -> None:
    """A bomb in a bomb is a few bytes that nobody asked for."""
    path = tmp_path / "a.docx"
    inner = hostile.rezipped(hostile.office(path), {"bomb": bytes(25_000_000)})
    path.write_bytes(hostile.rezipped(hostile.office(path), {"word/embeddings/a.docx": inner}))
    assert load_document(path).text == "Water boils.\n"


LAUGHS = "".join(
    f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' if n else '<!ENTITY l0 "ha">' for n in range(10)
)
ENTITIES = {
    "nested": f"<!DOCTYPE a [{LAUGHS}]><a>&l9;</a>",
    "external": '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>',
    "elsewhere": '<!DOCTYPE a SYSTEM "http://127.0.0.1/a.dtd"><a/>',
}


@pytest.mark.parametrize("suffix", OFFICE)
@pytest.mark.parametrize("kind", ENTITIES)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_entities_are_refused_before_a_parser_sees_them(
    tmp_path: Path, suffix: str, kind: str, encoding: str
) -> None:
    """In whatever encoding, and behind however much that is allowed before them."""
    path = tmp_path / f"a{suffix}"
    prolog = f'<?xml version="1.0" encoding="{encoding}"?>' + "<!-- x -->" * 20_000
    part = (prolog + ENTITIES[kind]).encode(encoding)
    data = hostile.rezipped(hostile.office(path), {PARTS[suffix]: part})
    refused(path, data, DataError, "declares XML entities in")


def test_deep_xml_is_refused(tmp_path: Path) -> None:
    """The parser stops where no document goes."""
    path = tmp_path / "a.docx"
    deep = b"<a>" * 100_000 + b"</a>" * 100_000
    refused(
        path,
        hostile.rezipped(hostile.office(path), {PARTS[".docx"]: deep}),
        DataError,
        "damaged DOCX",
    )


def test_a_cell_that_spans_a_billion_columns_is_refused(tmp_path: Path) -> None:
    """The library would give it a billion times."""
    path = tmp_path / "a.docx"
    word = docx.Document()
    word.add_table(1, 1).cell(0, 0).text = "x"
    word.save(str(path))
    with zipfile.ZipFile(path) as archive:
        xml = archive.read(PARTS[".docx"])
    wide = xml.replace(b"<w:tcPr>", b'<w:tcPr><w:gridSpan w:val="1000000000"/>')
    assert wide != xml
    data = hostile.rezipped(path.read_bytes(), {PARTS[".docx"]: wide})
    refused(path, data, LimitError, "more than 1,000 columns")


def test_a_sheet_that_says_it_is_huge_is_read_for_what_it_is(tmp_path: Path) -> None:
    """A cell far out costs a row, and a sheet full of them is refused."""
    path = tmp_path / "a.xlsx"
    book = openpyxl.Workbook()
    book.active["XFD50000"] = "far"
    book.save(path)
    assert load_document(path).text == "# Sheet\n\nfar\n"
    rows = "".join(
        f'<row r="{n}"><c r="XFD{n}" t="inlineStr"><is><t>x</t></is></c></row>'
        for n in range(1, 320)
    )
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    sheet = f'<worksheet xmlns="{main}"><sheetData>{rows}</sheetData></worksheet>'
    data = hostile.rezipped(hostile.office(path), {"xl/worksheets/sheet1.xml": sheet.encode()})
    refused(path, data, LimitError, "more than 5,000,000 cells, at sheet 'Sheet' row 306")


@pytest.mark.parametrize(
    ("data", "kind", "message"),
    [
        (lambda: hostile.pdf(b"3 0 R " * 110_000, count=110_000), LimitError, "more than is read"),
        (
            lambda: hostile.pdf(
                content=hostile.packed_zeros(80_000_000), filters=b"/Filter /FlateDecode"
            ),
            LimitError,
            "unpacks to more than is read of a PDF",
        ),
        (lambda: hostile.pdf(more=b"/X " + b"[" * 50_000 + b"]" * 50_000), DataError, "damaged"),
        (lambda: hostile.pdf(b"2 0 R 3 0 R"), DataError, "cyclic"),
        (
            lambda: hostile.pdf(objects=[b"5 0 R"], more=b"/X 5 0 R", kids=b"5 0 R"),
            DataError,
            "PDF",
        ),
    ],
    ids=["pages", "flate", "deep", "cycle", "itself"],
)
def test_pdf_bombs_are_refused(
    tmp_path: Path, data: Callable[[], bytes], kind: type[DataError], message: str
) -> None:
    """Page trees, packed streams and nesting that no writer makes."""
    refused(tmp_path / "a.pdf", data(), kind, message)


def test_a_pdf_that_lies_about_its_pages_is_read_for_what_it_has(tmp_path: Path) -> None:
    """A count of a billion pages is only a number."""
    (tmp_path / "a.pdf").write_bytes(hostile.pdf(count=10**9))
    document = load_document(tmp_path / "a.pdf")
    assert (document.text, document.metadata["pages"]) == ("Water boils.", 1)


@pytest.mark.parametrize("end", ["", ">", "-->", '">'])
@pytest.mark.parametrize("mark", ["<a ", "<!--", "</a ", '<a x="', "<![CDATA[", "<?", "<a b="])
def test_markup_that_never_ends_costs_what_text_does(tmp_path: Path, mark: str, end: str) -> None:
    """The parser would search the rest of the page from each of them anew: minutes for 100 kB."""
    path = tmp_path / "a.html"
    path.write_text("<p>Water boils.</p>" + mark * 20_000 + end)
    assert load_document(path).text.startswith("Water boils.\n")


def test_html_nested_very_deep_is_read(tmp_path: Path) -> None:
    """Its text is found however deep it stands."""
    path = tmp_path / "a.html"
    path.write_text("<div>" * 20_000 + "deep" + "</div>" * 20_000)
    assert load_document(path).text == "deep\n"


def test_front_matter_is_plain_data_without_aliases(tmp_path: Path) -> None:
    """Aliases of aliases stand for gigabytes in a few lines; they stay the text that they are."""
    path = tmp_path / "a.md"
    path.write_text("---\ndate: 2026-01-02\n1: one\n---\nWater\n")
    assert load_document(path).metadata["front_matter"] == {"date": "2026-01-02", "1": "one"}
    assert str(datetime.date(2026, 1, 2)) == "2026-01-02"
    lines = ["a0: &a0 [x]", *(f"a{n}: &a{n} [{f'*a{n - 1}, ' * 9}]" for n in range(1, 30))]
    bomb = "---\n" + "\n".join(lines) + "\n---\nWater\n"
    path.write_text(bomb)
    assert load_document(path).text == bomb


@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_deep_json_is_refused(tmp_path: Path, name: str) -> None:
    """Deeper than the decoder goes."""
    refused(tmp_path / name, b"[" * 100_000 + b"]" * 100_000, DataError, "nested too deeply")


@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.html", "a.csv", "a.jsonl", "a.py"])
def test_zero_bytes_are_an_empty_text(tmp_path: Path, name: str) -> None:
    """An empty text file is no error."""
    (tmp_path / name).write_bytes(b"")
    assert load_document(tmp_path / name).text == ""


@pytest.mark.parametrize("name", ["a.pdf", "a.docx", "a.xlsx", "a.pptx", "a.json"])
def test_zero_bytes_are_no_document(tmp_path: Path, name: str) -> None:
    """Of a format that has a beginning, nothing is not a short one."""
    refused(tmp_path / name, b"", DataError, "is not ")


@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.jsonl", "a.py", "a.html"])
def test_invalid_utf8_is_replaced_and_counted_or_refused(tmp_path: Path, name: str) -> None:
    """A broken character is one broken character; a file of them is no text."""
    path = tmp_path / name
    line = '{"text": "' + "It boils. " * 9 if name == "a.jsonl" else "It boils. " * 9
    end = '"}' if name == "a.jsonl" else ""
    path.write_bytes(line.encode() + b"\xff" + end.encode())
    document = load_document(path)
    assert document.metadata["replaced_characters"] == 1
    refused(path, bytes(range(128, 256)) * 9, DataError, "is not UTF-8 text|binary data")


def test_a_line_of_a_gigabyte_is_refused_with_how_to_raise_the_limit(tmp_path: Path) -> None:
    """And is not read to find out."""
    path = tmp_path / "a.txt"
    with path.open("wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(LimitError, match="1,073,741,824 bytes, at most 100,000,000") as caught:
        load_document(path)
    assert caught.value.hint == "split it, or raise max_bytes"
    with pytest.raises(LimitError, match="1,073,741,824 bytes, at most 100,000,000"):
        fingerprint(path)


def failure(loaded: Document | LoadFailure) -> LoadFailure:
    assert isinstance(loaded, LoadFailure)
    return loaded


def test_a_document_that_hangs_ends_only_its_process(tmp_path: Path) -> None:
    """It is one failure that names the limit, in its place; those around it are read."""
    paths = [tmp_path / name for name in ("0.md", "1.pdf", "2.md")]
    for path in paths[::2]:
        path.write_text("# Water\n")
    paths[1].write_bytes(hostile.doubling_pdf(60))
    first, hangs, second = load_documents(paths, workers=1, timeout_s=0.4)
    assert [first, second] == [load_document(path) for path in paths[::2]]
    assert failure(hangs).source == str(paths[1])
    assert failure(hangs).message == "it takes more than 0.4 seconds to be read"
    assert failure(hangs).code == "limit-exceeded"


def test_a_document_that_eats_memory_is_one_failure(tmp_path: Path) -> None:
    """The limit is on what documents take, on top of what the process has."""
    paths = [tmp_path / "0.json", tmp_path / "1.md"]
    paths[0].write_text("[[" + "[], " * 500_000 + "[]]]")
    paths[1].write_text("# Water\n")
    eats, fine = load_documents(paths, workers=1, memory_bytes=24_000_000)
    assert failure(eats).message == "it needs more than 24,000,000 bytes of memory to be read"
    assert failure(eats).code == "limit-exceeded"
    assert fine == load_document(paths[1])


def test_a_process_that_dies_is_one_failure_and_is_replaced(tmp_path: Path) -> None:
    """As when a parser written in C crashes, or the system runs out of memory."""
    (tmp_path / "a.pdf").write_bytes(hostile.doubling_pdf(60))
    (tmp_path / "b.md").write_text("# Water\n")
    with LoaderPool(workers=1) as pool, ThreadPoolExecutor(1) as thread:
        assert isinstance(pool.load(tmp_path / "b.md"), Document)
        [process] = pool._idle
        hangs = thread.submit(pool.load, tmp_path / "a.pdf")
        os.kill(process._process.pid, 9)
        assert "ended with SIGKILL" in failure(hangs.result()).message
        assert isinstance(pool.load(tmp_path / "b.md"), Document)


def test_a_pool_that_is_closed_gives_up_what_it_was_reading(tmp_path: Path) -> None:
    """Ctrl-C does not wait for a document that hangs; a closed pool says that it is."""
    (tmp_path / "a.pdf").write_bytes(hostile.doubling_pdf(60))
    pool = LoaderPool(workers=1)
    given: list[Document | LoadFailure] = []
    started = threading.Event()

    def load() -> None:
        started.set()
        given.append(pool.load(tmp_path / "a.pdf"))

    thread = threading.Thread(target=load)
    thread.start()
    started.wait()
    while not pool._busy:
        pass
    pool.close()
    thread.join()
    assert "closed before it was read" in failure(given[0]).message
    with pytest.raises(RuntimeError, match="is closed"):
        pool.load(tmp_path / "a.pdf")


def test_a_name_that_is_no_utf8_is_a_failure_of_that_document(tmp_path: Path) -> None:
    """It can be opened, but not written down."""
    path = os.fsencode(tmp_path) + b"/\xff.md"
    with open(path, "wb") as file:
        file.write(b"# Water\n")
    [loaded] = load_documents([os.fsdecode(path)], workers=1)
    assert "not valid UTF-8" in failure(loaded).message


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a root with a file, beside a secret."""
    (tmp_path / "root" / "sub").mkdir(parents=True)
    (tmp_path / "root" / "sub" / "a.md").write_text("public\n")
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "a.md").write_text("secret\n")
    return tmp_path / "root"


def test_nothing_outside_of_the_root_is_read(tree: Path) -> None:
    """By whatever path and link it is reached; what links and dots keep inside is."""
    (tree / "file.md").symlink_to(tree / ".." / "secret" / "a.md")
    (tree / "directory").symlink_to(tree.parent / "secret")
    (tree / "circle.md").symlink_to(tree / "circle.md")
    (tree / "inside.md").symlink_to("sub/a.md")
    outside = [
        tree.parent / "secret" / "a.md",
        tree / ".." / "secret" / "a.md",
        tree / "sub" / ".." / ".." / "secret" / "a.md",
        tree / "file.md",
        tree / "directory" / "a.md",
        tree.with_name("root2") / "a.md",
        Path("/etc/passwd"),
    ]
    for path in outside:
        with pytest.raises(AccessRefusedError, match="does not stand below"):
            load_document(path, root=tree)
    with pytest.raises(AccessRefusedError, match="does not lead through directories"):
        load_document(tree / "circle.md", root=tree)
    for path in (tree / "inside.md", tree / "sub" / ".." / "sub" / "a.md"):
        document = load_document(path, root=tree)
        assert (document.source, document.text) == ("sub/a.md", "public\n")
    single = load_document(tree / "sub" / "a.md", root=tree / "sub" / "a.md")
    assert single.source == "a.md"


def test_a_pipe_below_the_root_does_not_block(tree: Path) -> None:
    """It is refused as what it is, as is a directory."""
    os.mkfifo(tree / "a.md")
    (tree / "b.md").mkdir()
    with pytest.raises(DataError, match="not a regular file"):
        load_document(tree / "a.md", root=tree)
    with pytest.raises(DataError, match="is a directory"):
        load_document(tree / "b.md", root=tree)


def test_a_link_swapped_in_behind_the_check_is_refused(tree: Path) -> None:
    """For the file and for a directory above it: what was checked is opened, or nothing."""
    top, relative = resolve_below(tree, tree / "sub" / "a.md")
    with open_resolved(top, relative, shown="a.md") as file:
        assert file.read() == b"public\n"
    for swapped, outside in [("sub/a.md", "secret/a.md"), ("sub", "secret")]:
        (tree / swapped).rename(tree / "moved")
        (tree / swapped).symlink_to(tree.parent / outside)
        with pytest.raises(AccessRefusedError, match="or not any more"):
            open_resolved(top, relative, shown="a.md")
        (tree / swapped).unlink()
        (tree / "moved").rename(tree / swapped)


def test_front_matter_of_odd_values_is_no_reason_to_leave_a_document_out(tmp_path: Path) -> None:
    """What cannot be sent or stored is replaced; the text is what counts."""
    path = tmp_path / "a.md"
    path.write_text(
        '---\nserial: 123456789012345678901234567890\nby: "\\ud800"\n---\nWater boils.\n'
    )
    with LoaderPool(workers=1) as pool:
        loaded = pool.load(path)
    assert isinstance(loaded, Document)
    assert loaded.metadata["front_matter"] == {
        "serial": str(123456789012345678901234567890),
        "by": "?",
    }


def test_a_pool_that_is_closed_while_a_process_starts_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody would end it, and it would read on for a minute while others wait for the close."""
    pool = LoaderPool(workers=1)
    started = []

    class Starting(loader_pool._LoaderProcess):
        def __init__(self, setup: Any) -> None:
            super().__init__(setup)
            started.append(self)
            pool.close()

    monkeypatch.setattr(loader_pool, "_LoaderProcess", Starting)
    with pytest.raises(RuntimeError, match="is closed"):
        pool.load(tmp_path / "a.md")
    assert [process.alive for process in started] == [False]
