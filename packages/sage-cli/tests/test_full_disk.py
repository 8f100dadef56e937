"""A disk that fills up while indexing: the run fails in words and the old index answers."""

from __future__ import annotations

import json
import os
import shutil
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


@pytest.mark.parametrize(("store", "limit"), [("chroma", 70_000), ("numpy", 5_000)])
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


ON_A_DISK_OF_ITS_OWN = """
mount -t tmpfs -o size=1500k tmpfs "$SAGE_HOME/collections" || exit 77
sage() { "$PYTHON" -m sage.cli "$@"; }
sage index small --store "$STORE" --model mock:64 >/dev/null || exit 1
sage index large --json >full.json
echo "$?" >full.code
sage ask "At how many degrees does water boil?" --json >answer.json || exit 1
sage index small --json >again.json
"""


@pytest.mark.parametrize("store", ["chroma", "faiss", "numpy"])
def test_a_file_system_without_room_leaves_the_old_index_answering(tmp_path, store):
    """The same on a file system of a megabyte and a half that is really full (ENOSPC)."""
    isolated = ["unshare", "--map-root-user", "--mount"]
    if shutil.which("unshare") is None or subprocess.run([*isolated, "true"]).returncode:
        pytest.skip("mounting a file system in a namespace is not allowed here")
    for directory in ("home/collections", "small", "large"):
        (tmp_path / directory).mkdir(parents=True)
    (tmp_path / "small/water.txt").write_text("Water boils at one hundred degrees.\n")
    for number in range(400):
        text = f"Fact {number}: the number {number} follows {number - 1}. " * 60
        (tmp_path / f"large/{number}.txt").write_text(text, encoding="utf-8")
    variables = {"SAGE_HOME": str(tmp_path / "home"), "PYTHON": sys.executable, "STORE": store}
    done = subprocess.run(
        [*isolated, "sh", "-c", ON_A_DISK_OF_ITS_OWN],
        cwd=tmp_path,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=240,
    )
    if done.returncode == 77:
        pytest.skip("mounting a file system is not allowed here")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "full.code").read_text() == "1\n"
    error = json.loads((tmp_path / "full.json").read_text())["error"]
    assert error["code"] == "storage-error"
    assert "nothing is lost" in error["hint"]
    answer = json.loads((tmp_path / "answer.json").read_text())
    assert "one hundred degrees" in answer["passages"][0]["text"]
    assert json.loads((tmp_path / "again.json").read_text())["unchanged"] == 1
