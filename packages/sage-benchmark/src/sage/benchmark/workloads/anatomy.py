"""Where the time goes: W1's chain with one cost added after the other.

From the hand-written loop over what the contracts ask for (None means "no output", slices) to
SAGE with smaller batches, with a channel in the middle, and with two subtasks. The difference
between two lines is the cost of what the second one adds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sage.benchmark.measuring import Pipeline, digest, timed
from sage.benchmark.row import Contestant, Figure, Request, Role, Row, Sample
from sage.benchmark.workloads.w1_stateless import STEPS, by_hand, sage, sage_calling

__all__ = ["BATCHES_ROW", "ROW", "measure", "measure_batches"]

WARM_UP = 5_000
BATCHES = (1, 4, 16, 64, 256, 1_024, 8_192)


def with_none_checks(records: Sequence[int]) -> list[int]:
    """The hand-written loop, with the tests for None that ``map`` promises."""
    output: list[int] = []
    _checked(records, output)
    return output


def with_slices(records: Sequence[int]) -> list[int]:
    """The same over slices of 1,024."""
    output: list[int] = []
    for start in range(0, len(records), 1_024):
        _checked(records[start : start + 1_024], output)
    return output


def with_counts(records: Sequence[int]) -> list[int]:
    """The same, counting every record that goes no further: all that SAGE's loop does."""
    output: list[int] = []
    dropped = [0] * 5
    for start in range(0, len(records), 1_024):
        counts = _counted(records[start : start + 1_024], output)
        dropped = [total + count for total, count in zip(dropped, counts, strict=True)]
    return output


def _checked(records: Sequence[int], output: list[int]) -> None:
    add, first, double, second, subtract = (function for _, function in STEPS)
    emit = output.append
    for record in records:
        value: Any = add(record)
        if value is None:
            continue
        if not first(value):
            continue
        value = double(value)
        if value is None:
            continue
        if not second(value):
            continue
        value = subtract(value)
        if value is None:
            continue
        emit(value)


def _counted(records: Sequence[int], output: list[int]) -> tuple[int, ...]:
    add, first, double, second, subtract = (function for _, function in STEPS)
    emit = output.append
    added = kept = doubled = left = subtracted = 0
    for record in records:
        value: Any = add(record)
        if value is None:
            added += 1
            continue
        if not first(value):
            kept += 1
            continue
        value = double(value)
        if value is None:
            doubled += 1
            continue
        if not second(value):
            left += 1
            continue
        value = subtract(value)
        if value is None:
            subtracted += 1
            continue
        emit(value)
    return added, kept, doubled, left, subtracted


def interpreted(records: Sequence[int]) -> list[int]:
    """A loop over a list of operators, as an engine without a compiler has it."""
    output: list[int] = []
    emit = output.append
    for record in records:
        value = record
        for verb, function in STEPS:
            result = function(value)
            if verb == "map":
                value = result
            elif not result:
                break
        else:
            emit(value)
    return output


def from_generator(records: Sequence[int]) -> list[int]:
    """SAGE with a generator as its source: records cross from the reader's thread."""
    return _sage(lambda: iter(records), {}, {})


def across_tasks(records: Sequence[int]) -> list[int]:
    """SAGE with a channel behind the second operator; parallelism stays 1."""
    return _sage(records, {}, {"resources": {"num_cpus": 1}})


def two_subtasks(records: Sequence[int]) -> list[int]:
    """SAGE with two subtasks behind the second operator: threads that share one interpreter."""
    return _sage(records, {}, {"parallelism": 2})


def _sage(source: Any, config: dict[str, Any], behind: dict[str, Any]) -> list[int]:
    from sage.kernel import LocalEnvironment

    output: list[int] = []
    env = LocalEnvironment(config=config)
    stream = env.from_source(source)
    for index, (verb, function) in enumerate(STEPS):
        stream = getattr(stream, verb)(function, **(behind if index >= 2 else {}))
    stream.sink(output.append, **behind)
    result = env.execute()
    if behind and not result.metrics.edges:
        raise ValueError("the plan has no channel; this row measures nothing")
    return output


def measure(contestant: Pipeline, request: Request) -> Sample:
    """Time one contestant; order is not compared, because two subtasks promise none."""
    sample, output = timed(contestant, list(range(request["size"])), WARM_UP)
    if request["verify"]:
        sample["digest"] = digest(output)
    return sample


def batches_in_sage(size: int) -> Pipeline:
    """W1 in SAGE with a largest batch of ``size``."""

    def run(records: Sequence[int]) -> list[int]:
        return _sage(records, {"batch_size": size}, {})

    return run


def batches_across_tasks(size: int) -> Pipeline:
    """The same with a channel in the middle."""

    def run(records: Sequence[int]) -> list[int]:
        return _sage(records, {"batch_size": size}, {"resources": {"num_cpus": 1}})

    return run


def measure_batches(contestant: Callable[[int], Pipeline], request: Request) -> Sample:
    """Time batches of 1 to 8,192; the cost of a batch is the slope over batches a record."""
    sample: Sample = {}
    for size in BATCHES:
        records = list(range(max(request["size"] // (20 if size < 16 else 1), 500)))
        sample[f"ns_{size}"] = timed(contestant(size), records, WARM_UP)[0]["ns_per_record"]
    sample["batch_us"] = (sample["ns_1"] - sample["ns_8192"]) / 1000
    return sample


_HERE = "sage.benchmark.workloads.anatomy"


def _entry(name: str, function: Callable[..., Any], role: Role, note: str = "") -> Contestant:
    target = f"{function.__module__}:{function.__name__}"
    return Contestant(name=name, target=target, role=role, note=note)


ROW = Row(
    key="A1",
    title="anatomy of W1: what each promise and each hop costs",
    limit="the hand-written loop of W1",
    measure=f"{_HERE}:measure",
    size=1_000_000,
    quick_size=2_000,
    contestants=(
        _entry("by hand", by_hand, Role.LIMIT),
        _entry("by hand, None checks", with_none_checks, Role.LIMIT),
        _entry("by hand, None checks, slices", with_slices, Role.LIMIT, "slices of 1,024"),
        _entry(
            "by hand, None checks, slices, counts", with_counts, Role.LIMIT, "SAGE's loop by hand"
        ),
        _entry("by hand, list of operators", interpreted, Role.LIMIT, "no compiled chain"),
        _entry("SAGE", sage, Role.SAGE),
        _entry("SAGE, no inlining", sage_calling, Role.SAGE),
        _entry("SAGE, generator", from_generator, Role.SAGE, "read on its own thread"),
        _entry("SAGE, a channel", across_tasks, Role.SAGE, "exchange at parallelism 1"),
        _entry("SAGE, two subtasks", two_subtasks, Role.SAGE, "threads, rebalanced"),
    ),
    figures=(Figure(key="ns_per_record", label="ns/record", digits=0),),
    charted="",
    most_rounds=3,
)

BATCHES_ROW = Row(
    key="A2",
    title="anatomy of W1: ns a record by largest batch",
    limit="-",
    measure=f"{_HERE}:measure_batches",
    size=400_000,
    quick_size=1_000,
    contestants=(
        _entry("SAGE", batches_in_sage, Role.SAGE),
        _entry("SAGE, a channel", batches_across_tasks, Role.SAGE),
    ),
    figures=(
        *(Figure(key=f"ns_{size}", label=f"{size:,}", digits=0) for size in BATCHES),
        Figure(key="batch_us", label="µs a batch", digits=2),
    ),
    compares_output=False,
    charted="",
    most_rounds=3,
)
