"""Growth: does a record cost the same with more operators, more keys, larger records?

Each contestant runs all sizes in one process, smallest first, and repeats each one a few times; the
best time of a size counts, because what is looked for is a slope and not a level.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sage.benchmark.measuring import Pipeline, timed
from sage.benchmark.row import Contestant, Figure, Request, Role, Row, Sample

__all__ = [
    "KEYS_ROW",
    "OPERATORS_ROW",
    "SIZES_ROW",
    "keys_by_hand",
    "keys_in_sage",
    "measure_keys",
    "measure_operators",
    "measure_sizes",
    "operators_by_hand",
    "operators_in_sage",
    "sizes_across_tasks",
    "sizes_by_hand",
    "sizes_in_sage",
]

OPERATORS = (1, 10, 100)
KEYS = (1, 100, 10_000, 1_000_000)
SIZES = (10, 100, 1_000, 10_000, 100_000)
REPEATS = 3
PAYLOADS = 32


def step(number: int) -> int:
    """The user's function of the operators' row."""
    return number + 1


def operators_in_sage(count: int) -> Pipeline:
    """A chain of ``count`` maps in SAGE."""

    def run(records: Sequence[int]) -> list[int]:
        from sage.kernel import LocalEnvironment

        output: list[int] = []
        env = LocalEnvironment()
        stream = env.from_collection(records)
        for _ in range(count):
            stream = stream.map(step)
        stream.sink(output.append)
        env.execute()
        return output

    return run


def operators_by_hand(count: int) -> Pipeline:
    """A loop with ``count`` calls written out, as somebody with patience would write it."""
    lines = ["def run(records):", "    output = []", "    for v in records:"]
    lines += ["        v = step(v)"] * count + ["        output.append(v)", "    return output"]
    namespace: dict[str, Any] = {"step": step}
    exec("\n".join(lines), namespace)
    run: Pipeline = namespace["run"]
    return run


def measure_operators(contestant: Callable[[int], Pipeline], request: Request) -> Sample:
    """Time chains of 1, 10 and 100 operators, and what starting each costs before any record."""
    sample: Sample = {}
    records = list(range(request["size"]))
    for count in OPERATORS:
        pipeline = contestant(count)
        sample[f"ns_{count}_each"] = _best(pipeline, records) / count
        sample[f"start_{count}_ms"] = _best(pipeline, [0]) / 1e6
    return sample


def keys_in_sage(records: Sequence[int]) -> list[tuple[int, int]]:
    """A running count by key in SAGE."""
    from sage.kernel import LocalEnvironment

    output: list[tuple[int, int]] = []
    env = LocalEnvironment()
    env.from_collection(records).key_by(_identity).count().sink(output.append)
    env.execute()
    return output


def keys_by_hand(records: Sequence[int]) -> list[tuple[int, int]]:
    """The same with a dict and a loop."""
    counts: dict[int, int] = {}
    output: list[tuple[int, int]] = []
    for record in records:
        key = _identity(record)
        count = counts[key] + 1 if key in counts else 1
        counts[key] = count
        output.append((key, count))
    return output


def measure_keys(contestant: Pipeline, request: Request) -> Sample:
    """Time a running count over 1 to 1 M keys, in an order without pattern."""
    size = request["size"]
    spread = 7_919  # a prime that divides none of the key counts: each key comes equally often
    return {
        f"ns_{keys}": _best(contestant, [n * spread % keys for n in range(size)]) for keys in KEYS
    }


def sizes_in_sage(records: Sequence[bytes]) -> list[bytes]:
    """Two operators in one task."""
    return _sizes(records, {})


def sizes_across_tasks(records: Sequence[bytes]) -> list[bytes]:
    """Two operators in two tasks, with a channel between them."""
    return _sizes(records, {"resources": {"num_cpus": 1}})


def _sizes(records: Sequence[bytes], options: dict[str, Any]) -> list[bytes]:
    from sage.kernel import LocalEnvironment

    output: list[bytes] = []
    env = LocalEnvironment()
    env.from_collection(records).map(_identity).filter(_not_empty, **options).sink(
        output.append, **options
    )
    env.execute()
    return output


def sizes_by_hand(records: Sequence[bytes]) -> list[bytes]:
    """The same in a loop."""
    output: list[bytes] = []
    for record in records:
        value = _identity(record)
        if _not_empty(value):
            output.append(value)
    return output


def measure_sizes(contestant: Pipeline, request: Request) -> Sample:
    """Time records of 10 B to 100 kB."""
    sample: Sample = {}
    for size in SIZES:
        payloads = [bytes([number % 256]) * size for number in range(1, PAYLOADS + 1)]
        records = [payloads[n % PAYLOADS] for n in range(request["size"])]
        sample[f"ns_{size}"] = _best(contestant, records)
    return sample


def _identity(record: Any) -> Any:
    return record


def _not_empty(record: bytes) -> bool:
    return len(record) > 0


def _best(pipeline: Pipeline, records: Sequence[Any]) -> float:
    runs = [timed(pipeline, records, len(records) // 20)[0] for _ in range(REPEATS)]
    return min(float(sample["ns_per_record"]) for sample in runs)


def _number(value: int) -> str:
    for size, sign in ((1_000_000, "M"), (1_000, "k")):
        if value >= size:
            return f"{value // size}{sign}"
    return str(value)


_HERE = "sage.benchmark.workloads.growth"

OPERATORS_ROW = Row(
    key="G1",
    title="growth: chains of 1, 10 and 100 maps, ns a record for each operator",
    limit="the calls written out in one loop",
    measure=f"{_HERE}:measure_operators",
    size=100_000,
    quick_size=500,
    contestants=(
        Contestant(name="by hand", target=f"{_HERE}:operators_by_hand", role=Role.LIMIT),
        Contestant(name="SAGE", target=f"{_HERE}:operators_in_sage", role=Role.SAGE, judged=True),
    ),
    figures=(
        *(Figure(key=f"ns_{count}_each", label=f"{count} op", digits=0) for count in OPERATORS),
        *(Figure(key=f"start_{count}_ms", label=f"start {count} op, ms") for count in OPERATORS),
    ),
    compares_output=False,
    charted="",
    most_rounds=3,
)

KEYS_ROW = Row(
    key="G2",
    title="growth: running count over 1 to 1 M keys, ns a record",
    limit="a dict and a loop",
    measure=f"{_HERE}:measure_keys",
    size=1_000_000,
    quick_size=1_000,
    contestants=(
        Contestant(name="by hand", target=f"{_HERE}:keys_by_hand", role=Role.LIMIT),
        Contestant(name="SAGE", target=f"{_HERE}:keys_in_sage", role=Role.SAGE, judged=True),
    ),
    figures=tuple(
        Figure(key=f"ns_{keys}", label=f"{_number(keys)} keys", digits=0) for keys in KEYS
    ),
    compares_output=False,
    charted="",
    most_rounds=3,
)

SIZES_ROW = Row(
    key="G3",
    title="growth: records of 10 B to 100 kB, ns a record",
    limit="a loop",
    measure=f"{_HERE}:measure_sizes",
    size=200_000,
    quick_size=1_000,
    contestants=(
        Contestant(name="by hand", target=f"{_HERE}:sizes_by_hand", role=Role.LIMIT),
        Contestant(name="SAGE", target=f"{_HERE}:sizes_in_sage", role=Role.SAGE, judged=True),
        Contestant(
            name="SAGE, two tasks",
            target=f"{_HERE}:sizes_across_tasks",
            role=Role.SAGE,
            note="a channel between map and filter",
        ),
    ),
    figures=tuple(Figure(key=f"ns_{size}", label=f"{_number(size)}B", digits=0) for size in SIZES),
    compares_output=False,
    charted="",
    most_rounds=3,
)
