"""Prompt templates and the numbered context that goes into them.

A template is checked when it is made, not when the first record comes: a placeholder nobody fills
in must never reach a model. Filling in is plain concatenation, so braces inside a document or a
question stay what they are.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from string import Formatter

from sage.common.errors import ConfigError, Problem
from sage.common.records import Passage
from sage.common.suggestions import did_you_mean
from sage.libs.text.sentences import split_sentences

__all__ = ["Fitted", "Template", "estimate_tokens", "fit_passages", "numbered"]

_CJK = re.compile(r"[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef]")


@dataclass(frozen=True, slots=True)
class Template:
    """Text with named blanks.

    Attributes:
        parts: Literal text and the name of the blank behind it, or None behind the last.

    Example:
        >>> template = Template.of("{context}\\nQ: {query} {{json}}", ("context", "query"))
        >>> template.fill({"context": "[1] a {query}", "query": "why?"})
        '[1] a {query}\\nQ: why? {json}'
    """

    parts: tuple[tuple[str, str | None], ...]

    @classmethod
    def of(
        cls,
        text: str,
        required: Sequence[str],
        *,
        optional: Sequence[str] = (),
        owner: str = "template",
    ) -> Template:
        """Parse and check a template.

        Args:
            text: ``{name}`` is a blank; braces themselves are written ``{{`` and ``}}``.
            required: The names that must occur.
            optional: More names that may.
            owner: Whose template it is, for the message.

        Raises:
            ConfigError: with every unknown, missing or malformed placeholder.
        """
        try:
            parsed = list(Formatter().parse(text))
        except ValueError as error:
            raise _refusal(owner, [f"not a template: {error}, in {text!r:.200}"]) from None
        parts = tuple((literal, name) for literal, name, _, _ in parsed)
        found = {name for _, name, _, _ in parsed if name is not None}
        known = (*required, *optional)
        problems = [
            f"unknown placeholder {_spelled(name, spec, conversion)}{did_you_mean(name, known)}"
            for _, name, spec, conversion in parsed
            if name is not None and (name not in known or spec or conversion)
        ]
        # A mistyped name explains a missing one: the suggestion is enough.
        if not problems:
            problems = [
                f"placeholder '{{{name}}}' is missing" for name in required if name not in found
            ]
        if problems:
            raise _refusal(owner, problems)
        return cls(parts)

    def fill(self, values: dict[str, str]) -> str:
        """Return the text with each blank replaced by its value, as it stands."""
        return "".join(
            literal if name is None else literal + values[name] for literal, name in self.parts
        )


def _spelled(name: str, spec: str | None, conversion: str | None) -> str:
    inner = name + (f"!{conversion}" if conversion else "") + (f":{spec}" if spec else "")
    return repr("{" + inner + "}")


def _refusal(owner: str, messages: Sequence[str]) -> ConfigError:
    return ConfigError(
        owner,
        [Problem("$.template", message) for message in messages],
        hint="write {{ and }} for braces that are meant literally",
    )


def numbered(passages: Sequence[Passage]) -> str:
    """Return the passages as a context, numbered from ``[1]`` as citations refer to them.

    Example:
        >>> print(numbered([Passage("It boils.", source="a.md"), Passage("It freezes.")]))
        [1] (a.md) It boils.
        <BLANKLINE>
        [2] It freezes.
    """
    return "\n\n".join(
        f"[{n}] ({p.place}) {p.text.strip()}" if p.source else f"[{n}] {p.text.strip()}"
        for n, p in enumerate(passages, start=1)
    )


def estimate_tokens(text: str) -> int:
    """Estimate the tokens of ``text`` for a model whose tokenizer is not at hand.

    Counts one for each Chinese, Japanese or Korean character and one for every four others, which
    is near what the usual byte-pair vocabularies give for prose.

    Example:
        >>> estimate_tokens("twelve chars"), estimate_tokens("四个汉字")
        (3, 4)
    """
    wide = len(_CJK.findall(text))
    return wide + math.ceil((len(text) - wide) / 4)


@dataclass(frozen=True, slots=True)
class Fitted:
    """The passages that fit a budget, and what was left out to make them fit.

    Attributes:
        passages: Kept, in their order.
        dropped: How many were left out whole.
        shortened: True if the first had to lose sentences at its end.
    """

    passages: tuple[Passage, ...]
    dropped: int = 0
    shortened: bool = False


def fit_passages(passages: Sequence[Passage], max_tokens: int | None) -> Fitted:
    """Keep the best passages whose text fits ``max_tokens`` (estimated), and say what was left out.

    Passages come best first; those behind the first that does not fit are left out. The best one
    is never left out: if it alone is too long, it is cut behind the last sentence that fits, its
    first sentence staying in any case.
    """
    if max_tokens is None:
        return Fitted(tuple(passages))
    left = max_tokens
    kept: list[Passage] = []
    for passage in passages:
        left -= estimate_tokens(passage.text)
        if left < 0:
            break
        kept.append(passage)
    if kept or not passages:
        return Fitted(tuple(kept), len(passages) - len(kept))
    return Fitted((_shortened(passages[0], max_tokens),), len(passages) - 1, shortened=True)


def _shortened(passage: Passage, max_tokens: int) -> Passage:
    spans = split_sentences(passage.text)
    ends = [end for _, end in spans if estimate_tokens(passage.text[:end]) <= max_tokens]
    length = ends[-1] if ends else spans[0][1]
    end = None if passage.start is None else passage.start + length
    return replace(passage, text=passage.text[:length], end=end)
