"""What a generator is: it turns a prompt into an answer, at once or piece by piece."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

from sage.common.records import Answer, Prompt

__all__ = ["Generator"]


@runtime_checkable
class Generator(Protocol):
    """Answers prompts.

    An implementation never returns an answer that it knows to be broken off, and never one that
    hides an error: it raises.
    """

    def generate(self, prompt: Prompt) -> Answer:
        """Return the whole answer, with its citations and a step that says what it took."""

    def stream(self, prompt: Prompt) -> Iterator[str | Answer]:
        """Yield the text as it comes, then the `Answer` as the last item.

        The texts joined are what the generator wrote; ``Answer.text`` may differ from that by
        citations that were dropped because no passage has their number.
        """
