"""Every snippet of the documentation is run, in the order of its page.

How a fenced block is treated says its language:

=============================  =====================================================================
``python``                     Run in one namespace per page; a ``text`` block right behind it is
                               what it prints.
``console``                    Each ``$`` line is run; the lines below it are what it prints. A
                               command that prints ``error [`` or ``"error":`` must fail, every
                               other must succeed.
any with ``title="FILE"``      Written to FILE; a later snippet has to use it.
``text``                       Shown, or what the ``python`` block right before it prints.
=============================  =====================================================================

``...`` in what is printed stands for anything, and any run of blanks equals any other. A comment
above a block changes how it is run: ``<!-- raises: NAME -->`` expects that exception,
``<!-- endpoint -->`` gives it an OpenAI-compatible endpoint on this machine, and
``<!-- not run: REASON -->`` leaves it out, and has to say why.
"""

from __future__ import annotations

import doctest
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import types
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

from sage.cli.main import main as sage
from sage.common.paths import cache_dir
from sage.libs.generation.testing import FakeOpenAIServer

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    {
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md")),
        *(ROOT / "docs-public").rglob("*.md"),
        *(ROOT / "packages").glob("*/README.md"),
    }
)
# Raise it only together with a new `not run:` comment that somebody has agreed to.
MOST_NOT_RUN = 12
LANGUAGES = {"python", "console", "text", "csv", "yaml", "markdown", "toml"}
RUN = {"python", "console"}
LOOSE = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE

BLOCK = re.compile(
    r"(?P<comments>(?:^<!--[^\n]*-->\n+)*)"
    r"^(?P<fence>`{3,})(?P<info>[^\n`]*)\n(?P<body>.*?)^(?P=fence)[ \t]*$",
    re.MULTILINE | re.DOTALL,
)
COMMENT = re.compile(r"<!--\s*(?P<key>[a-z ]+?)\s*(?::\s*(?P<value>.*?)\s*)?-->")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page, with what the comments above it say."""

    page: Path
    line: int
    language: str
    title: str
    body: str
    comments: dict[str, str]
    expected: str | None = None

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def is_run(self) -> bool:
        return self.language in RUN and "not run" not in self.comments and not self.title


def blocks_of(page: Path) -> list[Block]:
    """Return the fenced blocks of a page, each with the output that is shown behind it."""
    text = page.read_text(encoding="utf-8")
    found = list(BLOCK.finditer(text))
    blocks = []
    for match, following in pairwise([*found, None]):
        assert match is not None
        info = match["info"].strip()
        title = re.search(r'title="([^"]+)"', info)
        comments = {m["key"]: m["value"] or "" for m in COMMENT.finditer(match["comments"])}
        shown = None
        if following and following["info"].strip() == "text" and not following["comments"]:
            between = text[match.end() : following.start()]
            shown = following["body"] if not between.strip() else None
        blocks.append(
            Block(
                page,
                text.count("\n", 0, match.start("fence")) + 1,
                info.partition(" ")[0],
                title[1] if title else "",
                match["body"],
                comments,
                shown,
            )
        )
    return blocks


ALL = {page: blocks_of(page) for page in PAGES}
EVERY = [block for blocks in ALL.values() for block in blocks]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_snippet_does_what_the_page_says(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each snippet of a page runs, in order, and prints what is shown."""
    if not any(block.is_run for block in ALL[page]):
        return
    set_up(tmp_path, monkeypatch)
    module = types.ModuleType("__main__")  # a page is a script, also for worker processes
    monkeypatch.setitem(sys.modules, "__main__", module)
    for block in ALL[page]:
        if block.title:
            write(tmp_path / block.title, block.body)
        if not block.is_run:
            continue
        with endpoint("endpoint" in block.comments, monkeypatch):
            if block.language == "python":
                run_python(block, module)
            else:
                run_console(block)


def test_what_is_not_run_says_why() -> None:
    """A snippet is left out only by a comment with a reason, and there are few of these."""
    left_out = [block for block in EVERY if "not run" in block.comments]
    print(*(f"{b.place}: {b.comments['not run']}" for b in left_out), sep="\n")
    assert not [block.place for block in left_out if not block.comments["not run"]]
    assert len(left_out) <= MOST_NOT_RUN


def test_every_block_can_be_run_or_read() -> None:
    """A block says its language, and what looks like a snippet is one that the tests run."""
    assert not [block.place for block in EVERY if block.language not in LANGUAGES]
    assert not [b.place for b in EVERY if b.language in {"yaml", "toml"} and not is_used(b)]
    assert not [b.place for b in EVERY if b.title and not is_used(b)]
    known = {"raises", "endpoint", "not run"}
    assert not [block.place for block in EVERY if set(block.comments) - known]


def is_used(block: Block) -> bool:
    """Whether a file that a block holds occurs in a snippet that is run after it."""
    later = [b for b in ALL[block.page] if (b.is_run or b.title) and b.line > block.line]
    top = block.title.partition("/")[0]
    return "not run" in block.comments or (bool(top) and any(top in b.body for b in later))


def set_up(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make ``directory`` a small checkout of its own, with an empty home and no keys."""
    home = directory / ".sage"
    home.mkdir()
    converted = cache_dir()  # of whoever runs the tests: converting weights once is enough
    converted.mkdir(parents=True, exist_ok=True)
    (home / "cache").symlink_to(converted.resolve())
    for name in ("docs-public", "examples"):
        ignored = shutil.ignore_patterns("tests", "__pycache__", ".*")
        shutil.copytree(ROOT / name, directory / name, ignore=ignored)
    monkeypatch.chdir(directory)
    monkeypatch.setenv("SAGE_HOME", str(home))
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr(sys, "path", list(sys.path))
    for variable in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(variable, raising=False)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


@contextmanager
def endpoint(wanted: bool, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Stand a fake endpoint in for the one that a reader has, if a snippet needs it."""
    with ExitStack() as stack:
        if wanted:
            server = stack.enter_context(FakeOpenAIServer())
            context = stack.enter_context(monkeypatch.context())
            context.setenv("OPENAI_BASE_URL", server.base_url)
            context.setenv("OPENAI_API_KEY", "fake")
        yield


def run_python(block: Block, module: types.ModuleType) -> None:
    """Run a block in the namespace of its page; lines of tracebacks are those of the page."""
    code = compile("\n" * block.line + block.body, str(block.page), "exec")
    printed = io.StringIO()
    wanted = block.comments.get("raises")
    try:
        with redirect_stdout(printed):
            exec(code, module.__dict__)
    except Exception as error:
        if type(error).__name__ != wanted:
            raise AssertionError(f"{block.place}: {type(error).__name__}: {error}") from error
        printed.write(f"{wanted}: {error}\n")
    else:
        assert wanted is None, f"{block.place}: did not raise {wanted}"
    if block.expected is not None:
        compare(block.place, block.expected, printed.getvalue())


def run_console(block: Block) -> None:
    """Run the commands of a block and compare what each prints."""
    commands = re.split(r"^\$ ", block.body, flags=re.MULTILINE)
    assert not commands[0].strip(), f"{block.place}: starts with something else than '$ '"
    for entry in commands[1:]:
        line, _, expected = entry.partition("\n")
        place = f"{block.place}: $ {line}"
        code, printed = run_command(line)
        fails = "error [" in expected or '"error":' in expected
        assert (code != 0) == fails, f"{place}: exit code {code}\n{printed}"
        if expected.strip():
            compare(place, expected, printed)


def run_command(line: str) -> tuple[int, str]:
    """Run a command line; ``sage`` in this process, which is quicker."""
    words = shlex.split(line, comments=True)
    if words[0] == "sage":
        printed = io.StringIO()
        with redirect_stdout(printed), redirect_stderr(printed):
            return sage(words[1:]), printed.getvalue()
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-c", line],
        env={**os.environ, "PATH": programs},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


def compare(place: str, expected: str, got: str) -> None:
    """Compare what is shown with what was printed; see the module's docstring."""
    want, have = f"{expected.strip()}\n", f"{got.strip()}\n"
    equal = doctest.OutputChecker().check_output(want, have, LOOSE)
    assert equal, f"{place}\n--- the page shows\n{want}--- it printed\n{have}"
