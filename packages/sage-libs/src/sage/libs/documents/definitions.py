"""Where the definitions of source code begin and end: Python by its syntax tree, others by shape.

Definitions of one level tile what they stand in: comments and decorators above a definition belong
to it, and so do the blank lines behind it; what stands between definitions (imports, constants) is
a region without a name.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

__all__ = ["Region", "regions_by_shape", "regions_of", "regions_of_python"]

# Syntax trees take hundreds of bytes for each character; generated code of megabytes has no reader.
_LONGEST_PARSED = 1 << 20
_DEEPEST = 8
_NAMED = re.compile(
    r"\s*(?:[\w@:<>,.*&\[\]]+\s+){0,6}?(?:async\s+)?"
    r"(?:class|def|enum|fn|func|function|impl|interface|macro_rules!|module|namespace|object|"
    r"proc|record|struct|sub|trait|type|union)\s+(?:\([^()]{0,80}\)\s*)?"
    r"([A-Za-z_$][\w$.:]*)"
)
_CALLABLE = re.compile(
    r"\s*(?!(?:await|else|for|if|in|new|raise|return|throw|while|yield)\b)"
    r"(?:[\w:<>,*&\[\]]+\s+){1,5}\**([A-Za-z_]\w*)\s*\("
)
_ASSIGNED = re.compile(r"\s*(?:export\s+)?(?:const|let|var)\s+([A-Za-z_$][\w$]*)\s*=.*(?:=>|\()")
_METHOD = re.compile(
    r"\s*(?:(?:async|get|private|protected|public|set|static)\s+)*"
    r"(?!(?:for|if|switch|while|with)\b)([A-Za-z_$][\w$]*)\s*\([^;]*\)\s*\{"
)
# What goes on with, or ends, the block above.
_GOES_ON = re.compile(r"\s*(?:[})\]{]|(?:end|else|elif|catch|except|finally|fi|done|esac)\b)")
_LOOKED_AT = 300
_Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


class Region(NamedTuple):
    """A definition, or what stands between two: ``text[start:end]``.

    Attributes:
        start: Offset of its first line.
        end: Offset behind its last line.
        name: Its name with those of the classes around it, ``Cache.get``; empty if it has none.
        inner: What it is made of, if that can be told; tiles it.
    """

    start: int
    end: int
    name: str = ""
    inner: tuple[Region, ...] = ()


def regions_of(text: str, language: str) -> list[Region]:
    """Return the regions of a source file, tiling it; for Python that can be parsed, exactly.

    Example:
        >>> text = "import os\\n\\n# The answer.\\ndef answer():\\n    return 42\\n"
        >>> [(r.name, text[r.start : r.end]) for r in regions_of(text, "python")]
        [('', 'import os\\n\\n'), ('answer', '# The answer.\\ndef answer():\\n    return 42\\n')]
    """
    exact = regions_of_python(text) if language == "python" else None
    return regions_by_shape(text) if exact is None else exact


def regions_of_python(text: str) -> list[Region] | None:
    """Return the regions of a Python module, or None if it cannot be parsed."""
    # A carriage return ends a line for the parser and not for us.
    if len(text) > _LONGEST_PARSED or "\r" in text:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            module = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    return list(_python(module.body, _Lines(text), 0, len(text), ""))


class _Lines:
    """Where lines begin, and which of them are comments."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.starts = [0, *(match.end() for match in re.finditer("\n", text))]

    def begin_of(self, node: ast.stmt, earliest: int) -> int:
        """Return where a statement begins, with its decorators and the comments above it."""
        decorators: list[ast.expr] = getattr(node, "decorator_list", [])
        line = min(node.lineno, *(d.lineno for d in decorators), node.lineno) - 1
        while line > 0 and self.starts[line - 1] >= earliest and self._is_comment(line - 1):
            line -= 1
        return max(self.starts[line], earliest)

    def _is_comment(self, line: int) -> bool:
        start = self.starts[line]
        return self.text[start : min(self.starts[line + 1], start + _LOOKED_AT)].lstrip()[:1] == "#"


def _python(
    body: Sequence[ast.stmt], lines: _Lines, start: int, end: int, around: str
) -> Iterator[Region]:
    """Yield the regions of a body that stands at ``start:end``, tiling that."""
    opened: list[tuple[int, _Definition | None]] = [(start, None)]
    for number, node in enumerate(body):
        definition = node if isinstance(node, _Definition) else None
        begin, before = opened[-1]
        if number == 0 and definition is not None:
            opened[-1] = (start, definition)  # the line that opens a class stays with its first
        elif definition is not None or before is not None:
            opened.append((lines.begin_of(node, begin), definition))
    ends = [*(begin for begin, _ in opened[1:]), end]
    for (begin, definition), stop in zip(opened, ends, strict=True):
        name = f"{around}{definition.name}" if definition is not None else ""
        inner: tuple[Region, ...] = ()
        if isinstance(definition, ast.ClassDef):
            inner = tuple(_python(definition.body, lines, begin, stop, f"{name}."))
        if begin < stop:
            yield Region(begin, stop, name, inner)


def regions_by_shape(text: str) -> list[Region]:
    """Return the regions of source code in any language, by blank lines, indentation and braces.

    A region begins at a line of the least indentation that follows a blank line or an indented one,
    unless it closes or goes on with what is above it.
    """
    starts = [0, *(match.end() for match in re.finditer("\n", text)), len(text)]
    lines = [_Line.of(text, a, b) for a, b in pairwise(starts) if b > a]
    return list(_shaped(lines, text, "", 0))


class _Line(NamedTuple):
    start: int
    end: int
    indent: int
    blank: bool
    goes_on: bool

    @classmethod
    def of(cls, text: str, start: int, end: int) -> _Line:
        line = text[start : min(end, start + _LOOKED_AT)]
        bare = line.strip()
        indent = len(line.expandtabs(4)) - len(line.expandtabs(4).lstrip())
        return cls(start, end, indent, not bare, _GOES_ON.match(line) is not None)


def _shaped(lines: Sequence[_Line], text: str, around: str, depth: int) -> Iterator[Region]:
    """Yield the regions that these lines make, tiling them."""
    base = _base(lines)
    first = 0
    before: _Line | None = None  # the last line that is not blank
    for number, line in enumerate(lines):
        if line.blank:
            continue
        parted = number > 0 and (
            lines[number - 1].blank or (before is not None and before.indent > base)
        )
        parted = parted or (before is not None and before.goes_on)
        if parted and line.indent <= base and not line.goes_on and number > first:
            yield _region(lines[first:number], text, around, depth)
            first = number
        before = line
    if first < len(lines):
        yield _region(lines[first:], text, around, depth)


def _base(lines: Sequence[_Line]) -> int:
    """Return the least indentation; what closes a block may stand further out."""
    return min((line.indent for line in lines if not line.blank and not line.goes_on), default=0)


def _region(lines: Sequence[_Line], text: str, around: str, depth: int) -> Region:
    start, end = lines[0].start, lines[-1].end
    base = _base(lines)
    name = _name(text, lines, base)
    qualified = f"{around}{name}" if name else ""
    body = [i for i, line in enumerate(lines) if not line.blank and line.indent > base]
    if not body or depth == _DEEPEST:
        return Region(start, end, qualified)
    within = f"{qualified}." if name else around
    inner = [*_shaped(lines[body[0] :], text, within, depth + 1)]
    # The line that opens a block stays with the first thing in it.
    inner[0] = inner[0]._replace(start=start)
    return Region(start, end, qualified, tuple(inner) if len(inner) > 1 else ())


def _name(text: str, lines: Sequence[_Line], base: int) -> str:
    for line in lines[:30]:
        if line.blank or line.indent > base:
            continue
        shown = text[line.start : min(line.end, line.start + _LOOKED_AT)]
        for pattern in (_NAMED, _ASSIGNED, _METHOD, _CALLABLE):
            if match := pattern.match(shown):
                return match[1].rstrip(":.")
    return ""
