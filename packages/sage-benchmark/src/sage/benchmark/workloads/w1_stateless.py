"""W1: a stateless chain over integers, ``map filter map filter map``, into a list."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sage.benchmark.measuring import Pipeline, digest, timed
from sage.benchmark.row import Contestant, Figure, Request, Role, Row, Sample, Target

__all__ = ["ROW", "STEPS", "by_hand", "measure", "sage", "sage_calling"]

WARM_UP = 5_000

STEPS: tuple[tuple[str, Callable[[int], int]], ...] = (
    ("map", lambda n: n + 1),
    ("filter", lambda n: n % 3 != 0),
    ("map", lambda n: n * 2),
    ("filter", lambda n: n % 5 != 0),
    ("map", lambda n: n - 1),
)
"""The user's functions, the same objects for everybody."""


def by_hand(records: Sequence[int]) -> list[int]:
    """The limit: one loop, written for this chain, calling the same functions."""
    add, first, double, second, subtract = (function for _, function in STEPS)
    output: list[int] = []
    emit = output.append
    for record in records:
        value = add(record)
        if not first(value):
            continue
        value = double(value)
        if not second(value):
            continue
        emit(subtract(value))
    return output


def sage(records: Sequence[int]) -> list[int]:
    """The same in SAGE."""
    return _sage(records, inline=True)


def sage_calling(records: Sequence[int]) -> list[int]:
    """The same, with every function called: no expression is written into the loop."""
    return _sage(records, inline=False)


def _sage(records: Sequence[int], *, inline: bool) -> list[int]:
    from sage.kernel import LocalEnvironment

    output: list[int] = []
    env = LocalEnvironment(config={"inline": inline})
    stream = env.from_collection(records)
    for verb, function in STEPS:
        stream = getattr(stream, verb)(function)
    stream.sink(output.append)
    env.execute()
    return output


def measure(contestant: Pipeline, request: Request) -> Sample:
    """Time one contestant over the integers 0 to size - 1."""
    sample, output = timed(contestant, list(range(request["size"])), WARM_UP)
    if request["verify"]:
        sample["digest"] = digest(output)
    return sample


_HERE = "sage.benchmark.workloads.w1_stateless"
_PEERS = "sage.benchmark.peers"

ROW = Row(
    key="W1",
    title="stateless chain: 1 M ints, map filter map filter map, sink",
    limit="one hand-written loop that calls the same functions",
    measure=f"{_HERE}:measure",
    size=1_000_000,
    quick_size=2_000,
    contestants=(
        Contestant(name="by hand", target=f"{_HERE}:by_hand", role=Role.LIMIT),
        Contestant(name="SAGE", target=f"{_HERE}:sage", role=Role.SAGE, judged=True),
        Contestant(
            name="SAGE, no inlining",
            target=f"{_HERE}:sage_calling",
            role=Role.SAGE,
            note="inline=False: calls what the hand-written loop calls",
        ),
        Contestant(
            name="bytewax, hand-batched",
            target=f"{_PEERS}.bytewax_peer:w1_batched",
            role=Role.PEER,
            needs="bytewax",
            note="one flat_map_batch step whose function is the hand-written loop",
        ),
        Contestant(
            name="bytewax",
            target=f"{_PEERS}.bytewax_peer:w1",
            role=Role.PEER,
            needs="bytewax",
            note="source gives batches of 1,024",
        ),
        Contestant(
            name="pathway",
            target=f"{_PEERS}.pathway_peer:w1",
            role=Role.PEER,
            needs="pathway",
            note="reads a file in Rust; functions by pw.apply_with_type",
        ),
        Contestant(
            name="streamz",
            target=f"{_PEERS}.streamz_peer:w1",
            role=Role.PEER,
            needs="streamz",
        ),
        Contestant(
            name="Ray Data",
            target=f"{_PEERS}.ray_peer:w1",
            role=Role.PEER,
            needs="ray",
            note="cluster started before the clock; rows, not batches",
        ),
    ),
    figures=(
        Figure(key="m_records_per_s", label="M records/s"),
        Figure(key="ns_per_record", label="ns/record", digits=0),
    ),
    targets=(Target(figure="ratio", must=0.90, aim=1.5),),
)
