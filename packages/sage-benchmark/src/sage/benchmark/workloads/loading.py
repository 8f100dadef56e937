"""I4: documents of five kinds loaded, one after the other, in threads, and in processes.

A fifth each is Markdown, HTML, PDF, DOCX and XLSX, of some 2,000 words. The texts that come out
have to be the same. Threads are what the seed's ``ParallelDocumentProcessor`` has; parsers written
in Python wait for each other there. SAGE's processes have limits on time and memory, are started
within the time, and send their texts back.
"""

from __future__ import annotations

import gc
import io
import os
import random
import resource
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sage.benchmark.measuring import digest
from sage.benchmark.row import Contestant, Figure, Request, Role, Row, Sample, Target

__all__ = ["ROW", "measure", "one_by_one", "sage", "threads", "written"]

Load = Callable[[Sequence[Path]], list[tuple[str, str]]]
"""Returns name and text of each file."""

_PARAGRAPHS, _SENTENCES, _WORDS = 40, 5, 10
_MOST_PAGE_LINES = 40


def one_by_one() -> Load:
    """The limit: `load_document` in a loop, in this process, with nothing around it."""
    from sage.libs.documents import load_document

    return lambda paths: [(path.name, load_document(path).text) for path in paths]


def threads() -> Load:
    """`load_document` in a thread for each processor, as the seed has it."""
    from sage.libs.documents import load_document

    def load(paths: Sequence[Path]) -> list[tuple[str, str]]:
        with ThreadPoolExecutor(_processors()) as executor:
            texts = executor.map(lambda path: load_document(path).text, paths)
            return [(path.name, text) for path, text in zip(paths, texts, strict=True)]

    return load


def sage() -> Load:
    """`load_documents` in a process for each processor."""
    from sage.common.records import Document
    from sage.libs.documents import load_documents

    def load(paths: Sequence[Path]) -> list[tuple[str, str]]:
        loaded = load_documents(paths, workers=_processors())
        return [
            (path.name, document.text if isinstance(document, Document) else str(document))
            for path, document in zip(paths, loaded, strict=True)
        ]

    return load


def measure(contestant: Callable[[], Load], request: Request) -> Sample:
    """Load the files.

    Args:
        contestant: Says how.
        request: The size is the number of files.
    """
    paths = written(Path(request["scratch"]) / f"documents-{request['size']}", request["size"])
    load = contestant()
    load(paths[:5])  # one of each kind: the parsers are imported
    gc.collect()
    started = time.perf_counter()
    texts = load(paths)
    elapsed = time.perf_counter() - started
    own, other = (
        resource.getrusage(who).ru_maxrss / 1024
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return {
        "elapsed_s": elapsed,
        "docs_per_min": len(paths) / elapsed * 60,
        "mb_per_s": sum(len(text.encode()) for _, text in texts) / elapsed / 1e6,
        "rss_mb": own + other * _processors(),
        "digest": digest(texts),
    }


def written(directory: Path, count: int) -> list[Path]:
    """Write the files if they are not there, and return their paths."""
    makers = (_markdown, _html, _pdf, _docx, _xlsx)
    directory.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(count):
        make = makers[number % len(makers)]
        path = directory / f"{number:05}.{make.__name__[1:].replace('markdown', 'md')}"
        if not path.exists():
            partial = path.with_suffix(".partial")
            partial.write_bytes(make(_paragraphs(number)))
            partial.replace(path)
        paths.append(path)
    return paths


def _processors() -> int:
    return os.cpu_count() or 1


def _paragraphs(seed: int) -> list[str]:
    """Return paragraphs of words that are the same for a seed."""
    numbers = random.Random(seed)
    words = ["".join(numbers.choices("aeilnorstu", k=numbers.randint(2, 9))) for _ in range(500)]

    def sentence() -> str:
        return " ".join(numbers.choices(words, k=_WORDS)).capitalize() + "."

    return [" ".join(sentence() for _ in range(_SENTENCES)) for _ in range(_PARAGRAPHS)]


def _markdown(paragraphs: Sequence[str]) -> bytes:
    return "# Title\n\n{}\n".format("\n\n".join(paragraphs)).encode()


def _html(paragraphs: Sequence[str]) -> bytes:
    body = "".join(f"<div class=x><p>{paragraph}</p></div>\n" for paragraph in paragraphs)
    return f"<!doctype html><title>Title</title><h1>Title</h1>{body}".encode()


def _docx(paragraphs: Sequence[str]) -> bytes:
    from docx import Document

    document, buffer = Document(), io.BytesIO()
    document.add_heading("Title")
    for paragraph in paragraphs:
        document.add_paragraph(paragraph)
    document.save(buffer)
    return buffer.getvalue()


def _xlsx(paragraphs: Sequence[str]) -> bytes:
    from openpyxl import Workbook

    book, buffer = Workbook(), io.BytesIO()
    for row in (["number", "text"], *enumerate(paragraphs)):
        book.active.append(row)
    book.save(buffer)
    return buffer.getvalue()


def _pdf(paragraphs: Sequence[str]) -> bytes:
    """Write a PDF by hand: a line for each sentence, so many to a page."""
    lines = [sentence + "." for text in paragraphs for sentence in text.rstrip(".").split(".")]
    pages = [lines[at : at + _MOST_PAGE_LINES] for at in range(0, len(lines), _MOST_PAGE_LINES)]
    font = "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"
    kids = " ".join(f"{3 + 2 * number} 0 R" for number in range(len(pages)))
    bodies = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>",
    ]
    for number, page in enumerate(pages):
        shown = "".join(f"({line.strip()}) Tj 0 -15 Td\n" for line in page)
        stream = f"BT /F1 12 Tf 72 720 Td\n{shown}ET"
        bodies.append(
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] "
            f"/Resources << /Font << /F1 {font} >> >> /Contents {4 + 2 * number} 0 R >>"
        )
        bodies.append(f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream")
    data, offsets = "%PDF-1.4\n", []
    for number, body in enumerate(bodies, 1):
        offsets.append(len(data))
        data += f"{number} 0 obj\n{body}\nendobj\n"
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    size = len(bodies) + 1
    return (
        f"{data}xref\n0 {size}\n0000000000 65535 f \n{table}trailer\n"
        f"<< /Size {size} /Root 1 0 R >>\nstartxref\n{len(data)}\n%%EOF\n"
    ).encode()


_HERE = "sage.benchmark.workloads.loading"

ROW = Row(
    key="I4",
    title="documents of five kinds, of 2,000 words each, loaded",
    limit="load_document in a loop",
    measure=f"{_HERE}:measure",
    size=400,
    quick_size=10,
    contestants=(
        Contestant(
            name="one by one", target=f"{_HERE}:one_by_one", role=Role.LIMIT, note="no limits"
        ),
        Contestant(name="threads", target=f"{_HERE}:threads", role=Role.PEER, note="no limits"),
        Contestant(
            name="SAGE",
            target=f"{_HERE}:sage",
            role=Role.SAGE,
            judged=True,
            note="a process for each processor, under limits; their start is in the time",
        ),
    ),
    figures=(
        Figure(key="docs_per_min", label="docs/min", digits=0),
        Figure(key="mb_per_s", label="MB of text/s"),
        Figure(key="rss_mb", label="MB, all processes", digits=0),
    ),
    targets=(
        # The seed's table: 50 documents a minute, in less than 4 GB; its "4x" needs four
        # processors, of two the most is 2.
        Target(figure="docs_per_min", must=50, aim=5_000),
        Target(figure="rss_mb", must=4_000, aim=1_000, at_most=True),
    ),
    most_rounds=5,
)
