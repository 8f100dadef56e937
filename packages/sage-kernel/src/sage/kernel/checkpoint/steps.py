"""The named steps of a checkpoint, so that a test can stop the world at each of them.

A promise to survive a kill at any moment can only be tested if the moments have names. The engine
calls `reached` before and behind everything that outlives the process; nobody listens but tests.

The steps of a checkpoint, in their order: ``checkpoint.requested``, ``barrier.injected``,
``task.snapshot``, ``sink.prepare.before``, ``sink.prepare.after``, ``task.write.before``,
``task.write.after``, ``task.acknowledged``, ``manifest.before``, ``manifest.after``,
``sink.commit.before``, ``sink.commit.after``, ``checkpoint.retired``; and of a recovery:
``recovery.found``, ``recovery.restored``, ``recovery.commit.before``, ``recovery.commit.after``,
``recovery.abort.before``, ``recovery.abort.after``. The storage names each write, fsync and rename
as well, for ``state`` (a task's file), ``manifest``, ``owner`` and ``probe``:
``storage.state.write.before``, ``storage.state.fsync.before``, ``storage.manifest.write.before``,
``storage.manifest.fsync.before``, ``storage.manifest.rename.before``,
``storage.manifest.rename.after``, and so on; and ``storage.retire.before`` each deletion.
A journal names ``journal.write``, ``journal.sync`` and ``journal.roll``, each with ``.before`` and
``.after``.
"""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["reached", "watch"]

_watching: Callable[[str], None] | None = None


def watch(callback: Callable[[str], None] | None) -> None:
    """Have a function called at every step of this process, with its name; None for nobody."""
    global _watching
    _watching = callback


def reached(step: str) -> None:
    """Say that a step has been reached."""
    if _watching is not None:
        _watching(step)
