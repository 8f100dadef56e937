"""``sage`` as a process of its own: signals, pipes, exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

SAGE = [sys.executable, "-m", "sage.cli"]


@pytest.fixture
def environment(tmp_path):
    """An environment with a home of its own and no keys."""
    left_out = ("OPENAI_API_KEY", "OPENAI_BASE_URL", "PYTHONUNBUFFERED")
    kept = {name: value for name, value in os.environ.items() if name not in left_out}
    return {**kept, "SAGE_HOME": str(tmp_path / "home"), "COLUMNS": "100"}


def run(*arguments, environment, **options):
    """Run ``sage`` to its end."""
    return subprocess.run(
        [*SAGE, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=60,
        **options,
    )


def write_script(tmp_path: Path, text: str) -> Path:
    """Write a script and return its path."""
    path = tmp_path / "job.py"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_installed_command_is_the_module(environment):
    """``sage`` and ``python -m sage.cli`` are the same."""
    script = Path(sys.executable).with_name("sage")
    installed = subprocess.run(
        [script, "--help"], capture_output=True, text=True, env=environment, check=True
    )
    assert installed.stdout == run("--help", environment=environment).stdout


def interrupted(script, environment):
    """Run a script until it says that it is ready, press Ctrl-C; return exit code and messages."""
    with subprocess.Popen(
        [*SAGE, "run", str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    return process.returncode, err


def test_ctrl_c_ends_with_130_and_one_line(tmp_path, environment):
    """Interrupting a script shows no traceback."""
    script = write_script(
        tmp_path, "import threading\nprint('ready', flush=True)\nthreading.Event().wait()\n"
    )
    code, err = interrupted(script, environment)
    assert code == 130
    assert err == "error [interrupted] stopped\n"


def test_a_reader_that_goes_away_is_no_error_message(environment):
    """``sage list | head`` ends quietly."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = subprocess.run(
        [*SAGE, "list", "--json"], stdout=write_end, stderr=subprocess.PIPE, env=environment
    )
    os.close(write_end)
    assert done.stderr == b""


def test_a_submitted_job_that_fails_makes_the_exit_code_non_zero(tmp_path, environment):
    """A script that ends after ``submit()`` still tells how its job ended."""
    script = write_script(
        tmp_path,
        "from sage.kernel import LocalEnvironment\n"
        "env = LocalEnvironment()\n"
        "env.from_collection([1, 0]).map(lambda x: 1 / x).print()\n"
        "env.submit()\n",
    )
    done = run("run", script, environment=environment)
    assert done.returncode == 1
    assert "division by zero" in done.stderr
    assert done.stdout == "1.0\n"


SUBMITS = """
import threading
from sage.kernel import LocalEnvironment
go = threading.Event()
env = LocalEnvironment("left")
env.from_collection([1, 2]).map(lambda x: (go.wait(30), {value})[1]).print()
env.submit()
threading.Timer(0.2, go.set).start()
"""


def test_json_is_told_when_the_jobs_left_behind_have_ended(tmp_path, environment):
    """``--json`` speaks of the whole run: what a submitted job prints comes before "finished"."""
    script = write_script(tmp_path, SUBMITS.replace("{value}", "x"))
    done = run("run", script, "--json", environment=environment)
    assert json.loads(done.stdout)["status"] == "finished"
    assert json.loads(done.stdout)["elapsed_s"] >= 0.2
    assert (done.stderr, done.returncode) == ("1\n2\n", 0)


def test_a_job_left_behind_that_fails_is_an_error_in_json(tmp_path, environment):
    """A failure after the end of the script is never "finished"."""
    script = write_script(tmp_path, SUBMITS.replace("{value}", "1 / (x - 1)"))
    done = run("run", script, "--json", environment=environment)
    assert json.loads(done.stdout)["error"]["code"] == "job-failed"
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


def test_ctrl_c_stops_a_job_left_behind(tmp_path, environment):
    """A job that a script has submitted is stopped by Ctrl-C like any other."""
    script = write_script(
        tmp_path,
        "import threading\n"
        "from sage.kernel import LocalEnvironment\n"
        "env = LocalEnvironment('left')\n"
        "env.from_collection(range(10**9)).map(\n"
        "    lambda x: x or print('ready', flush=True)\n"
        ").for_each(lambda x: None)\n"
        "env.submit()\n",
    )
    code, err = interrupted(script, environment)
    assert code == 130
    assert "Traceback" not in err
    assert err.endswith("error [interrupted] stopped\n")


def test_a_reader_that_goes_away_is_no_error_message_even_for_an_error(tmp_path, environment):
    """``sage index nope --json | head`` ends quietly too."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = subprocess.run(
        [*SAGE, "index", str(tmp_path / "nope"), "--json"],
        stdout=write_end,
        stderr=subprocess.PIPE,
        env=environment,
    )
    os.close(write_end)
    assert (done.stderr, done.returncode) == (b"", 1)


def test_a_bad_directory_on_a_real_command_line(tmp_path, environment):
    """One screen, no traceback, exit code 1."""
    done = run("index", tmp_path / "nope", environment=environment)
    assert (done.returncode, done.stdout) == (1, "")
    assert "nope" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) < 5
