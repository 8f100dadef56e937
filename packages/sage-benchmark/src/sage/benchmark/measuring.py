"""What the worker processes have in common: the clock, the collector's policy, digests.

Policy of the throughput rows, the same for everybody: the input is made before the clock starts;
one warm-up on a small part of it (code is specialized, clusters are started); ``gc.collect()``;
then the clock runs from the building of the pipeline to the return of the call that ran it, with
the garbage collector on as in any program. Imports, input and checks are not timed.
"""

from __future__ import annotations

import gc
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from sage.benchmark.row import Sample

__all__ = ["Pipeline", "digest", "timed"]

Pipeline = Callable[[Sequence[Any]], Sequence[Any]]
"""A contestant of a throughput row: builds and runs the work over records, returns the output."""


def digest(records: Iterable[Any]) -> str:
    """Return a fingerprint of a multiset of records: the same for any order.

    Example:
        >>> digest([1, "a"]) == digest(["a", 1]), digest([1]) == digest([1, 1])
        (True, False)
    """
    total = count = 0
    for record in records:
        # The square keeps two swapped halves of records from cancelling out.
        total += zlib.crc32(repr(record).encode()) ** 2
        count += 1
    return f"{count}:{total % (1 << 64):016x}"


def timed(pipeline: Pipeline, records: Sequence[Any], warm_up: int) -> tuple[Sample, Sequence[Any]]:
    """Run a pipeline over records as the policy says.

    Args:
        pipeline: The contestant.
        records: Its input.
        warm_up: How many records the warm-up gets.

    Returns:
        ``elapsed_s``, ``cpu_s``, ``ns_per_record`` and ``m_records_per_s``, and the output.
    """
    if warm_up:
        pipeline(records[:warm_up])
    gc.collect()
    cpu = time.process_time()
    started = time.perf_counter()
    output = pipeline(records)
    elapsed = time.perf_counter() - started
    count = max(len(records), 1)
    sample: Sample = {
        "elapsed_s": elapsed,
        "cpu_s": time.process_time() - cpu,
        "ns_per_record": elapsed / count * 1e9,
        "m_records_per_s": count / elapsed / 1e6,
    }
    return sample, output
