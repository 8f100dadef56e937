"""How errors are told."""

from __future__ import annotations

import errno
import json

import pytest

from sage.cli.failure import Failure, Presentation
from sage.common.errors import ConfigError, DataError, MissingKeyError, Problem


def test_an_error_is_told_on_stderr_with_its_hint_and_no_traceback(capsys):
    """Message, code and hint, on one screen."""
    code = Presentation().show(DataError("no such file: 'a'", hint="check the path"))
    captured = capsys.readouterr()
    assert code == 1
    assert captured.out == ""
    assert captured.err == "error [data-error] no such file: 'a'\n  hint: check the path\n"


def test_debug_shows_the_traceback(capsys):
    """``--debug`` shows where the error came from."""
    try:
        raise DataError("broken")
    except DataError as error:
        Presentation(debug=True).show(error)
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_json_holds_code_message_hint_and_fields(capsys):
    """Programs get the facts of an error, not only its prose."""
    Presentation(as_json=True).show(MissingKeyError("SOME_KEY", needed_by="the generator"))
    out = capsys.readouterr().out
    told = json.loads(out)["error"]
    assert told["code"] == "missing-key"
    assert told["variable"] == "SOME_KEY"
    assert "SOME_KEY" in told["hint"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_a_storage_error(number):
    """An error of the operating system is told in our words."""
    failure = Failure.of(OSError(number, "No space left on device", "/data/x"))
    assert failure.code == "storage-error"
    assert "/data/x" in failure.message


def test_a_package_that_is_not_installed_is_told_with_the_install_line():
    """A missing import is an extra to install, not a bug."""
    failure = Failure.of(ModuleNotFoundError("No module named 'chromadb'", name="chromadb.api"))
    assert failure.code == "missing-extra"
    assert "pip install" in (failure.hint or "")


def test_a_bug_of_ours_says_so():
    """What nobody foresaw does not pretend to be the user's fault."""
    failure = Failure.of(ZeroDivisionError("division by zero"))
    assert failure.code == "internal-error"
    assert "bug in SAGE" in (failure.hint or "")


def test_a_hundred_problems_fit_on_one_screen(capsys):
    """A long list is cut, and says that it is."""
    problems = [Problem(f"$.a{i}", "unknown key") for i in range(100)]
    Presentation().show(ConfigError("file.yaml", problems))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) < 25
    assert "83 more lines" in lines[-1]
