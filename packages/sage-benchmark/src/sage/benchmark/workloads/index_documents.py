"""Documents for the rows of indexing: SciFact's abstracts as text files, or made-up ones."""

from __future__ import annotations

import json
import os
import random
import resource
from collections.abc import Iterator
from pathlib import Path

__all__ = ["TEXTS", "documents", "peak_mb"]

_BESIDE = Path("../shared/data/scifact/corpus.jsonl")
TEXTS = "SciFact's abstracts" if _BESIDE.exists() else "made-up texts"
"""What the documents are, for the notes of the rows."""


def documents(scratch: str, count: int, words: int = 0) -> Path:
    """Return a directory with so many text files, the same for all who ask.

    Args:
        scratch: Where to make it.
        count: How many documents.
        words: Words in each; 0 for whole texts, of 200 words or so.
    """
    directory = Path(scratch, f"documents-{count}-{words}")
    if not directory.exists():
        being_made = directory.with_suffix(f".{os.getpid()}")
        being_made.mkdir()
        for number, text in enumerate(_texts(count)):
            shown = " ".join(text.split()[:words]) if words else text
            (being_made / f"{number:06}.txt").write_text(f"{shown}\n", encoding="utf-8")
        being_made.rename(directory)
    return directory


def _texts(count: int) -> Iterator[str]:
    made = 0
    while _BESIDE.exists():
        with _BESIDE.open(encoding="utf-8") as lines:
            for line in lines:
                if made == count:
                    return
                row = json.loads(line)
                again = f"{made} " if made >= 5_000 else ""  # none is twice the same
                yield f"{again}{row['title']}\n\n{row['text']}"
                made += 1
    rng = random.Random(0)
    words = [f"{a}{b}" for a in ("kin", "mar", "tol", "ves") for b in range(500)]
    for _ in range(count):
        sentences = (" ".join(rng.choices(words, k=14)).capitalize() for _ in range(14))
        yield ". ".join(sentences) + "."


def peak_mb() -> float:
    """Return the most memory that this process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
