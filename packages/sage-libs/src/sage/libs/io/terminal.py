"""`TerminalSink`: answers as a person reads them, on the terminal or any text stream."""

from __future__ import annotations

import re
import shutil
import sys
import textwrap
from typing import Annotated, Any, Protocol

from sage.common.config import Meta, configurable
from sage.common.core.functions import SinkFunction
from sage.common.records import Answer

__all__ = ["TerminalSink", "TextStream"]

# Documents are not trusted with the terminal: escape sequences could rewrite what was shown.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_WIDEST = 100


class TextStream(Protocol):
    """Where text is written to: `sys.stdout`, an open file, an `io.StringIO`."""

    def write(self, text: str, /) -> object:
        """Write text."""

    def flush(self) -> object:
        """Make it visible."""


@configurable
class TerminalSink(SinkFunction[Any]):
    """Prints each record as it comes: an `Answer` with its numbered citations, others as text.

    Args:
        width: Columns at which answers are wrapped; by default those of the terminal (at most
            100), and no wrapping where the output is a file or a pipe.
        deltas: Records of text are pieces of one answer and are printed without line ends, until
            the `Answer` itself comes, of which only the citations are then printed.
        stream: Where to print; by default what is ``sys.stdout`` at the time.

    Example:
        >>> from sage.common.records import Citation, Query
        >>> sink = TerminalSink(width=60)
        >>> sink.write(
        ...     Answer(
        ...         "It boils at 100 degrees. [1]",
        ...         Query("When does water boil?"),
        ...         citations=(Citation(1, "water.md", "water.md:3"),),
        ...     )
        ... )
        When does water boil?
          It boils at 100 degrees. [1]
        <BLANKLINE>
          [1] water.md:3
        <BLANKLINE>
        >>> sink.write("plain text")
        plain text
    """

    def __init__(
        self,
        *,
        width: Annotated[int, Meta(ge=20)] | None = None,
        deltas: bool = False,
        stream: TextStream | None = None,
    ) -> None:
        self.width = width
        self.deltas = deltas
        self._stream = stream
        self._inside_answer = False

    def __deepcopy__(self, memo: dict[int, Any]) -> TerminalSink:
        # The copies of a sink print to the same place; a copied StringIO would be read by nobody.
        return TerminalSink(width=self.width, deltas=self.deltas, stream=self._stream)

    def write(self, record: Any) -> None:
        """Print one record and flush."""
        if isinstance(record, Answer):
            self._answer(record)
        elif self.deltas and isinstance(record, str):
            self._inside_answer = True
            self._print(record)
        else:
            self._print(f"{record}\n")

    def flush(self) -> None:
        """End the line that pieces of text have begun."""
        if self._inside_answer:
            self._inside_answer = False
            self._print("\n")

    def _answer(self, answer: Answer) -> None:
        parts = []
        if self._inside_answer:
            self.flush()
        else:
            parts += [*self._wrapped(answer.query.text, ""), *self._wrapped(answer.text, "  ")]
        if answer.citations:
            parts.append("")
            margin = 3 + max(len(str(citation.number)) for citation in answer.citations)
            for citation in answer.citations:
                number = f"[{citation.number}]".ljust(margin)
                parts += self._wrapped(number + citation.place, "  ", " " * margin)
        self._print("\n".join([*parts, "", ""]))

    def _wrapped(self, text: str, indent: str, hanging: str = "") -> list[str]:
        columns = self._columns()
        lines = []
        for line in text.splitlines() or [""]:
            if columns is None or len(indent) + len(line) <= columns:
                lines.append((indent + line).rstrip())
                continue
            lines += textwrap.wrap(
                line,
                columns,
                initial_indent=indent,
                subsequent_indent=indent + hanging,
                break_on_hyphens=False,
                # A path stays whole to be clicked on; a line of Chinese has no blanks to break at.
                break_long_words=not line.isascii(),
            ) or [""]
        return lines

    def _columns(self) -> int | None:
        if self.width is not None:
            return self.width
        isatty = getattr(self._target(), "isatty", None)
        if isatty is None or not isatty():
            return None
        return min(shutil.get_terminal_size().columns, _WIDEST)

    def _target(self) -> TextStream:
        return self._stream if self._stream is not None else sys.stdout

    def _print(self, text: str) -> None:
        stream = self._target()
        shown = _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text.replace("\r\n", "\n"))
        encoding = getattr(stream, "encoding", None)
        if encoding:  # a terminal that cannot show a character shows a question mark
            shown = shown.encode(encoding, "replace").decode(encoding)
        stream.write(shown)
        stream.flush()
