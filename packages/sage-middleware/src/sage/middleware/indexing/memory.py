"""How much is embedded at once: less where memory runs short.

A batch that does not fit into memory is halved and tried again; one that fits but takes the process
above its limit halves those that follow. Sizes never grow again within a run: what was too much
once will be too much again.
"""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from sage.common.errors import LimitError

__all__ = ["BatchSize", "is_out_of_memory", "memory_limit_bytes", "used_bytes"]

_T = TypeVar("_T")
_R = TypeVar("_R")
_SHARE = 0.8
_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
_SAID = ("bad_alloc", "bad allocation", "failed to allocate memory", "out of memory")


class BatchSize:
    """Gives work in batches, halving them on memory pressure.

    Args:
        size: How much to begin with.
        limit_bytes: Resident memory of the process from which batches are halved; by default four
            fifths of what the machine, or its control group, has.
        used: Tells resident memory; for tests.

    Example:
        >>> sizes = BatchSize(4, limit_bytes=100, used=lambda: 120 if sizes.size > 2 else 80)
        >>> [batch for batch, _ in sizes.run([1, 2, 3, 4, 5, 6, 7, 8], sum)]
        [[1, 2, 3, 4], [5, 6], [7, 8]]
        >>> sizes.halvings
        1
    """

    def __init__(
        self,
        size: int,
        *,
        limit_bytes: int | None = None,
        used: Callable[[], int] | None = None,
    ) -> None:
        self.size = size
        self.halvings = 0
        self._limit = memory_limit_bytes() if limit_bytes is None else limit_bytes
        self._used = used or used_bytes

    def run(
        self, items: Sequence[_T], work: Callable[[Sequence[_T]], _R]
    ) -> Iterator[tuple[Sequence[_T], _R]]:
        """Yield batches of the items and what ``work`` made of each.

        Raises:
            LimitError: if there is not even memory for one item.
        """
        start = 0
        while start < len(items):
            batch = items[start : start + self.size]
            try:
                result = work(batch)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                if len(batch) == 1:
                    raise LimitError(
                        "there is not enough memory to embed a single chunk",
                        hint="free memory, or cut smaller chunks with --chunk-tokens",
                    ) from error
                self._halve(len(batch))
                continue
            yield batch, result
            start += len(batch)
            if self.size > 1 and self._used() > self._limit:
                self._halve(self.size)

    def _halve(self, size: int) -> None:
        self.size = max(1, size // 2)
        self.halvings += 1


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether an error means that memory ran out; libraries have errors of their own for it."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    said = str(error).lower()
    return isinstance(error, RuntimeError) and any(words in said for words in _SAID)


def used_bytes() -> int:
    """Return the resident memory of this process."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):  # not Linux: the most it ever had
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    return pages * os.sysconf("SC_PAGE_SIZE")


def memory_limit_bytes() -> int:
    """Return four fifths of the memory that the machine, or its control group, has."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in _LIMITS:
        try:
            found.append(int(Path(path).read_text()))
        except (OSError, ValueError):  # there is none, or it is "max"
            continue
    return int(_SHARE * min(found))
