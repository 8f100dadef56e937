"""The suite ``nexmark``: each query in events a second, its result compared in the first round.

The yardstick is the query's batch reference, which has all events in one list and needs no state
that could be taken up again: it is not what a stream can reach, but the same work for everybody.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from sage.benchmark.measuring import digest, timed
from sage.benchmark.nexmark.catalog import QUERIES
from sage.benchmark.nexmark.generator import generate
from sage.benchmark.nexmark.model import Event, decode, encode
from sage.benchmark.nexmark.verification import run
from sage.benchmark.row import Contestant, Figure, Request, Role, Row, Sample
from sage.benchmark.suite import Suite

__all__ = ["SUITE", "events", "measure"]

SEED = 7
WARM_UP = 5_000
_HERE = "sage.benchmark.nexmark"


def events(scratch: str, count: int) -> list[Event]:
    """Return the first events of the suite's seed, from a file that the first caller writes.

    Args:
        scratch: The directory of the file.
        count: How many events.
    """
    path = os.path.join(scratch, f"nexmark-{count}.msgpack")
    if not os.path.exists(path):
        partial = f"{path}.{os.getpid()}"
        with open(partial, "wb") as file:
            file.write(encode(list(generate(count, seed=SEED))))
        os.replace(partial, path)
    with open(path, "rb") as file:
        return decode(file.read())


def measure(contestant: Callable[..., Any], request: Request) -> Sample:
    """Time one query, in SAGE or as a batch program.

    Args:
        contestant: A function of `sage.benchmark.nexmark.queries` or of its ``reference``.
        request: The size is in events.
    """
    query = QUERIES[contestant.__name__]
    in_sage = contestant is query.build

    def pipeline(records: Sequence[Any]) -> list[Any]:
        return run(query, records) if in_sage else query.expected(records)

    sample, output = timed(pipeline, events(request["scratch"], request["size"]), WARM_UP)
    rows = query.settled(output)
    sample["emitted"], sample["outputs"] = len(output), len(rows)
    if request["verify"]:
        sample["digest"] = digest(rows)
    return sample


def _row(name: str) -> Row:
    return Row(
        key=name,
        title=f"{QUERIES[name].title}, 1 M events",
        limit="the batch reference, which has all events at once and sorts its rows",
        measure=f"{_HERE}.suite:measure",
        size=1_000_000,
        quick_size=20_000,
        contestants=(
            Contestant(name="batch", target=f"{_HERE}.reference:{name}", role=Role.LIMIT),
            Contestant(name="SAGE", target=f"{_HERE}.queries:{name}", role=Role.SAGE, judged=True),
        ),
        figures=(
            Figure(key="m_records_per_s", label="M events/s", digits=3),
            Figure(key="ns_per_record", label="ns/event", digits=0),
            Figure(key="outputs", label="rows", digits=0),
        ),
    )


SUITE = Suite("nexmark", tuple(map(_row, QUERIES)))
