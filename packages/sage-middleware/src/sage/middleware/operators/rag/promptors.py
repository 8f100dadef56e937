"""Promptors: retrieved passages in, a prompt with numbered context out."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from sage.common.config import Annotated, Meta, configurable
from sage.common.core.functions import MapFunction
from sage.common.errors import DataError
from sage.common.records import Prompt, Retrieved
from sage.libs.generation.prompts import Template, estimate_tokens, fit_passages, numbered

__all__ = ["CITE", "QAPromptor", "SummarizationPromptor"]

CITE = (
    "Answer from the numbered passages only, and cite the ones you use as [1], [2]. "
    "If they do not contain the answer, say so."
)
_QA = "Passages:\n\n{context}\n\nQuestion: {query}\nAnswer:"
_SUMMARY = "Summarize the passages below in a few sentences.\n\n{context}\n\nSummary:"
_NOTHING = "(no passages were found)"


@configurable
class QAPromptor(MapFunction[Retrieved | Mapping[str, Any], Prompt]):
    """Asks a question over the passages that were found for it.

    The passages become a context numbered ``[1]``, ``[2]``..., as citations refer to them. The
    template is checked when the promptor is made; what is filled in is never read as a template.

    Args:
        template: Text with ``{context}`` and ``{query}``; braces themselves are ``{{`` and ``}}``.
        system: The system message, or empty for none.
        max_context_tokens: The most tokens of context, estimated; passages that do not fit are left
            out from the end, and the step of the prompt says how many. None for no limit.

    Raises:
        ConfigError: if a placeholder is unknown, missing or malformed.

    Example:
        >>> from sage.common.records import Passage, Query
        >>> promptor = QAPromptor(template="{context}\\nQ: {query}\\nA:")
        >>> found = Retrieved(Query("When does it boil?"), (Passage("At 100.", source="a.md"),))
        >>> print(promptor.map(found).text)
        [1] (a.md) At 100.
        Q: When does it boil?
        A:
    """

    def __init__(
        self,
        *,
        template: str = _QA,
        system: str = CITE,
        max_context_tokens: Annotated[int, Meta(ge=1)] | None = None,
    ) -> None:
        self._template = Template.of(template, ("context", "query"), owner="QAPromptor")
        self._system = system or None
        self._max_context_tokens = max_context_tokens

    def map(self, record: Retrieved | Mapping[str, Any]) -> Prompt:
        """Return the prompt for retrieved passages.

        Raises:
            DataError: if ``record`` is not retrieved passages.
        """
        return _prompt("QAPromptor", record, self._template, self._system, self._max_context_tokens)


@configurable
class SummarizationPromptor(MapFunction[Retrieved | Mapping[str, Any], Prompt]):
    """Asks for a summary of the passages that were found.

    Args:
        template: Text with ``{context}`` and, if wanted, ``{query}``.
        system: The system message, or empty for none.
        max_context_tokens: As for `QAPromptor`.

    Raises:
        ConfigError: if a placeholder is unknown, missing or malformed.

    Example:
        >>> from sage.common.records import Passage, Query
        >>> found = Retrieved(Query("water"), (Passage("It boils."),))
        >>> print(SummarizationPromptor(template="Sum up: {context}").map(found).text)
        Sum up: [1] It boils.
    """

    def __init__(
        self,
        *,
        template: str = _SUMMARY,
        system: str = "",
        max_context_tokens: Annotated[int, Meta(ge=1)] | None = None,
    ) -> None:
        self._template = Template.of(
            template, ("context",), optional=("query",), owner="SummarizationPromptor"
        )
        self._system = system or None
        self._max_context_tokens = max_context_tokens

    def map(self, record: Retrieved | Mapping[str, Any]) -> Prompt:
        """Return the prompt for retrieved passages.

        Raises:
            DataError: if ``record`` is not retrieved passages.
        """
        name = "SummarizationPromptor"
        return _prompt(name, record, self._template, self._system, self._max_context_tokens)


def _prompt(
    operator: str,
    record: Retrieved | Mapping[str, Any],
    template: Template,
    system: str | None,
    max_context_tokens: int | None,
) -> Prompt:
    started = time.perf_counter()
    found = as_retrieved(operator, record)
    fitted = fit_passages(found.passages, max_context_tokens)
    context = numbered(fitted.passages) or _NOTHING
    text = template.fill({"context": context, "query": found.query.text})
    detail: dict[str, Any] = {"promptor": operator, "context_tokens": estimate_tokens(context)}
    if fitted.dropped:
        detail["dropped_passages"] = fitted.dropped
    if fitted.shortened:
        detail["shortened_passages"] = 1
    prompt = Prompt(text, found.query, fitted.passages, system, found.steps)
    return prompt.with_step("prompt", time.perf_counter() - started, **detail)


def as_retrieved(operator: str, record: object) -> Retrieved:
    """Return ``record`` as retrieved passages, or say by name what the operator wanted."""
    try:
        return Retrieved.of(record)  # type: ignore[arg-type]
    except DataError as error:
        held = f" with the keys {sorted(map(str, record))}" if isinstance(record, Mapping) else ""
        raise DataError(
            f"{operator} expected retrieved passages, got {type(record).__name__}{held}: "
            f"{record!r:.200}",
            hint="put a retriever before it, or pass a mapping with 'query' and 'passages'",
        ) from error
