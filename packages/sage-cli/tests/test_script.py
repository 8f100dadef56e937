"""``sage run FILE.py``."""

from __future__ import annotations

import pytest


@pytest.fixture
def script(tmp_path):
    """Write a script and return its path."""

    def write(text: str):
        path = tmp_path / "job.py"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_a_script_runs_as_main_with_its_arguments(sage, script):
    """A script sees what it would see under ``python``."""
    path = script("import sys\nprint(__name__, sys.argv[1:])\n")
    outcome = sage("run", path, "one", "--", "--two")
    assert outcome.code == 0
    assert outcome.out == "__main__ ['one', '--two']\n"


def test_a_script_finds_the_modules_beside_it(sage, script, tmp_path):
    """The directory of the script is where its imports are looked for first."""
    (tmp_path / "neighbour_of_job.py").write_text("WORD = 'found'\n", encoding="utf-8")
    outcome = sage("run", script("import neighbour_of_job\nprint(neighbour_of_job.WORD)\n"))
    assert outcome.out == "found\n"


def test_an_exception_shows_the_lines_of_the_script_only(sage, script):
    """The author sees the own code, not ours."""
    outcome = sage("run", script("def divide(a):\n    return a / 0\n\ndivide(1)\n"))
    assert outcome.code == 1
    assert "ZeroDivisionError: division by zero" in outcome.err
    assert "return a / 0" in outcome.err
    assert "runpy" not in outcome.err
    assert "sage/cli" not in outcome.err


def test_a_syntax_error_names_the_line(sage, script):
    """A script that is not Python is told with the line."""
    outcome = sage("run", script("a = (\n"))
    assert outcome.code == 1
    assert "line 1" in outcome.err
    assert "'(' was never closed" in outcome.err


def test_the_exit_code_of_a_script_is_passed_on(sage, script):
    """``sys.exit(3)`` in a script is 3 outside."""
    assert sage("run", script("import sys\nsys.exit(3)\n")).code == 3


def test_json_keeps_the_prints_of_a_script_off_stdout(sage, script):
    """With ``--json`` stdout holds one JSON document, whatever the script prints."""
    outcome = sage("run", script("print('hello')\n"), "--json")
    assert outcome.json["status"] == "finished"
    assert outcome.err == "hello\n"


def test_a_missing_script_is_named(sage, tmp_path):
    """A path that does not exist is told with the path."""
    outcome = sage("run", tmp_path / "nope.py")
    assert outcome.code == 1
    assert "nope.py" in outcome.err


def test_another_kind_of_file_is_a_usage_error(sage, tmp_path):
    """Only scripts and pipelines can be run."""
    outcome = sage("run", tmp_path / "notes.txt")
    assert outcome.code == 2
    assert "notes.txt" in outcome.err


def test_a_failing_job_names_operator_record_and_line(sage, script):
    """A failure in an operator says which one, at which record, in which line of the user."""
    path = script(
        "from sage.kernel import LocalEnvironment\n"
        "def invert(x):\n"
        "    return 1 / x\n"
        "env = LocalEnvironment()\n"
        "env.from_collection([2, 1, 0]).map(invert).print()\n"
        "env.execute()\n"
    )
    outcome = sage("run", path)
    assert outcome.code == 1
    assert "'invert'" in outcome.err
    assert "record 0" in outcome.err
    assert "return 1 / x" in outcome.err
    assert "sage/kernel" not in outcome.err
