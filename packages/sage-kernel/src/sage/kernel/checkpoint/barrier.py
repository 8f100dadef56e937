"""A barrier: the mark that flows with the records and cuts the stream in two.

What came before it belongs to the checkpoint, what comes behind it does not. Invariant: a task
passes a barrier on behind everything that it made of the records before the barrier, and before
anything that it makes of those behind it.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Barrier"]


class Barrier(NamedTuple):
    """The cut of one checkpoint.

    Attributes:
        checkpoint: Its number, rising from 1 over all runs of the job.
        folder: Where tasks write their parts: a path or URL.
        stops: Whether sources read no further behind it, because the job is to stop there.
    """

    checkpoint: int
    folder: str = ""
    stops: bool = False
