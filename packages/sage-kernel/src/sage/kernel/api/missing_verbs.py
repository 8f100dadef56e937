"""What a stream says when it is asked for a verb that it does not have."""

from __future__ import annotations

from sage.common.suggestions import did_you_mean
from sage.kernel.errors import UnknownVerbError

__all__ = ["unknown_verb", "unknown_window_verb"]

_KEYED = ("join", "count", "window_join", "interval_join", "temporal_join", "deduplicate")
_NO_VERBS = {"edge", "env", "uid"}


def unknown_verb(stream: object, verb: str) -> UnknownVerbError:
    """Return the error that says what there is instead of ``verb``."""
    if verb in _KEYED:
        return UnknownVerbError(
            f"{verb} wants a keyed stream", hint=f".key_by(selector).{verb}(...)"
        )
    known = {name for name in dir(stream) if not name.startswith("_")} - _NO_VERBS
    return UnknownVerbError(f"a stream has no verb {verb!r}{did_you_mean(verb, {*known, *_KEYED})}")


def unknown_window_verb(windowed: object, verb: str) -> UnknownVerbError:
    """Return the error that says what windows have instead of ``verb``."""
    known = [name for name in dir(windowed) if not name.startswith("_")]
    return UnknownVerbError(
        f"windows have no verb {verb!r}{did_you_mean(verb, known)}",
        hint="say what is made of a window's records first: .window(...).count()",
    )
