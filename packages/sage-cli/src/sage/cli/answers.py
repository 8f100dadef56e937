"""Shows an answer: its text, the numbered citations, and the time of each stage."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sage.common.records import Answer

__all__ = ["print_answer", "stage_times"]


def print_answer(answer: Answer) -> None:
    """Print an answer, its numbered citations and the time of each stage."""
    from rich.text import Text

    from sage.cli.screen import results, safe, shown_path

    console = results()
    # Wrapped for people; a file or another program gets the lines as they are.
    console.print(Text(f"{safe(answer.text)}\n"), soft_wrap=not console.is_terminal)
    for citation in answer.citations:
        line = Text(f"[{citation.number}] ", style="bold cyan")
        line.append(shown_path(safe(citation.place)), style="default")
        console.print(line, soft_wrap=True)
    console.print(Text(stage_times(answer), style="dim"), soft_wrap=True)


def stage_times(answer: Answer) -> str:
    """Return the stages of an answer with their times, such as ``retrieve 12 ms · generate 3 ms``.

    Example:
        >>> from sage.common.records import Answer, Query, Step
        >>> stage_times(Answer("a", Query("q"), steps=(Step("retrieve", 0.012),), model="m"))
        'retrieve 12 ms · total 12 ms · m'
    """
    parts = [f"{step.name} {step.elapsed_s * 1000:.0f} ms" for step in answer.steps]
    parts.append(f"total {sum(step.elapsed_s for step in answer.steps) * 1000:.0f} ms")
    return " · ".join([*parts, answer.model] if answer.model else parts)
