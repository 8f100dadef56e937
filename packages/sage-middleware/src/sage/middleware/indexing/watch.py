"""`watch_index`: keeps a collection up to date with directories for as long as it runs."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sage.common.errors import ConfigError, MissingExtraError, Problem, SageError
from sage.middleware.indexing.changes import Source, sources_of
from sage.middleware.indexing.pipeline import build_index
from sage.middleware.indexing.report import IndexingStopped, IndexReport

__all__ = ["watch_index"]

_LOOK_AROUND_MS = 200


def watch_index(
    path: Source | Sequence[Source],
    collection: str = "default",
    *,
    tell: Callable[[IndexReport | SageError], Any],
    stop: threading.Event | None = None,
    debounce_ms: int = 500,
    **options: Any,
) -> None:
    """Index directories, and again whenever something in them changes, until it is stopped.

    Changes that come together, such as those of a checkout, are one run. A run that fails is told
    and the watching goes on.

    Args:
        path: Directories and files; not URLs, of which nobody tells when they change.
        collection: Name of the collection; made if it does not exist.
        tell: Called with the report of the first run and of each that did something, and with the
            error of one that failed.
        stop: Ends the watching when it is set; Ctrl-C does so too.
        debounce_ms: How long to wait for further changes before running.
        options: As of `build_index`.

    Raises:
        ConfigError: if a URL is among the sources.
        DataError: if a directory or file does not exist.
        IndexingStopped: if Ctrl-C comes while documents are indexed.
        MissingExtraError: if watchfiles is not installed.
    """
    roots = sources_of(path)
    first = True
    try:
        for _ in _changes(roots, stop or threading.Event(), debounce_ms):
            told = _run(roots, collection, options)
            if first or not isinstance(told, IndexReport) or told.did_something:
                tell(told)
            first = False
    except IndexingStopped:
        raise
    except KeyboardInterrupt:  # between two runs
        return


def _run(
    roots: Sequence[str], collection: str, options: Mapping[str, Any]
) -> IndexReport | SageError:
    try:
        return build_index(roots, collection, **options)
    except SageError as error:
        return error


def _changes(roots: Sequence[str], stop: threading.Event, debounce_ms: int) -> Iterator[None]:
    """Yield at once, and then each time when something has changed."""
    from sage.libs.documents.url_policy import is_url

    try:
        import watchfiles
    except ModuleNotFoundError as error:
        raise MissingExtraError("watchfiles", extra="isage-middleware[watch]") from error
    if urls := [root for root in roots if is_url(root)]:
        message = f"expected directories and files, got {urls[0]!r}"
        raise ConfigError("sage index --watch", [Problem("$.path", message)])
    # A file is watched in its directory: editors replace it by another one of its name.
    watched = {root if os.path.isdir(root) else os.path.dirname(root) for root in roots}
    batches = watchfiles.watch(
        *sorted(watched),
        watch_filter=lambda _, changed: _concerns(changed, roots),
        debounce=debounce_ms,
        stop_event=stop,
        rust_timeout=_LOOK_AROUND_MS,
        yield_on_timeout=True,
    )
    first = True
    for batch in batches:
        # The first one comes when the watching has begun, so that no change falls between.
        if batch or first:
            yield
        first = False


def _concerns(changed: str, roots: Sequence[str]) -> bool:
    """Say whether what changed may be a document: under a root, and not hidden there."""
    for root in roots:
        if changed == root:
            return True
        if changed.startswith(root.rstrip(os.sep) + os.sep):
            return not any(part.startswith(".") for part in Path(changed).relative_to(root).parts)
    return False
