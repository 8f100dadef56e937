"""The command as a whole: help, unknown commands, options that hold everywhere."""

from __future__ import annotations

import subprocess
import sys

import pytest


def test_without_arguments_it_shows_the_help(sage):
    """``sage`` alone explains itself and is no error."""
    outcome = sage()
    assert outcome.code == 0
    assert "index" in outcome.out
    assert "ask" in outcome.out


@pytest.mark.parametrize(
    "command",
    [
        *("index", "ask", "run", "list", "doctor", "version"),
        *("checkpoint list", "checkpoint show", "checkpoint verify"),
    ],
)
def test_every_command_takes_json_and_debug(sage, command):
    """``--json`` and ``--debug`` are there everywhere."""
    outcome = sage(*command.split(), "--help")
    assert outcome.code == 0
    assert "--json" in outcome.out
    assert "--debug" in outcome.out


def test_an_unknown_command_gets_a_suggestion(sage):
    """A mistyped command exits with 2 and names the nearest one."""
    outcome = sage("indx", "docs")
    assert outcome.code == 2
    assert "'index'" in outcome.err
    assert outcome.out == ""


def test_an_unknown_option_gets_a_suggestion(sage):
    """A mistyped option exits with 2 and names the nearest one."""
    outcome = sage("ask", "why?", "--topk", "3")
    assert outcome.code == 2
    assert "--top-k" in outcome.err


def test_a_missing_argument_is_a_usage_error_in_json_too(sage):
    """With ``--json`` even a wrong command line is told as JSON on stdout."""
    outcome = sage("ask", "--json")
    assert outcome.code == 2
    assert outcome.json["error"]["code"] == "usage-error"
    assert "QUESTION" in outcome.json["error"]["message"]


def test_help_imports_neither_the_engine_nor_the_libraries():
    """``sage --help`` stays quick because it loads only what it shows."""
    script = (
        "import sys; from sage.cli.main import main; main(['--help']);"
        "heavy = {'rich', 'numpy', 'onnxruntime', 'chromadb', 'yaml', 'msgspec'};"
        "ours = {m for m in sys.modules if m.startswith(('sage.kernel', 'sage.libs'))};"
        "print(sorted(heavy & sys.modules.keys()), sorted(ours), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stderr == "[] []\n"
