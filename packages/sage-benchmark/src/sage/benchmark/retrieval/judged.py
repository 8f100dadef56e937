"""Test collections: passages, questions, and what people judged relevant.

Two forms are read. A BEIR folder (Thakur et al., "BEIR", NeurIPS 2021) has ``corpus.jsonl``,
``queries.jsonl`` and ``qrels/test.tsv``; a passage is its title and text, as there. A file in
SQuAD's form (``{"data": [{"paragraphs": ...}]}``) becomes one passage a paragraph, and the only
relevant one of a question is the paragraph that it was asked about.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from sage.common.errors import ConfigError, DataError, Problem
from sage.common.suggestions import did_you_mean

__all__ = ["JudgedCollection", "JudgedQuery", "find_collections", "read_beir", "read_squad"]

_BEIR = ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv")


@dataclass(frozen=True, slots=True)
class JudgedQuery:
    """A question with the grades of the passages that were judged for it, by id."""

    query_id: str
    text: str
    grades: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class JudgedCollection:
    """Passages by id, and questions that have something relevant among them.

    Attributes:
        name: As in ``--rows``.
        passages: Texts by id.
        queries: In the order of the judgements.
    """

    name: str
    passages: Mapping[str, str]
    queries: tuple[JudgedQuery, ...]

    def small(self, queries: int = 10, passages: int = 50) -> JudgedCollection:
        """Return the first questions with what is relevant to them and a few other passages."""
        asked = self.queries[:queries]
        kept = dict.fromkeys(i for query in asked for i in query.grades if i in self.passages)
        kept |= dict.fromkeys(list(self.passages)[:passages])
        return replace(
            self,
            passages={i: text for i, text in self.passages.items() if i in kept},
            queries=asked,
        )


def find_collections(
    directory: Path, names: list[str] | None = None
) -> dict[str, Callable[[], JudgedCollection]]:
    """Return the test collections in a directory by name, each as a function that reads it.

    Args:
        directory: A BEIR folder, or one that holds BEIR folders and folders with files in SQuAD's
            form (``xquad/xquad.en.json`` is named ``xquad-en``).
        names: Only these; None for all.

    Raises:
        DataError: if the directory is not there, or no test collection is in it.
        ConfigError: if there is none of a name that was asked for.
    """
    hint = (
        f"a BEIR folder has {', '.join(_BEIR)}; it comes from https://github.com/beir-cellar/beir"
    )
    if not directory.is_dir():
        raise DataError(f"there is no directory {str(directory)!r}", hint=hint)
    found = dict(_found(directory))
    if not found:
        raise DataError(f"no test collection in {str(directory)!r}", hint=hint)
    problems = [
        Problem("--rows", f"unknown test collection {name!r}{did_you_mean(name, list(found))}")
        for name in names or ()
        if name not in found
    ]
    if problems:
        known = ", ".join(found)
        raise ConfigError("sage bench", problems, hint=f"{str(directory)!r} holds {known}")
    return {name: read for name, read in found.items() if names is None or name in names}


def _found(directory: Path) -> Iterator[tuple[str, Callable[[], JudgedCollection]]]:
    for folder in (directory, *sorted(path for path in directory.iterdir() if path.is_dir())):
        if all((folder / name).is_file() for name in _BEIR):
            yield folder.resolve().name, partial(read_beir, folder)
        for path in sorted(folder.glob("*.json")):
            if path.stem.partition(".")[0] == folder.name:
                yield path.stem.replace(".", "-"), partial(read_squad, path)


def read_beir(folder: Path) -> JudgedCollection:
    """Read a BEIR folder; questions without a relevant passage are left out, as BEIR does.

    Raises:
        DataError: if a file cannot be read as what it is; file and line are named.
    """
    corpus, queries, judged = (folder / name for name in _BEIR)
    passages = {}
    for line in _json_lines(corpus):
        passages[str(line["_id"])] = f"{line.get('title') or ''} {line['text']}".strip()
    texts = {str(line["_id"]): str(line["text"]) for line in _json_lines(queries)}
    grades: dict[str, dict[str, float]] = {}
    for number, row in enumerate(judged.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            query_id, passage_id, grade = row.split("\t")
            if number > 1 or grade.strip().lstrip("-").isdecimal():
                grades.setdefault(query_id, {})[passage_id] = float(grade)
        except ValueError as error:
            raise DataError(
                f"{judged}:{number}: expected query, passage, grade: {row!r}"
            ) from error
    asked = tuple(
        JudgedQuery(query_id, texts[query_id], judgements)
        for query_id, judgements in grades.items()
        if query_id in texts and max(judgements.values()) > 0
    )
    return JudgedCollection(folder.resolve().name, passages, asked)


def read_squad(path: Path) -> JudgedCollection:
    """Read a file in SQuAD's form.

    Raises:
        DataError: if it is not in that form.
    """
    passages: dict[str, str] = {}
    queries = []
    try:
        for article in json.loads(path.read_text(encoding="utf-8"))["data"]:
            for paragraph in article["paragraphs"]:
                passage_id = str(len(passages))
                passages[passage_id] = str(paragraph["context"])
                for asked in paragraph["qas"]:
                    judged = {passage_id: 1.0}
                    queries.append(JudgedQuery(str(asked["id"]), str(asked["question"]), judged))
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not in SQuAD's form: {error!r}") from error
    return JudgedCollection(path.stem.replace(".", "-"), passages, tuple(queries))


def _json_lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                try:
                    value = json.loads(line)
                    if not {"_id", "text"} <= value.keys():
                        raise ValueError("no _id or text")
                except (ValueError, AttributeError) as error:
                    raise DataError(f"{path}:{number}: {error}") from error
                yield value
