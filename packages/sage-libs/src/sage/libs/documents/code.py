"""Source code, which is text that knows its language."""

from __future__ import annotations

from sage.libs.documents.text import Loaded, decoded

__all__ = ["LANGUAGES", "load_code"]

LANGUAGES = {
    ".bash": "shell",
    ".c": "c",
    ".cc": "c++",
    ".cfg": "ini",
    ".cpp": "c++",
    ".cs": "csharp",
    ".css": "css",
    ".cxx": "c++",
    ".go": "go",
    ".h": "c",
    ".hpp": "c++",
    ".ini": "ini",
    ".java": "java",
    ".js": "javascript",
    ".jsx": "javascript",
    ".kt": "kotlin",
    ".lua": "lua",
    ".mjs": "javascript",
    ".php": "php",
    ".pl": "perl",
    ".proto": "protobuf",
    ".py": "python",
    ".pyi": "python",
    ".r": "r",
    ".rb": "ruby",
    ".rs": "rust",
    ".scala": "scala",
    ".sh": "shell",
    ".sql": "sql",
    ".swift": "swift",
    ".toml": "toml",
    ".ts": "typescript",
    ".tsx": "typescript",
    ".yaml": "yaml",
    ".yml": "yaml",
}
"""The language of each suffix of source code and configuration."""


def load_code(data: bytes, source: str, *, language: str) -> Loaded:
    """Read source code, which stays as it is; its lines are those of the file.

    Args:
        data: The file.
        source: Its name, for the error.
        language: What it is written in.

    Raises:
        DataError: if it is not text.

    Example:
        >>> load_code(b"x = 1\\n", "a.py", language="python")
        Loaded(text='x = 1\\n', metadata={'language': 'python'})
    """
    text, metadata = decoded(data, source)
    return Loaded(text, {**metadata, "language": language})
