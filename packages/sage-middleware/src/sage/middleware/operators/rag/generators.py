"""Generators on a stream: a prompt in, an answer out.

Each is the generator of ``sage.libs.generation`` of the same name, with a ``map`` for pipelines;
options and behaviour are declared there, once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from sage.common.core.functions import MapFunction
from sage.common.records import Answer, Prompt, Query, Retrieved
from sage.libs import generation
from sage.middleware.operators.rag.promptors import QAPromptor, as_retrieved

__all__ = ["Askable", "ExtractiveGenerator", "OpenAIGenerator", "OpenAIGeneratorOperator"]

Askable = Prompt | Retrieved | Query | Mapping[str, Any] | str


class _Generates(Protocol):
    def generate(self, prompt: Prompt) -> Answer: ...


class GenerateFunction(MapFunction[Askable, Answer]):
    """What the generators share: `map` takes whatever an earlier stage of a pipeline gives."""

    def map(self: _Generates, record: Askable) -> Answer:
        """Return the answer to a prompt.

        Retrieved passages are asked with the default `QAPromptor`; a question by itself is asked
        without passages.

        Raises:
            DataError: if ``record`` is none of these.
        """
        return self.generate(as_prompt(record))


class ExtractiveGenerator(generation.ExtractiveGenerator, GenerateFunction):
    __doc__ = generation.ExtractiveGenerator.__doc__


class OpenAIGenerator(generation.OpenAIGenerator, GenerateFunction):
    __doc__ = generation.OpenAIGenerator.__doc__


OpenAIGeneratorOperator = OpenAIGenerator


_QUERY_KEYS = frozenset(
    {"text", "query", "question", "id", "filter", "metadata", "steps", "explain"}
)


def as_prompt(record: Askable) -> Prompt:
    """Return ``record`` as a prompt.

    A mapping may be retrieved passages (``query`` and ``passages``) or a question. One with other
    keys is refused: whatever they hold, such as passages under another name, would be lost.

    Example:
        >>> as_prompt("Why?").text
        'Why?'
        >>> as_prompt({"query": "Why?", "passages": ["Because."]}).passages[0].text
        'Because.'
    """
    if isinstance(record, Prompt):
        return record
    if isinstance(record, Retrieved):
        return QAPromptor().map(record)
    if isinstance(record, Mapping) and not _QUERY_KEYS.issuperset(record):
        return QAPromptor().map(as_retrieved("generator", record))
    query = Query.of(record)
    return Prompt(query.text, query, steps=query.steps)
