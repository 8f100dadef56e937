"""`quickstart.sh` does all the set-up, once, and says what is wrong where it cannot."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from sage.tools.repository import Repository

LEFT_OUT = (".venv", ".git", ".mypy_cache", ".ruff_cache", ".pytest_cache", "__pycache__", "site")


@pytest.fixture
def checkout(repository: Repository, tmp_path: Path) -> Path:
    """A copy of the checkout in which nothing is set up yet."""
    copy = tmp_path / "checkout"
    shutil.copytree(repository.root, copy, ignore=shutil.ignore_patterns(*LEFT_OUT))
    return copy


def quickstart(
    checkout: Path, *arguments: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run the script as a user without a terminal does."""
    environment = {k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "MYPYPATH"}}
    environment |= {"SAGE_HOME": str(checkout / "home"), **variables}
    return subprocess.run(
        [checkout / "quickstart.sh", *arguments],
        cwd=checkout.parent,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def test_help_lists_modes_and_verbs(checkout: Path) -> None:
    """`--help` tells everything there is and sets nothing up."""
    done = quickstart(checkout, "--help")
    assert done.returncode == 0
    modes = ["--core", "--standard", "--full", "--dev"]
    for word in [*modes, "--yes", "--with-torch", "--cuda", "--doctor", "demo", "test"]:
        assert word in done.stdout
    assert not (checkout / ".venv").exists()


def test_the_script_stays_short(checkout: Path) -> None:
    """Under 200 lines, so that one can read it before running it."""
    assert len((checkout / "quickstart.sh").read_text(encoding="utf-8").splitlines()) < 200


def test_an_unknown_argument_is_named(checkout: Path) -> None:
    """A typing error stops before anything is installed."""
    done = quickstart(checkout, "--standart")
    assert done.returncode == 2
    assert "unknown argument '--standart'" in done.stderr
    assert not (checkout / ".venv").exists()


def test_the_doctor_looks_and_touches_nothing(checkout: Path) -> None:
    """Before the set-up, `--doctor` says what it would be done with."""
    done = quickstart(checkout, "--doctor")
    assert done.returncode == 0, done.stderr
    assert "not set up" in done.stdout
    assert not (checkout / ".venv").exists()


@pytest.mark.slow
def test_without_an_index_the_failed_step_and_the_log_are_named(checkout: Path) -> None:
    """What cannot be installed is one screen of message and a non-zero exit code."""
    done = quickstart(
        checkout,
        "--core",
        SAGE_NO_UV="1",
        PIP_NO_INDEX="1",
        PIP_FIND_LINKS="",
        PIP_CONFIG_FILE=os.devnull,
    )
    assert done.returncode == 1
    assert "the step 'SAGE and what it needs (pip)' failed" in done.stderr
    assert str(checkout / "quickstart.log") in done.stderr
    assert len(done.stderr.splitlines()) < 24
    assert not (checkout / ".venv" / ".sage-setup").read_text(encoding="utf-8").startswith("done")


@pytest.mark.slow
def test_set_up_is_done_once_and_mends_what_was_interrupted(checkout: Path) -> None:
    """A second call finds all done; one after an interruption, or a broken venv, builds anew."""
    first = quickstart(checkout, "--core", "--yes")
    assert first.returncode == 0, first.stderr
    python = checkout / ".venv" / "bin" / "python"
    torch = subprocess.run([python, "-c", "import torch"], stderr=subprocess.DEVNULL, check=False)
    assert torch.returncode != 0, "PyTorch was installed without being asked for"

    started = time.monotonic()
    second = quickstart(checkout, "--core")
    assert second.returncode == 0
    assert "Setting up" not in second.stdout
    assert time.monotonic() - started < 2

    state = checkout / ".venv" / ".sage-setup"
    done = state.read_text(encoding="utf-8")
    state.write_text("installing\n", encoding="utf-8")
    python.unlink()
    third = quickstart(checkout, "--core")
    assert third.returncode == 0, third.stderr
    assert "built anew" in third.stdout
    assert state.read_text(encoding="utf-8") == done
