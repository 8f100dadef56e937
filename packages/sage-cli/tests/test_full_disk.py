"""A disk that fills up while indexing: the run fails in words and the old index answers."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

RUN = "import sys; from sage.cli.main import main; sys.exit(main())"
# No file may grow beyond this. The kernel says EFBIG where a full disk says ENOSPC; everything
# above the system call is the same.
LIMITED = (
    "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
    "resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, resource.RLIM_INFINITY));" + RUN
)


@pytest.fixture
def sage_limited(tmp_path):
    """Call ``sage`` in a process of its own, files limited to so many bytes."""
    environment = {**os.environ, "SAGE_HOME": str(tmp_path / "home")}

    def call(*arguments, limit: int | None = None):
        script = RUN if limit is None else LIMITED.format(limit=limit)
        return subprocess.run(
            [sys.executable, "-c", script, *map(str, arguments)],
            capture_output=True,
            text=True,
            env=environment,
            timeout=120,
        )

    return call


@pytest.mark.parametrize(("store", "limit"), [("chroma", 70_000), ("numpy", 0)])
def test_a_full_disk_leaves_the_old_index_answering(sage_limited, tmp_path, store, limit):
    """The message says what happened and what to do; asking goes on as before."""
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "water.txt").write_text("Water boils at one hundred degrees.\n", encoding="utf-8")
    first = sage_limited("index", docs, "--store", store, "--model", "mock:64")
    assert first.returncode == 0, first.stderr
    for number in range(100):
        text = f"Fact {number}: the number {number} follows {number - 1}. " * 5
        (docs / f"{number}.txt").write_text(text, encoding="utf-8")

    full = sage_limited("index", docs, limit=limit)
    assert full.returncode == 1, full.stdout
    assert "[storage-error]" in full.stderr
    assert "Traceback" not in full.stderr
    assert len(full.stderr.splitlines()) < 10

    answer = sage_limited("ask", "At how many degrees does water boil?")
    assert answer.returncode == 0, answer.stderr
    assert "one hundred degrees" in answer.stdout
    again = sage_limited("index", docs, "--json")
    assert again.returncode == 0, again.stderr
    assert '"unchanged": 1' in again.stdout
