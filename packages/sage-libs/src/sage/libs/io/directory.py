"""Sources that walk a directory: the paths of its documents, or their chunks."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Annotated, Any, Literal

from sage.common.config import Meta, configurable
from sage.common.core.functions import SourceFunction
from sage.common.errors import DataError
from sage.common.records import Chunk
from sage.libs.documents.chunkers.token import TokenChunker
from sage.libs.documents.discovery import find_documents, fingerprint
from sage.libs.documents.loaders import SUPPORTED_SUFFIXES, load_document
from sage.libs.documents.tokens import Tokenizer

__all__ = ["ChunkedFileSource", "DirectorySource"]


@configurable
class DirectorySource(SourceFunction[str]):
    """Gives the path of each document below a directory, in order. It can be replayed.

    Args:
        path: The directory, or a single file.
        patterns: Globs that choose the files, such as ``["*.md", "notes/**"]``; by default every
            kind that `load_document` reads.

    Raises:
        DataError: from ``open`` if the directory does not exist or holds no documents.

    Example:
        >>> import pathlib, tempfile
        >>> top = pathlib.Path(tempfile.mkdtemp())
        >>> _ = (top / "b.md").write_text("b"), (top / "a.txt").write_text("a")
        >>> [pathlib.Path(path).name for path in DirectorySource(top).read(10)]
        ['a.txt', 'b.md']
    """

    def __init__(
        self, path: str | os.PathLike[str], *, patterns: Sequence[str] | None = None
    ) -> None:
        self.path = os.fspath(path)
        self.patterns = patterns
        self._paths: list[str] | None = None
        self._next = 0

    def open(self, context: Any) -> None:
        """Find the documents."""
        self._found()

    def read(self, max_records: int) -> list[str] | None:
        """Return the next paths, at most ``max_records``, or None at the end."""
        paths = self._found()[self._next : self._next + max_records]
        self._next += len(paths)
        return paths or None

    def snapshot_position(self) -> dict[str, Any]:
        """Return the position: the path that was given last."""
        return {"after": self._found()[self._next - 1] if self._next else None}

    def seek(self, position: Mapping[str, Any]) -> None:
        """Go on behind a path.

        Raises:
            DataError: if that file is gone.
        """
        after, paths = position["after"], self._found()
        if after is not None and after not in paths:
            raise DataError(f"{after!r} is gone, so it is unknown where to go on", path=after)
        self._next = 0 if after is None else paths.index(after) + 1

    def close(self) -> None:
        """Forget what was found."""
        self._paths, self._next = None, 0

    def _found(self) -> list[str]:
        if self._paths is None:
            self._paths = [str(path) for path in find_documents(self.path, self.patterns)]
            if not self._paths:
                wanted = self.patterns or sorted(SUPPORTED_SUFFIXES)
                raise DataError(
                    f"no documents found in {self.path!r}",
                    hint=f"looked for {' '.join(wanted)}",
                    path=self.path,
                )
        return self._paths


@configurable
class ChunkedFileSource(SourceFunction[Chunk]):
    """Loads every document below a directory and gives its chunks, in order. It can be replayed.

    Loading one large document may take longer than the poll timeout; a cancelled job waits for it.

    Args:
        path: The directory, or a single file.
        chunk_tokens: Most tokens in a chunk.
        overlap_tokens: Most tokens that a chunk repeats of the one before.
        model: The embedding model whose tokenizer counts; by default the packaged one.
        tokenizer: A tokenizer that counts, in place of the model's.
        patterns: Globs that choose the files; by default every kind that `load_document` reads.
        on_bad_file: What to do with a file that cannot be read: ``"fail"``, or ``"skip"`` it with
            a warning in the log.

    Raises:
        DataError: from ``open`` if there are no documents, from ``read`` if one cannot be read.

    Example:
        >>> import pathlib, tempfile
        >>> from sage.libs.documents import WordTokenizer
        >>> top = pathlib.Path(tempfile.mkdtemp())
        >>> _ = (top / "a.md").write_text("# Water\\n\\nIt boils at 100 degrees.\\n")
        >>> [chunk] = ChunkedFileSource(top, tokenizer=WordTokenizer()).read(10)
        >>> chunk.text, chunk.metadata["line"]
        ('# Water\\n\\nIt boils at 100 degrees.', 1)
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        chunk_tokens: Annotated[int, Meta(ge=8)] = 200,
        overlap_tokens: Annotated[int, Meta(ge=0)] = 40,
        model: str | None = None,
        tokenizer: Tokenizer | None = None,
        patterns: Sequence[str] | None = None,
        on_bad_file: Literal["fail", "skip"] = "fail",
    ) -> None:
        self.path = os.fspath(path)
        self._model = model
        self._chunker = TokenChunker(
            chunk_tokens=chunk_tokens, overlap_tokens=overlap_tokens, tokenizer=tokenizer
        )
        self._chunk_options = (chunk_tokens, overlap_tokens)
        self._files = DirectorySource(path, patterns=patterns)
        self._skip_bad = on_bad_file == "skip"
        self._file: str | None = None
        self._fingerprint = ""
        self._given = 0
        self._chunks: Iterator[Chunk] = iter(())

    def __deepcopy__(self, memo: dict[int, Any]) -> ChunkedFileSource:
        # A tokenizer is shared and read-only; copying one costs tens of megabytes.
        memo[id(self._chunker)] = self._chunker
        copied = object.__new__(type(self))
        copied.__dict__.update(self.__dict__)
        copied._files = DirectorySource(self.path, patterns=self._files.patterns)
        return copied

    def open(self, context: Any) -> None:
        """Find the documents, and the tokenizer."""
        if self._model is not None:
            from sage.libs.embedding.tokenizer import load_tokenizer

            chunk_tokens, overlap_tokens = self._chunk_options
            self._chunker = TokenChunker(
                chunk_tokens=chunk_tokens,
                overlap_tokens=overlap_tokens,
                tokenizer=load_tokenizer(self._model),
            )
        self._files.open(context)

    def read(self, max_records: int) -> list[Chunk] | None:
        """Return the next chunks of one document, at most ``max_records``, or None at the end."""
        while True:
            chunks = list(islice(self._chunks, max_records))
            if chunks:
                self._given += len(chunks)
                return chunks
            paths = self._files.read(1)
            if paths is None:
                return None
            self._start(paths[0])

    def _start(self, path: str) -> None:
        self._file, self._given = path, 0
        try:
            self._fingerprint = fingerprint(path)
            self._chunks = iter(self._chunker.chunk(load_document(path)))
        except DataError as error:
            if not self._skip_bad:
                raise
            self._chunks = iter(())
            self.logger.warning("left out %s: %s", path, error.message)

    def snapshot_position(self) -> dict[str, Any]:
        """Return the position: file, its fingerprint, and how many of its chunks were given."""
        return {"file": self._file, "fingerprint": self._fingerprint, "chunks": self._given}

    def seek(self, position: Mapping[str, Any]) -> None:
        """Go to a position.

        Raises:
            DataError: if the file is gone or has changed since.
        """
        file = position["file"]
        self._files.seek({"after": file})
        if file is None:
            return
        self._start(file)
        if self._fingerprint != position["fingerprint"]:
            raise DataError(
                f"{file!r} has changed since the position was taken in it",
                hint="start over from the beginning",
                path=file,
            )
        self._given = len(list(islice(self._chunks, position["chunks"])))

    def close(self) -> None:
        """Let everything go."""
        self._files.close()
        self._file, self._fingerprint, self._given = None, "", 0
        self._chunks = iter(())
