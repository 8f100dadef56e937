"""The one sentence that turns an unknown name into a suggestion."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["did_you_mean", "nearest"]


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name most like ``name``, or None if none is like it.

    Example:
        >>> nearest("paralelism", ["name", "parallelism"])
        'parallelism'
    """
    from difflib import get_close_matches

    names = list(known)
    lowered = {candidate.lower(): candidate for candidate in names}
    matches = get_close_matches(name.lower(), lowered, n=1, cutoff=0.6)
    return lowered[matches[0]] if matches else None


def did_you_mean(name: str, known: Iterable[str], *, limit: int = 12) -> str:
    """Return "; did you mean 'x'?" or "; known are ...", ready to follow a message.

    Example:
        >>> did_you_mean("top_kk", ["top_k", "model"])
        "; did you mean 'top_k'?"
        >>> did_you_mean("zzz", ["top_k", "model"])
        '; known: model, top_k'
    """
    names = sorted(known)
    match = nearest(name, names)
    if match is not None:
        return f"; did you mean {match!r}?"
    if not names:
        return "; none is known"
    shown = ", ".join(names[:limit])
    return f"; known: {shown}" + (", ..." if len(names) > limit else "")
