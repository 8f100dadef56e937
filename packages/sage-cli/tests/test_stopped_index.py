"""An indexing run that is stopped in the middle: the old index answers, the next run goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

DOCUMENTS = 3000


@pytest.fixture
def sage(tmp_path):
    """Start ``sage`` as a process of its own, in a home of its own."""
    environment = {**os.environ, "SAGE_HOME": str(tmp_path / "home"), "COLUMNS": "100"}

    def start(*arguments):
        return subprocess.Popen(
            [sys.executable, "-m", "sage.cli", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )

    return start


def finished(process):
    """Return what a process has printed as JSON."""
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, out + err
    return json.loads(out)


def stop_in_the_middle(process, collection, number):
    """Send the signal once the run has begun to write; return its exit code and messages."""
    while not list(collection.glob(".staging-*/catalogue.sqlite")):
        try:
            process.wait(0.02)
        except subprocess.TimeoutExpired:
            continue
        pytest.fail("it ended before it could be stopped")
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    return process.returncode, err


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_run_leaves_an_index_that_answers(sage, tmp_path, number):
    """``kill -9`` and Ctrl-C lose nothing: asking works at once, and indexing again completes."""
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "0.txt").write_text("Water boils at one hundred degrees.\n", encoding="utf-8")
    finished(sage("index", docs, "--json", "--model", "mock:32", "--store", "numpy"))
    for fact in range(1, DOCUMENTS):
        (docs / f"{fact}.txt").write_text(f"The number {fact} follows {fact - 1}. " * 30)

    collection = tmp_path / "home" / "collections" / "default"
    code, err = stop_in_the_middle(sage("index", docs), collection, number)
    assert "Traceback" not in err
    if number == signal.SIGINT:
        assert code == 130
        assert "the next run goes on from there" in err

    answer = finished(sage("ask", "At how many degrees does water boil?", "--json"))
    assert "one hundred degrees" in answer["passages"][0]["text"]
    report = finished(sage("index", docs, "--json"))
    assert len(report["added"]) + report["unchanged"] == DOCUMENTS
    assert report["failed"] == []
    assert len(report["added"]) == DOCUMENTS - 1 or number == signal.SIGINT
    assert sorted(path.name for path in collection.iterdir() if path.name.startswith(".")) == []
