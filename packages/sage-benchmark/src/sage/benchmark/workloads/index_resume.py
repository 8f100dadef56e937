"""I3: what ``kill -9`` costs an indexing run: the time of both runs, and what is embedded twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sage.benchmark.row import Contestant, Figure, Request, Role, Row, Sample
from sage.benchmark.workloads.index_documents import TEXTS, documents

__all__ = ["ROW", "killed", "measure", "undisturbed"]

_RECORD_BYTES = 16 + 4 * 384 + 4  # of the journal of vectors: key, vector, checksum
_HEADER_BYTES = 12


def measure(contestant: Callable[[Path, str], Sample], request: Request) -> Sample:
    """Index ``size`` documents with the default model, by the command as a user calls it."""
    docs = documents(request["scratch"], request["size"])
    with tempfile.TemporaryDirectory(dir=request["scratch"]) as home:
        return contestant(docs, home)


def undisturbed(docs: Path, home: str) -> Sample:
    """One run, from the start of its process to its end."""
    started = time.perf_counter()
    report = _finished(_started(docs, home))
    whole = time.perf_counter() - started
    return {"elapsed_s": whole, "second_s": 0.0, "chunks": report["chunks"], "twice": 0}


def killed(docs: Path, home: str) -> Sample:
    """A run that is killed when about half is embedded, and the one that goes on from there."""
    started = time.perf_counter()
    running = _started(docs, home)
    journal = Path(home, "collections", "default", "EMBEDDED")
    half = len(list(docs.iterdir()))  # they are of two chunks each
    while running.poll() is None and _embedded(journal) < half:
        time.sleep(0.002)
    running.send_signal(signal.SIGKILL)
    running.communicate()
    embedded = _embedded(journal)
    again = time.perf_counter()
    report = _finished(_started(docs, home))
    ended = time.perf_counter()
    return {
        "elapsed_s": ended - started,
        "second_s": ended - again,
        "chunks": report["chunks"],
        "embedded": embedded,
        "twice": embedded - report["recalled"],
    }


def _embedded(journal: Path) -> int:
    try:
        return (journal.stat().st_size - _HEADER_BYTES) // _RECORD_BYTES
    except FileNotFoundError:
        return 0


def _started(docs: Path, home: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "sage.cli", "index", str(docs), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "SAGE_HOME": home},
    )


def _finished(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, _ = process.communicate()
    report: dict[str, Any] = json.loads(out)
    if process.returncode:
        raise RuntimeError(out)
    return report


_HERE = "sage.benchmark.workloads.index_resume"

ROW = Row(
    key="I3",
    title="kill -9 when half is embedded, and the run that goes on from there",
    limit="a run that nobody kills",
    measure=f"{_HERE}:measure",
    size=500,
    quick_size=8,
    contestants=(
        Contestant(
            name="undisturbed",
            target=f"{_HERE}:undisturbed",
            role=Role.LIMIT,
            note=f"{TEXTS}, of two chunks each; MiniLM, Chroma",
        ),
        Contestant(name="killed", target=f"{_HERE}:killed", role=Role.SAGE),
    ),
    figures=(
        Figure(key="elapsed_s", label="s in all", digits=1),
        Figure(key="second_s", label="s of the second run", digits=1),
        Figure(key="chunks", label="chunks", digits=0),
        Figure(key="embedded", label="embedded before the kill", digits=0),
        Figure(key="twice", label="embedded twice", digits=0),
    ),
    compares_output=False,
    most_rounds=1,
)
