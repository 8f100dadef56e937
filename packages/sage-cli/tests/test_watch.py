"""``sage index --watch``: it shows what it did, and Ctrl-C is how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys


def test_watching_reports_each_change_and_ends_with_ctrl_c(tmp_path):
    """A line of JSON for each run that did something; exit code 0."""
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "a.txt").write_text("Water boils.\n", encoding="utf-8")
    arguments = ("index", docs, "--watch", "--json", "--model", "mock:32", "--store", "numpy")
    process = subprocess.Popen(
        [sys.executable, "-m", "sage.cli", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "SAGE_HOME": str(tmp_path / "home")},
    )
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["added"] == [str(docs / "a.txt")]
    (docs / "b.txt").write_text("Iron rusts.\n", encoding="utf-8")
    while "b.txt" not in (line := process.stdout.readline()):
        assert line, "it ended"
    assert json.loads(line)["unchanged"] == 1
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, ""), err
    assert err.strip() == "stopped watching"
