"""Joins in event time as jobs: behind exchanges, in batches of every size, with any parallelism."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sage.kernel import (
    DataStream,
    JobResult,
    KeyedStream,
    LocalEnvironment,
    SessionWindow,
    SlidingWindow,
    SourceFunction,
    TumblingWindow,
)
from sage.kernel.errors import FunctionError, GraphError, JobFailedError, UnknownVerbError
from sage.kernel.testing import CollectingSink, check_conservation
from sage.kernel.testing import event_time_reference_joins as naive
from sage.kernel.testing.event_time_reference_joins import Said
from sage.kernel.testing.operator_harness import Arrival, arrivals

Record = tuple[str, Any, float]  # name, key, time
SETTINGS = settings(max_examples=15, deadline=None)
ENOUGH_S = 1000  # of a bound: nothing is late
RECORDS = st.lists(
    st.tuples(
        st.sampled_from(["", "a", 0, ("b", 1)]),
        st.one_of(st.integers(-10, 20), st.floats(-10, 20)),
    ),
    max_size=25,
)
READS = st.lists(st.integers(1, 9), max_size=9)
BATCH_SIZES = st.sampled_from([1, 2, 7, 1024])
Rows = list[tuple[Any, float]]


class Script(SourceFunction[Record]):
    """Gives its records in reads of the sizes that the test says."""

    def __init__(self, records: Sequence[Record], reads: Sequence[int] = ()) -> None:
        self.records = list(records)
        self.reads = list(reads)

    def read(self, max_records: int) -> list[Record] | None:
        if not self.records:
            return None
        size = min(max_records, self.reads.pop(0) if self.reads else max_records)
        read, self.records = self.records[:size], self.records[size:]
        return read


def keyed(
    env: LocalEnvironment,
    records: Sequence[Record],
    bound_s: float = ENOUGH_S,
    reads: Sequence[int] = (),
) -> KeyedStream[Any, Record]:
    stream: DataStream[Record] = env.from_source(Script(records, reads))
    timed = stream.assign_timestamps(lambda r: r[2], max_out_of_orderness_s=bound_s)
    return timed.key_by(lambda r: r[1])


def named(side: str, rows: Rows) -> list[Record]:
    return [(f"{side}{at}", key, time) for at, (key, time) in enumerate(rows)]


def run(joined: DataStream[Any]) -> tuple[list[Any], list[Any], JobResult]:
    """Return what comes out, what is late, and what was counted."""
    main, late = CollectingSink(), CollectingSink()
    joined.sink(main)
    joined.side_output("late").sink(late)
    result = joined.env.submit().wait()
    check_conservation(result.metrics, joined.env.graph())
    return main.records, late.records, result


def arrived(left: Sequence[Record], right: Sequence[Record]) -> list[Arrival]:
    """All of it, none of it late."""
    sides = ((0, r) for r in left), ((1, r) for r in right)
    return [Arrival(r, r[1], r[2], input_index=side) for rows in sides for side, r in rows]


Join = Callable[[KeyedStream[Any, Any], KeyedStream[Any, Any], int], DataStream[Any]]
Reference = Callable[[list[Arrival], float], Said]
CASES: dict[str, tuple[Join, Reference]] = {
    "interval": (
        lambda a, b, p: a.interval_join(b, -2, 3.5, parallelism=p, name="join"),
        lambda all, now: naive.interval_join(all, now, lower_s=-2, upper_s=3.5),
    ),
    "interval full": (
        lambda a, b, p: a.interval_join(b, 1, 6, how="full", parallelism=p, name="join"),
        lambda all, now: naive.interval_join(all, now, lower_s=1, upper_s=6, how="full"),
    ),
    "ttl left": (
        lambda a, b, p: a.join(b, how="left", state_ttl_s=3, parallelism=p, name="join"),
        lambda all, now: naive.interval_join(all, now, lower_s=-3, upper_s=3, how="left"),
    ),
    "temporal left": (
        lambda a, b, p: a.temporal_join(b, how="left", parallelism=p, name="join"),
        lambda all, now: naive.temporal_join(all, now, how="left"),
    ),
    "tumbling full": (
        lambda a, b, p: a.window_join(
            b, TumblingWindow(5), how="full", allowed_lateness_s=2, parallelism=p, name="join"
        ),
        lambda all, now: naive.window_join(all, now, assigner=TumblingWindow(5), how="full"),
    ),
}
NEVER_LATE: dict[str, tuple[Join, Reference]] = {
    "sliding": (
        lambda a, b, p: a.window_join(b, SlidingWindow(6, 4), parallelism=p, name="join"),
        lambda all, now: naive.window_join(all, now, assigner=SlidingWindow(6, 4)),
    ),
    "sessions right": (
        lambda a, b, p: a.window_join(
            b, SessionWindow(2.5), how="right", parallelism=p, name="join"
        ),
        lambda all, now: naive.window_join(all, now, assigner=SessionWindow(2.5), how="right"),
    ),
}


@pytest.mark.parametrize("parallelism", [1, 2, 4])
@pytest.mark.parametrize("case", CASES)
@SETTINGS
@given(left=RECORDS, right=RECORDS, reads=READS, batch_size=BATCH_SIZES)
def test_main_and_late_are_deterministic_together(
    case: str, parallelism: int, left: Rows, right: Rows, reads: list[int], batch_size: int
) -> None:
    """Which records are late is free behind two inputs; what comes of the others is not."""
    join, reference = CASES[case]
    env = LocalEnvironment(config={"batch_size": batch_size})
    sides = named("l", left), named("r", right)
    joined = join(keyed(env, sides[0], 2, reads), keyed(env, sides[1], 2), parallelism)
    main, late, result = run(joined)
    in_time = [a for a in arrived(*sides) if a.record not in late]
    assert Counter(main) == Counter(row for row, _ in reference(in_time, math.inf).results)
    assert result.metrics["join"].late == len(late)


@pytest.mark.parametrize("parallelism", [1, 3])
@pytest.mark.parametrize("case", CASES | NEVER_LATE)
@SETTINGS
@given(left=RECORDS, right=RECORDS, reads=READS, batch_size=BATCH_SIZES)
def test_a_bound_that_covers_the_disorder_makes_it_all_deterministic(
    case: str, parallelism: int, left: Rows, right: Rows, reads: list[int], batch_size: int
) -> None:
    """With nothing late a job gives what a naive join of two lists gives."""
    join, reference = (CASES | NEVER_LATE)[case]
    env = LocalEnvironment(config={"batch_size": batch_size})
    sides = named("l", left), named("r", right)
    joined = join(keyed(env, sides[0], reads=reads), keyed(env, sides[1]), parallelism)
    main, late, _ = run(joined)
    assert Counter(main) == Counter(row for row, _ in reference(arrived(*sides), math.inf).results)
    assert late == []


@pytest.mark.parametrize("parallelism", [1, 4])
@SETTINGS
@given(rows=RECORDS, reads=READS, batch_size=BATCH_SIZES, within=st.sampled_from([0.5, 3, 8]))
def test_deduplication_is_the_same_however_it_runs(
    parallelism: int, rows: Rows, reads: list[int], batch_size: int, within: float
) -> None:
    """Of one input it is exact behind an exchange too: what passes, and what is late."""
    # Of times less than a rounding error apart, either may count as near.
    records = named("r", [(key, round(time * 8) / 8) for key, time in rows])
    env = LocalEnvironment(config={"batch_size": batch_size})
    stream = keyed(env, records, 4, reads).deduplicate(within, parallelism=parallelism, name="once")
    main, late, result = run(stream)
    expected = naive.deduplicate(
        arrivals([(0, r[1], r[2], r) for r in records], 4), within_s=within
    )
    assert Counter(main) == Counter(record for record, _ in expected.results)
    assert Counter(late) == Counter(expected.late)
    assert result.metrics["once"].filtered == len(records) - len(main) - len(late)


@SETTINGS
@given(left=RECORDS, right=RECORDS, how=st.sampled_from(["inner", "left", "right", "full"]))
@pytest.mark.parametrize("kind", ["interval", "window", "regular"])
def test_nothing_is_late_behind_a_join(kind: str, left: Rows, right: Rows, how: Any) -> None:
    """Rows that are given alone come long after their time; what follows has waited for them."""
    env = LocalEnvironment(config={"batch_size": 3})
    sides = named("l", left), named("r", right)
    a, b = keyed(env, sides[0]), keyed(env, sides[1])
    joined: DataStream[Any]
    if kind == "interval":
        joined = a.interval_join(b, -2, 3, how=how)
        said = naive.interval_join(arrived(*sides), math.inf, lower_s=-2, upper_s=3, how=how)
    elif kind == "window":
        joined = a.window_join(b, TumblingWindow(4), how=how, allowed_lateness_s=3)
        window = TumblingWindow(4)
        said = naive.window_join(arrived(*sides), math.inf, assigner=window, how=how)
    else:
        joined = a.join(b, how=how)
        said = naive.interval_join(arrived(*sides), math.inf, lower_s=-99, upper_s=99, how=how)
    counted = joined.window(TumblingWindow(10)).count(
        emit=lambda key, window, n: (window.start_s, n)
    )
    main, late, _ = run(counted)
    assert Counter(dict(main)) == Counter(t // 10 * 10 for _, t in said.results)
    assert late == []


def orders_and_payments(env: LocalEnvironment) -> tuple[KeyedStream[Any, Any], ...]:
    return (
        keyed(env, [("tea", 1, 10), ("milk", 2, 20), ("oops", 3, 30)]),
        keyed(env, [("paid", 1, 13), ("paid", 3, 31), ("paid", 2, 99)]),
    )


def test_a_join_function_that_raises_fails_the_job_with_its_record() -> None:
    """The error names the operator and the record that completed the pair."""
    env = LocalEnvironment()
    orders, payments = orders_and_payments(env)

    def join(order: Record, payment: Record) -> str:
        if order[0] == "oops":
            raise ValueError("no such order")
        return order[0]

    joined = orders.interval_join(payments, 0, 5, join, name="paid")
    with pytest.raises(JobFailedError, match="no such order") as raised:
        joined.collect()
    assert raised.value.operator == "paid"
    assert raised.value.record[1] == 3


def test_a_join_function_that_raises_costs_one_record() -> None:
    """With a policy the record that completed the pair is set aside; the others are joined."""
    env = LocalEnvironment()
    orders, payments = orders_and_payments(env)

    def join(order: Record, payment: Record) -> str:
        if order[0] == "oops":
            raise ValueError("no such order")
        return order[0]

    joined = orders.interval_join(payments, 0, 99, join, on_error="dead_letter", name="paid")
    main, _, result = run(joined)
    assert sorted(main) == ["milk", "tea"]
    assert result.metrics["paid"].dead_lettered == 1


@pytest.mark.parametrize("verb", ["interval_join", "window_join", "temporal_join", "deduplicate"])
def test_a_stream_without_keys_is_told_to_have_some(verb: str) -> None:
    """The verbs are not there on an unkeyed stream, and the error says what to do."""
    stream = LocalEnvironment().from_collection([1])
    with pytest.raises(UnknownVerbError, match="wants a keyed stream"):
        getattr(stream, verb)


def test_both_sides_must_have_keys_and_one_environment() -> None:
    """The right side is checked when the pipeline is built."""
    env, other = LocalEnvironment(), LocalEnvironment()
    left, _ = orders_and_payments(env)
    unkeyed: Any = env.from_collection([1])
    with pytest.raises(GraphError, match="interval_join wants two keyed streams, got a DataStream"):
        left.interval_join(unkeyed, 0, 1)
    with pytest.raises(GraphError, match="window_join wants two keyed streams"):
        left.window_join(unkeyed, TumblingWindow(1))
    with pytest.raises(GraphError, match="temporal_join of streams of two environments"):
        left.temporal_join(orders_and_payments(other)[1])
    with pytest.raises(GraphError, match="join wants two keyed streams"):
        left.join(unkeyed)


def test_both_sides_must_have_timestamps() -> None:
    """A join in event time of a stream without timestamps is refused before anything runs."""
    env = LocalEnvironment()
    timed, _ = orders_and_payments(env)
    untimed = env.from_collection([("x", 1, 1)]).key_by(lambda r: r[1])
    for joined in (
        timed.interval_join(untimed, 0, 1),
        untimed.window_join(timed, TumblingWindow(1)),
        timed.temporal_join(untimed),
        untimed.deduplicate(5),
    ):
        with pytest.raises(GraphError, match="needs timestamps"):
            joined.collect()
    assert untimed.deduplicate().collect() == [("x", 1, 1)]


@pytest.mark.parametrize("parallelism", [1, 2])
@pytest.mark.parametrize("case", ["interval", "temporal left", "tumbling full"])
@pytest.mark.parametrize("key", [None, ["list"], math.nan, object()], ids=str)
def test_a_key_of_a_refused_type_costs_its_record(key: Any, case: str, parallelism: int) -> None:
    """No join loses it silently or keeps it: the error policy gets it."""
    env = LocalEnvironment(config={"on_error": "dead_letter"})
    left = keyed(env, [("bad", key, 1), ("fine", 1, 2)])
    right = keyed(env, [("right", 1, 2), ("bad", key, 1)])
    main, late, result = run(CASES[case][0](left, right, parallelism))
    assert main == [(("fine", 1, 2), ("right", 1, 2))]
    assert late == []
    assert sum(o.dead_lettered for o in result.metrics.operators) == 2


@pytest.mark.parametrize("parallelism", [1, 2])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("key", [None, ["list"], math.nan], ids=str)
def test_a_refused_key_has_the_policy_of_its_key_by(key: Any, case: str, parallelism: int) -> None:
    """Whatever the parallelism of the join, and not the policy of the join."""
    env = LocalEnvironment()
    timed = env.from_collection([("bad", key, 1)]).assign_timestamps(lambda r: r[2])
    left = timed.key_by(lambda r: r[1], name="by key", on_error="dead_letter")
    joined = CASES[case][0](left, keyed(env, [("right", 1, 2)]), parallelism)
    _, late, result = run(joined)
    assert late == []
    assert result.metrics["by key"].dead_lettered == 1
    assert result.metrics["join"].received == 1


def test_a_time_to_live_is_in_event_time_where_there_is_one() -> None:
    """With timestamps on both sides the plan has no mention of the clock; else it warns of it."""
    env = LocalEnvironment("timed")
    orders, payments = orders_and_payments(env)
    orders.join(payments, state_ttl_s=5)
    assert "processing time" not in str(env.explain())
    env = LocalEnvironment("untimed")
    orders = env.from_collection([("tea", 1)]).key_by(lambda r: r[1])
    orders.join(orders, state_ttl_s=5, name="pairs")
    plan = str(env.explain())
    assert "pairs: waits 5 s of processing time for partners, so its result depends" in plan


def test_a_time_to_live_must_be_above_zero() -> None:
    """On both kinds of time."""
    env = LocalEnvironment()
    orders, payments = orders_and_payments(env)
    untimed = env.from_collection([("tea", 1)]).key_by(lambda r: r[1])
    for wrong in (0, -1, math.nan, math.inf, "5"):
        for other in (payments, untimed):
            with pytest.raises(GraphError, match="join: state_ttl_s must be above 0 seconds"):
                orders.join(other, state_ttl_s=wrong)  # type: ignore[arg-type]


def test_a_lateness_that_is_none_is_told_as_windows_tell_it() -> None:
    """In the same words, whichever verb it was given to."""
    orders, payments = orders_and_payments(LocalEnvironment())
    with pytest.raises(GraphError, match="window_join: allowed_lateness_s must be at least 0"):
        orders.window_join(payments, TumblingWindow(1), allowed_lateness_s=-1)


def test_an_option_that_a_join_does_not_have_is_refused() -> None:
    """A misspelt one is named, with the one that was meant, and not passed over in silence."""
    orders, payments = orders_and_payments(LocalEnvironment())
    with pytest.raises(GraphError, match="deduplicate has no option 'within'; did you mean"):
        orders.deduplicate(within=5)
    with pytest.raises(GraphError, match="interval_join has no option 'hwo'; did you mean 'how'"):
        orders.interval_join(payments, 0, 1, hwo="left")


def test_a_join_is_named_by_its_verb_in_every_error() -> None:
    """Also where the function is a lambda."""
    orders, payments = orders_and_payments(LocalEnvironment())
    with pytest.raises(FunctionError, match="interval_join wants a function, got str: 'left'"):
        orders.interval_join(payments, 0, 1, "left")  # type: ignore[call-overload]
    joined = orders.interval_join(payments, 0, 1, lambda left, right: left)
    assert joined.env.graph()[joined.uid].name == "interval_join"


def test_a_misspelt_verb_of_keyed_streams_is_suggested_to_any_stream() -> None:
    """What it wants to be keyed for comes after that."""
    with pytest.raises(UnknownVerbError, match="did you mean 'interval_join'"):
        _ = LocalEnvironment().from_collection([1]).interval_joins
