"""What an indexing run did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["FailedDocument", "IndexReport", "IndexingStopped"]


class IndexingStopped(KeyboardInterrupt):
    """Ctrl-C stopped an indexing run; the documents that were done by then are in the index.

    Attributes:
        indexed: Documents that were written.
        pending: Documents that the next run will index.
    """

    def __init__(self, indexed: int, pending: int) -> None:
        super().__init__(indexed, pending)
        self.indexed = indexed
        self.pending = pending

    def __str__(self) -> str:
        noun = "document" if self.indexed == 1 else "documents"
        return (
            f"stopped: {self.indexed} {noun} indexed, {self.pending} left; "
            f"the next run goes on from there"
        )


@dataclass(frozen=True, slots=True)
class FailedDocument:
    """A document that could not be indexed, and why; it travels the stream like any record.

    Attributes:
        source: The document.
        reason: One line for people.
        code: The error's stable code.
        kept: True if the index still holds an older version of it.
    """

    source: str
    reason: str
    code: str
    kept: bool = False


@dataclass(frozen=True, slots=True)
class IndexReport:
    """What an indexing run did.

    Attributes:
        collection: Name of the collection.
        roots: The directories, files and URLs that were indexed.
        added: Documents that are new in the collection.
        changed: Documents that were indexed again, because their content changed.
        removed: Documents that left the collection, because their file is gone.
        unchanged: How many documents were left as they are.
        failed: Documents that could not be indexed.
        chunks: Chunks written by this run.
        recalled: Chunks of these that an earlier run, which was killed, had embedded already.
        elapsed_s: Wall-clock seconds of the whole run.
        stages_s: Seconds that each stage was busy, by its name.
        plan: The pipeline that ran, as text; empty if there was nothing to index.
        batch_size: Most chunks that were embedded at once, at the end of the run.
        batch_halvings: How often that was halved because memory ran short.
        warnings: What was done as asked and is probably not meant, one sentence each.

    Example:
        >>> report = IndexReport("default", ("docs",), added=("a.md", "b.md"), elapsed_s=0.5)
        >>> report.documents_per_s
        4.0
    """

    collection: str
    roots: tuple[str, ...]
    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    unchanged: int = 0
    failed: tuple[FailedDocument, ...] = ()
    chunks: int = 0
    recalled: int = 0
    elapsed_s: float = 0.0
    stages_s: Mapping[str, float] = field(default_factory=dict)
    plan: str = ""
    batch_size: int = 0
    batch_halvings: int = 0
    warnings: tuple[str, ...] = ()

    @property
    def did_something(self) -> bool:
        """Whether the collection is another one now, or a document failed."""
        return bool(self.added or self.changed or self.removed or self.failed)

    @property
    def indexed(self) -> int:
        """How many documents this run wrote."""
        return len(self.added) + len(self.changed)

    @property
    def documents_per_s(self) -> float:
        """Documents written for each second of the whole run."""
        return self.indexed / self.elapsed_s if self.elapsed_s > 0 else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain values, ready for JSON."""
        return {**asdict(self), "documents_per_s": round(self.documents_per_s, 2)}
