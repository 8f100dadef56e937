"""An indexing run that is stopped in the middle: the old index answers, the next run goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from sage.libs.collection import Collection
from sage.libs.embedding import load_embedder

DOCUMENTS = 500
MODEL = "mock:32"
RECORD_BYTES = 16 + 4 * 32 + 4  # of the journal, see sage.libs.collection.journal


@pytest.fixture(scope="module")
def docs(tmp_path_factory):
    """A directory of small documents, of two chunks each."""
    root = tmp_path_factory.mktemp("docs")
    (root / "0.txt").write_text("Water boils at one hundred degrees.\n", encoding="utf-8")
    for fact in range(1, DOCUMENTS):
        (root / f"{fact}.txt").write_text(f"The number {fact} follows {fact - 1}. " * 40)
    return root


@pytest.fixture
def home(tmp_path):
    """A home directory."""
    return tmp_path / "home"


def start(home, *arguments):
    """Start ``sage`` as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "sage.cli", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "SAGE_HOME": str(home), "COLUMNS": "100"},
    )


def finished(process):
    """Return what a process has printed as JSON."""
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, out + err
    return json.loads(out)


def stop_when(process, reached, number):
    """Send the signal once the run has come so far; return its exit code and messages."""
    while not reached():
        try:
            process.wait(0.002)
        except subprocess.TimeoutExpired:
            continue
        pytest.fail("it ended before it could be stopped")
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    return process.returncode, err


def embedded(home):
    """Return how many vectors a run has written down."""
    journal = home / "collections" / "default" / "EMBEDDED"
    return (journal.stat().st_size - 12) // RECORD_BYTES if journal.exists() else 0


def content(home):
    """Return the chunks of the index by id, having found each one by its own vector."""
    with Collection.open("default", home=home) as collection:
        ids, texts = collection._catalogue.texts()
        vectors = load_embedder(MODEL).embed(texts)
        found = collection._store().search(vectors, 1)
    assert all(hits[0].score > 0.999 for hits in found)
    assert collection.stats().chunks == len(ids)
    return dict(zip(ids, texts, strict=True))


@pytest.fixture(scope="module")
def whole(docs, tmp_path_factory):
    """What an index holds that nobody interrupted."""
    home = tmp_path_factory.mktemp("whole")
    finished(start(home, "index", docs, "--json", "--model", MODEL, "--store", "numpy"))
    return content(home)


MOMENTS = {
    "as it begins": lambda home: (home / "collections" / "default" / "LOCK").exists(),
    "with little embedded": lambda home: embedded(home) > 0,
    "with most embedded": lambda home: embedded(home) > 1.5 * DOCUMENTS,
    "while it commits": lambda home: list(home.glob("collections/default/.staging-*/words")),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_run_is_taken_up_where_it_was(docs, home, whole, moment):
    """``kill -9`` at any moment: what was embedded is not again, and the index is as if never."""
    arguments = ("index", docs, "--json", "--model", MODEL, "--store", "numpy")
    stop_when(start(home, *arguments), lambda: MOMENTS[moment](home), signal.SIGKILL)
    known = embedded(home)
    report = finished(start(home, *arguments))
    assert len(report["added"]) == DOCUMENTS
    assert report["recalled"] == known
    assert content(home) == whole
    collection = home / "collections" / "default"
    assert sorted(path.name for path in collection.iterdir()) == ["CURRENT", "LOCK", "gen-0001"]


def test_ctrl_c_keeps_what_is_done_and_the_old_index_answers(docs, home, tmp_path, whole):
    """Documents that are done are in the index, and the next run adds the others."""
    few = tmp_path / "few"
    few.mkdir()
    (few / "water.txt").write_bytes((docs / "0.txt").read_bytes())
    finished(start(home, "index", few, "--json", "--model", MODEL, "--store", "numpy"))
    running = start(home, "index", docs)
    code, err = stop_when(running, lambda: embedded(home) > 0, signal.SIGINT)
    assert "Traceback" not in err
    assert code == 130
    assert "the next run goes on from there" in err
    answer = finished(start(home, "ask", "At how many degrees does water boil?", "--json"))
    assert "one hundred degrees" in answer["passages"][0]["text"]
    report = finished(start(home, "index", docs, "--json"))
    assert 0 < len(report["added"]) < DOCUMENTS
    assert len(report["added"]) + report["unchanged"] == DOCUMENTS
    assert report["failed"] == []
    assert content(home).items() > whole.items()
