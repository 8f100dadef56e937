"""Answers by quoting: the sentences of the passages that are nearest to the question."""

from __future__ import annotations

import copy
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Self

from sage.common.config import Annotated, Meta, configurable
from sage.common.records import Answer, Citation, Passage, Prompt
from sage.libs.embedding.embedder import DEFAULT_MODEL, Embedder, load_embedder
from sage.libs.generation.citations import citation_of
from sage.libs.generation.quotable import Quotable, quotable_sentences
from sage.libs.generation.sentence_ranking import Scored, rank_sentences

__all__ = ["NO_ANSWER", "NO_PASSAGES", "PREFACE", "ExtractiveGenerator"]

PREFACE = "Quoted from the passages (extractive, nothing generated):"
NO_ANSWER = "The passages do not contain the answer."
NO_PASSAGES = "There are no passages to answer from."

# A further sentence is worth quoting only if it matches nearly as well as the best one. (Scores
# will not do: scaled over two candidates, one is always 0.)
_NEAR_BEST = 0.85

_POINTS_BACK = re.compile(
    r"(?:It|Its|This|That|These|Those|They|Their|He|His|She|Her)\b|它|他|她|这"
)


@configurable
class ExtractiveGenerator:
    """Answers with sentences quoted from the passages, each with its citation; needs no model.

    Sentences are ranked by meaning and by words at equal weight. A sentence counts as an answer
    only if its *match* (the mean of the cosine to the question and of the share of the question's
    content words that it holds) reaches ``min_match``; when none does, the answer says so and cites
    nothing. It says of itself that it is extractive: in its first line, in ``model`` and in its
    step.

    The default of ``min_match`` is measured on XQuAD (English, 150 questions, MiniLM): with their
    paragraph among the five passages 97 % get an answer, with five near misses 3 %. Chinese
    questions are matched less well, because MiniLM is an English model.

    Args:
        max_sentences: The most sentences to quote.
        min_match: The least match of a quoted sentence, from 0 to 1.
        model: The embedder's model, where no ``embedder`` is given.
        preface: Stands above the quotes; empty for none.
        embedder: An embedder of your own.

    Example:
        >>> from sage.common.records import Passage, Prompt, Query
        >>> passages = (Passage("Iron rusts. Water boils at 100 degrees.", source="a.md"),)
        >>> prompt = Prompt("", Query("When does water boil?"), passages)
        >>> print(ExtractiveGenerator(model="mock:64").generate(prompt))
        Quoted from the passages (extractive, nothing generated):
        Water boils at 100 degrees. [1]
        [1] a.md
    """

    def __init__(
        self,
        *,
        max_sentences: Annotated[int, Meta(ge=1, le=20)] = 3,
        min_match: Annotated[float, Meta(ge=0, le=1)] = 0.42,
        model: str = DEFAULT_MODEL,
        preface: str = PREFACE,
        embedder: Embedder | None = None,
    ) -> None:
        self.max_sentences = max_sentences
        self.min_match = min_match
        self.model = model
        self.preface = preface
        self._embedder = embedder

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        # Parallel instances share the embedder: it is one for the whole process.
        return copy.copy(self)

    def generate(self, prompt: Prompt) -> Answer:
        """Return the quotes that answer ``prompt.query`` from ``prompt.passages``.

        The text of the prompt is not read: it is made for models.
        """
        started = time.perf_counter()
        detail: dict[str, Any] = {"generator": "ExtractiveGenerator", "extractive": True}
        text, citations = self._quoted(prompt, detail)
        return Answer(
            text,
            prompt.query,
            citations=citations,
            passages=prompt.passages,
            model="extractive",
            steps=prompt.steps,
        ).with_step("generate", time.perf_counter() - started, **detail)

    def stream(self, prompt: Prompt) -> Iterator[str | Answer]:
        """Yield the whole text, then the `Answer`: quotes are all found at once."""
        answer = self.generate(prompt)
        yield answer.text
        yield answer

    def _quoted(self, prompt: Prompt, detail: dict[str, Any]) -> tuple[str, tuple[Citation, ...]]:
        if not prompt.passages:
            return NO_PASSAGES, ()
        if self._embedder is None:
            self._embedder = load_embedder(self.model)
        sentences = quotable_sentences(prompt.passages)
        ranked = rank_sentences(prompt.query.text, sentences, self._embedder)
        chosen = self._chosen(ranked, sentences)
        detail["sentences"] = len(sentences)
        detail["best_match"] = round(max((s.match for s in ranked), default=0.0), 3)
        if not chosen:
            return NO_ANSWER, ()
        text = _text(chosen)
        if self.preface:
            text = f"{self.preface}\n{text}"
        return text, _citations(chosen, prompt.passages)

    def _chosen(self, ranked: Sequence[Scored], sentences: Sequence[Quotable]) -> list[Quotable]:
        """Return the sentences to quote, in the order in which they stand."""
        matching = [s for s in ranked if s.match >= self.min_match]
        best = max((s.match for s in matching), default=0.0)
        near = [s.sentence for s in matching if s.match >= _NEAR_BEST * best]
        return sorted(
            _with_referents(near[: self.max_sentences], sentences, self.max_sentences),
            key=lambda sentence: sentence.order,
        )


def _with_referents(
    chosen: Sequence[Quotable], sentences: Sequence[Quotable], limit: int
) -> list[Quotable]:
    """Add to a sentence that begins with "It ..." the one before it, which says what "it" is.

    Where that makes too many, the least of the others goes; the best sentence always stays.

    Args:
        chosen: Sentences to quote, best first.
        sentences: All sentences, by their order.
        limit: The most to return.
    """
    kept: list[Quotable] = []
    for sentence in chosen:
        wanted = [sentence]
        if _POINTS_BACK.match(sentence.text) and sentence.order > 0:
            before = sentences[sentence.order - 1]
            same_place = (before.number, before.heading) == (sentence.number, sentence.heading)
            wanted += [before] if same_place else []
        new = [s for s in wanted if s not in kept]
        if not kept or len(kept) + len(new) <= limit:
            kept += new
    return kept[: max(limit, 1)]


def _text(chosen: Sequence[Quotable]) -> str:
    """Join the quotes, with one number behind neighbours from one passage."""
    parts: list[str] = []
    for index, sentence in enumerate(chosen):
        parts.append(_ended(sentence.text))
        following = chosen[index + 1] if index + 1 < len(chosen) else None
        together = following is not None and (
            following.number == sentence.number and following.order == sentence.order + 1
        )
        if not together:
            parts.append(f"[{sentence.number}]")
    return " ".join(parts)


def _ended(text: str) -> str:
    """Give list items and table rows the full stop that running text needs."""
    if text[-1] in ".!?…。！？;:\"'”’」』":
        return text
    return text + ("。" if "\u3400" <= text[-1] <= "\u9fff" else ".")


def _citations(chosen: Sequence[Quotable], passages: Sequence[Passage]) -> tuple[Citation, ...]:
    """Return a citation for each passage that is quoted, at the place of its first quote."""
    quotes: dict[int, list[Quotable]] = {}
    for sentence in chosen:
        quotes.setdefault(sentence.number, []).append(sentence)
    return tuple(
        citation_of(
            number,
            _at(passages[number - 1], group[0].offset),
            quote=" … ".join(sentence.text for sentence in group),
        )
        for number, group in sorted(quotes.items())
    )


def _at(passage: Passage, offset: int) -> Passage:
    """Return the passage with the line of ``offset``, where its own line is known."""
    line = passage.metadata.get("line")
    if not isinstance(line, int) or "page" in passage.metadata:
        return passage
    line += passage.text.count("\n", 0, offset)
    return replace(passage, metadata={**passage.metadata, "line": line})
