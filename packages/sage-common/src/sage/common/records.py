"""The typed values that flow through a RAG pipeline, one stage building on the one before::

    Document → Chunk → EmbeddedChunk          while indexing
    Query → Retrieved → Prompt → Answer       while answering

A record is immutable, is read as attributes and as a mapping (``passage["doc_id"]``,
``{**query, "filter": ...}``), and carries its query and its `Step` list along, so that any answer
can say where it came from and what each stage took. Plain strings and mappings are accepted at the
edge of a pipeline and coerced once, by ``Query.of`` and ``Retrieved.of``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, TypeVar, overload

from sage.common.errors import DataError
from sage.common.ids import content_id

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = [
    "Answer",
    "Chunk",
    "Citation",
    "Document",
    "EmbeddedChunk",
    "Passage",
    "Prompt",
    "Query",
    "Record",
    "Retrieved",
    "Step",
    "Usage",
]

_R = TypeVar("_R", bound="Record")


class Record:
    """A frozen dataclass that can also be read like a mapping."""

    __slots__ = ()

    def keys(self) -> Sequence[str]:
        """Return the names of the fields, so that ``{**record}`` works."""
        return [f.name for f in fields(self)]  # type: ignore[arg-type]

    def __getitem__(self, name: str) -> Any:
        try:
            return getattr(self, name)
        except (AttributeError, TypeError):
            raise KeyError(name) from None

    def __contains__(self, name: object) -> bool:
        return name in self.keys()

    def get(self, name: str, default: Any = None) -> Any:
        """Return the field of that name, or ``default`` where there is none."""
        return getattr(self, name) if name in self.keys() else default

    def with_step(self: _R, name: str, elapsed_s: float, **detail: Any) -> _R:
        """Return this record with one more `Step` at the end of its ``steps``."""
        step = Step(name, elapsed_s, detail)
        return replace(self, steps=(*self.steps, step))  # type: ignore[attr-defined, type-var]

    def to_dict(self) -> dict[str, Any]:
        """Return the record as plain dicts, lists and scalars, ready for JSON."""
        import msgspec

        return {
            name: msgspec.to_builtins(getattr(self, name), enc_hook=_plain) for name in self.keys()
        }


def _plain(value: Any) -> Any:
    if isinstance(value, Record):
        return value.to_dict()
    return value.tolist() if hasattr(value, "tolist") else str(value)


@dataclass(frozen=True, slots=True)
class Step:
    """One stage that a record went through: its name, what it took, what it has to say."""

    name: str
    elapsed_s: float
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Document(Record):
    """A whole text that was loaded from somewhere.

    Attributes:
        text: The text, normalised to ``\\n`` line ends.
        doc_id: Stable id; equal sources have equal ids.
        source: Path or URL it came from.
        metadata: Whatever else is known: title, number of pages, media type.
    """

    text: str
    doc_id: str = ""
    source: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Chunk(Record):
    """A piece of a document: ``document.text[start:end] == text``.

    Attributes:
        text: The text of the piece.
        chunk_id: Stable id, made of the document's id and the position.
        doc_id: The document it was cut from.
        start: Offset of its first character in the document.
        end: Offset after its last character.
        source: Path or URL of the document.
        metadata: What is known of the position: ``line`` (from 1), ``page``, ``heading``.
    """

    text: str
    chunk_id: str = ""
    doc_id: str = ""
    start: int = 0
    end: int = 0
    source: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EmbeddedChunk(Chunk):
    """A chunk with the vector of its text.

    Two of them are equal if all but the vectors is: the vector follows from text and model.

    Attributes:
        vector: float32 [dim], of length 1.
        model: The id of the embedder that made it; vectors of two models cannot be compared.

    Example:
        >>> embedded = EmbeddedChunk("Water boils.", "a#0", "a", vector=[0.6, 0.8], model="m")
        >>> embedded["vector"], Passage.of(embedded).doc_id
        ([0.6, 0.8], 'a')
    """

    vector: Sequence[float] | npt.NDArray[np.float32] = field(default=(), compare=False)
    model: str = ""


@dataclass(frozen=True, slots=True)
class Passage(Record):
    """A piece of text that a retriever found, with its score and its place.

    Example:
        >>> p = Passage("Water boils.", doc_id="a", source="a.md", metadata={"line": 3})
        >>> p["doc_id"], p.text, p.place
        ('a', 'Water boils.', 'a.md:3')
    """

    text: str
    doc_id: str = ""
    score: float = 0.0
    passage_id: str = ""
    source: str = ""
    start: int | None = None
    end: int | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def place(self) -> str:
        """Where it stands, for people: ``file:line``, ``file, page 3``, ``file, "Heading"``.

        In a workbook that is ``file, sheet "A" row 3``, in a presentation ``file, slide 4``. A
        heading stands for them where there is none, as in a Word document; where nothing is known,
        it is the file alone or the document's id.
        """
        where = self.source or self.doc_id
        if (page := self.metadata.get("page")) is not None:
            return f"{where}, page {page}"
        if (slide := self.metadata.get("slide")) is not None:
            return f"{where}, slide {slide}"
        if (sheet := self.metadata.get("sheet")) is not None:
            row = self.metadata.get("row")
            return f'{where}, sheet "{sheet}"' + ("" if row is None else f" row {row}")
        if (line := self.metadata.get("line")) is not None:
            return f"{where}:{line}"
        if heading := self.metadata.get("heading"):
            return f'{where}, "{heading}"'
        return where

    @classmethod
    def of(cls, value: Passage | Chunk | Document | Mapping[str, Any] | str) -> Passage:
        """Return ``value`` as a passage; mappings need ``text``, other keys become metadata.

        A document is one passage, as it is: cut a long one into chunks first.

        Raises:
            DataError: if it is nothing like a passage.
        """
        if isinstance(value, cls):
            return value
        if isinstance(value, str):
            return cls(value, doc_id=content_id(value))
        if isinstance(value, Chunk):
            return cls(
                value.text,
                doc_id=value.doc_id,
                passage_id=value.chunk_id,
                source=value.source,
                start=value.start,
                end=value.end,
                metadata=value.metadata,
            )
        if isinstance(value, Document):
            return cls(
                value.text,
                doc_id=value.doc_id or content_id(value.text),
                source=value.source,
                start=0,
                end=len(value.text),
                metadata=value.metadata,
            )
        if isinstance(value, Mapping) and isinstance(value.get("text"), str):
            own = {f.name for f in fields(cls)}
            given = {name: item for name, item in value.items() if name in own}
            extra = {name: item for name, item in value.items() if name not in own}
            given["metadata"] = {**given.get("metadata", {}), **extra}
            given.setdefault("doc_id", content_id(value["text"]))
            return cls(**given)
        raise DataError(
            f"expected a passage (text, a document, a chunk or a mapping with 'text'), "
            f"got {type(value).__name__}: {value!r:.200}"
        )


def _canonical(value: Any) -> str:
    """Return a text that equal values share, whatever they hold and in whatever order."""
    if isinstance(value, Mapping):
        pairs = sorted((_canonical(key), _canonical(item)) for key, item in value.items())
        return "{" + ",".join(f"{key}:{item}" for key, item in pairs) + "}"
    if isinstance(value, (set, frozenset)):
        return "{" + ",".join(sorted(map(_canonical, value))) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(_canonical, value)) + "]"
    return repr(value)


@dataclass(frozen=True, slots=True)
class Query(Record):
    """A question on its way through a pipeline.

    Attributes:
        text: The question.
        id: Joins what several branches make of one query; made of text, filter and metadata when
            not given, so that equal questions have equal ids.
        filter: A metadata filter in Chroma's language, such as ``{"doc_id": {"$in": [...]}}``.
        metadata: Whatever came with it.
        steps: What it has gone through so far.
        explain: Whether the stages shall say in their steps which candidates they had, with ranks
            and scores; it costs time and memory for each query.

    Example:
        >>> query = Query.of("What is SAGE?")
        >>> Query.of({**query, "filter": {"doc_id": "a"}}).filter
        {'doc_id': 'a'}
    """

    text: str
    id: str = ""
    filter: Mapping[str, Any] | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    steps: tuple[Step, ...] = ()
    explain: bool = False

    def __post_init__(self) -> None:
        if not self.id:
            object.__setattr__(self, "id", content_id(self.text, *self._asked_beside()))

    def _asked_beside(self) -> list[str]:
        """What tells it from other queries of the same text."""
        return [_canonical(part) for part in (self.filter, self.metadata) if part]

    @classmethod
    def of(cls, value: Query | Mapping[str, Any] | str) -> Query:
        """Return ``value`` as a query: text, or a mapping with ``text``, ``query`` or ``question``.

        Raises:
            DataError: if it holds no text, or only blanks.
        """
        if isinstance(value, cls):
            query = value
        elif isinstance(value, str):
            query = cls(value.strip())
        elif isinstance(value, Mapping):
            query = cls._of_mapping(value)
        else:
            raise DataError(
                f"expected a question (text or a mapping with 'query'), "
                f"got {type(value).__name__}: {value!r:.200}"
            )
        if not query.text.strip():
            raise DataError("the question is empty", hint="ask something")
        return query

    @classmethod
    def _of_mapping(cls, value: Mapping[str, Any]) -> Query:
        text = next((value[k] for k in ("text", "query", "question") if k in value), None)
        if isinstance(text, Query):
            text = text.text
        if not isinstance(text, str):
            raise DataError(f"expected a mapping with 'query', got keys {sorted(map(str, value))}")
        own = {"text", "query", "question", "id", "filter", "metadata", "steps", "explain"}
        extra = {name: item for name, item in value.items() if name not in own}
        return cls(
            text.strip(),
            id=value.get("id") or "",
            filter=value.get("filter"),
            metadata={**value.get("metadata", {}), **extra},
            steps=tuple(value.get("steps", ())),
            explain=bool(value.get("explain", False)),
        )


@dataclass(frozen=True, slots=True)
class Retrieved(Record, Sequence[Passage]):
    """The passages found for a query, best first; it is a sequence of them.

    Attributes:
        query: The query they were found for.
        passages: Best first.
        partial: True if a source did not answer in time and its passages are missing.
        steps: What the query has gone through so far.
    """

    query: Query
    passages: tuple[Passage, ...] = ()
    partial: bool = False
    steps: tuple[Step, ...] = ()

    def __len__(self) -> int:
        return len(self.passages)

    @overload
    def __getitem__(self, index: int) -> Passage: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Passage, ...]: ...
    @overload
    def __getitem__(self, index: str) -> Any: ...
    def __getitem__(self, index: int | slice | str) -> Any:
        if isinstance(index, str):
            return Record.__getitem__(self, index)
        return self.passages[index]

    def __iter__(self) -> Iterator[Passage]:
        return iter(self.passages)

    def __contains__(self, item: object) -> bool:
        return item in self.passages

    @classmethod
    def of(cls, value: Retrieved | Mapping[str, Any]) -> Retrieved:
        """Return ``value`` as retrieved passages; a mapping needs ``query`` and ``passages``.

        Raises:
            DataError: if it is neither.
        """
        if isinstance(value, cls):
            return value
        if isinstance(value, Mapping) and "query" in value and "passages" in value:
            return cls(Query.of(value["query"]), tuple(Passage.of(p) for p in value["passages"]))
        raise DataError(
            f"expected retrieved passages, got {type(value).__name__}: {value!r:.200}",
            hint="put a retriever before this operator",
        )


@dataclass(frozen=True, slots=True)
class Prompt(Record):
    """What is sent to a generator.

    Attributes:
        text: The user's message, with question and context filled in.
        query: The query it asks.
        passages: The passages in the context, in the order of their numbers ``[1]``, ``[2]``...
        system: A system message, or None.
        steps: What the query has gone through so far.
    """

    text: str
    query: Query
    passages: tuple[Passage, ...] = ()
    system: str | None = None
    steps: tuple[Step, ...] = ()

    @property
    def messages(self) -> list[dict[str, str]]:
        """The prompt as chat messages, as OpenAI-compatible endpoints take them."""
        head = [{"role": "system", "content": self.system}] if self.system else []
        return [*head, {"role": "user", "content": self.text}]


@dataclass(frozen=True, slots=True)
class Citation(Record):
    """One numbered source of an answer: ``[number]`` in its text, and where that stands."""

    number: int
    source: str
    place: str
    quote: str = ""
    doc_id: str = ""
    passage_id: str = ""


@dataclass(frozen=True, slots=True)
class Usage(Record):
    """The tokens that a generator counted; None where the endpoint did not say."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Answer(Record):
    """The answer to a query, and everything needed to explain it.

    Attributes:
        text: The answer, with citations as ``[1]``.
        query: The query it answers.
        citations: The numbered sources that the text refers to.
        passages: All the passages the generator was given.
        model: Name of the generator's model, or ``"extractive"``.
        usage: Token counts, where known.
        finish_reason: Why the generator stopped: ``"stop"``, ``"length"``...
        steps: Every stage, with its time.
    """

    text: str
    query: Query
    citations: tuple[Citation, ...] = ()
    passages: tuple[Passage, ...] = ()
    model: str = ""
    usage: Usage = Usage()
    finish_reason: str = "stop"
    steps: tuple[Step, ...] = ()

    def __str__(self) -> str:
        notes = [f"[{c.number}] {c.place}" for c in self.citations]
        return "\n".join([self.text, *notes])
