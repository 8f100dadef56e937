"""``parallelism="auto"``: what is chosen where, and that the plan says why."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sage.common.errors import ConfigError
from sage.kernel import DataStream, LocalEnvironment
from sage.kernel.errors import GraphError
from sage.kernel.graph.explain import Plan
from sage.kernel.graph.transformation import AUTO, Transformation
from sage.kernel.metrics.fates import OperatorMetrics
from sage.kernel.metrics.snapshot import JobMetrics
from sage.kernel.optimizer.parallelism import (
    PAYS_FROM_S,
    Surroundings,
    choose_parallelism,
    costs_of,
)

HERE = Surroundings(cores=6)


def chosen(stream: DataStream[Any], surroundings: Surroundings = HERE) -> Transformation:
    """Return the operator that a stream comes of, as the rule leaves it."""
    return choose_parallelism(stream.env.graph(), surroundings)[stream.uid]


@pytest.fixture
def env() -> LocalEnvironment:
    environment = LocalEnvironment("auto", config={"parallelism": "auto"})
    assert environment.config.parallelism == "auto"
    return environment


@pytest.fixture
def numbers(env: LocalEnvironment) -> DataStream[int]:
    return env.from_collection(range(100))


async def answer(n: int) -> int:
    return n


def test_a_python_function_stays_in_one_thread(numbers: DataStream[int]) -> None:
    """A second thread gains nothing for a Python function, and the note says so."""
    operator = chosen(numbers.map(str))
    assert operator.parallelism == 1
    assert operator.note == "1 chosen, threads take turns at the interpreter lock"


def test_functions_that_wait_get_threads(numbers: DataStream[int]) -> None:
    """Who asks for threads has functions that wait: four a core, and no more than 32."""
    waiting = numbers.map(str, executor="thread")
    assert chosen(waiting).parallelism == 24
    assert "4 threads a core" in chosen(waiting).note
    assert chosen(waiting, Surroundings(cores=64)).parallelism == 32


@pytest.mark.parametrize(("num_cpus", "expected"), [(None, 6), (1, 6), (2, 3), (0.5, 12), (9, 1)])
def test_processes_share_the_cores(
    numbers: DataStream[int], num_cpus: float | None, expected: int
) -> None:
    """As many worker processes as the cores give room for, and always one."""
    resources = {} if num_cpus is None else {"num_cpus": num_cpus}
    operator = chosen(numbers.map(str, executor="process", resources=resources))
    assert operator.parallelism == expected
    assert "6 cores" in operator.note
    assert "not measured yet" in operator.note


@pytest.mark.parametrize(
    ("cost_s", "expected", "words"),
    [
        (PAYS_FROM_S / 3, 1, "processes pay from 3 µs, 1.0 µs of work in a record were measured"),
        (PAYS_FROM_S, 6, "3.0 µs of work in a record were measured"),
        (250e-6, 6, "250.0 µs of work in a record were measured"),
    ],
)
def test_processes_must_pay(
    numbers: DataStream[int], cost_s: float, expected: int, words: str
) -> None:
    """Where an earlier run measured too little work in a record, one worker process is enough."""
    stream = numbers.map(str, executor="process")
    operator = chosen(stream, Surroundings(6, cost_s={stream.uid: cost_s}))
    assert operator.parallelism == expected
    assert words in operator.note


def test_sources_sinks_async_maps_and_folds_have_one_subtask(
    env: LocalEnvironment, numbers: DataStream[int]
) -> None:
    """What more subtasks of a process would not help stays one."""
    keyed = numbers.key_by(lambda n: n % 2)
    streams = {
        "a source": env.from_source([1], parallelism="auto"),
        "concurrency=7": numbers.map_async(answer, concurrency=7),
        "lock": keyed.count(),
        "take turns": keyed.join(keyed),
        "records of all its inputs": numbers.union(numbers),
    }
    for words, stream in streams.items():
        assert words in chosen(stream).note
        assert chosen(stream).parallelism == 1
    assert chosen(numbers.reduce(max)).parallelism == 1  # without keys it asks for 1 by itself
    sink = numbers.sink(print, name="out")
    graph = choose_parallelism(env.graph(), HERE)
    assert graph[sink.uid].note == "1 chosen, one writer"
    [single] = [t for t in graph if t.operator.kind == "single_key"]
    assert single.parallelism == 1


def test_on_ray_every_core_gets_a_subtask(env: LocalEnvironment, numbers: DataStream[int]) -> None:
    """Subtasks are processes there, so stateless and keyed operators are divided."""
    ray = Surroundings(cores=6, distributed=True)
    assert chosen(numbers.map(str), ray).parallelism == 6
    assert chosen(numbers.map(str, resources={"num_cpus": 3}), ray).parallelism == 2
    assert chosen(numbers.key_by(lambda n: n).count(), ray).parallelism == 6
    assert chosen(numbers.union(numbers), ray).parallelism == 1
    sink = numbers.sink(print)
    assert choose_parallelism(env.graph(), ray)[sink.uid].parallelism == 1


def test_a_number_of_ones_own_is_left_alone(numbers: DataStream[int]) -> None:
    """Only what is left to the rule is changed, and only that has a note."""
    operator = chosen(numbers.map(str, parallelism=5))
    assert (operator.parallelism, operator.note) == (5, "")


def test_the_plan_says_what_was_chosen_and_why(
    env: LocalEnvironment, numbers: DataStream[int]
) -> None:
    """Text, JSON and Mermaid have the note beside the operator."""
    numbers.map(str, name="shown").map_async(answer, name="asked").print()
    plan = env.explain()
    note = "1 chosen, threads take turns at the interpreter lock"
    assert f"    shown: {note}" in str(plan).splitlines()
    told = {
        o["name"]: (o["parallelism"], o["note"]) for o in json.loads(plan.to_json())["operators"]
    }
    assert told["shown"] == (1, note)
    assert told["asked"] == (1, "1 chosen, concurrency=64 is what scales it")
    assert f'["shown<br/>{note}"]' in plan.to_mermaid()
    assert all(t.parallelism != AUTO for t in plan.job_graph.stream_graph)


def test_auto_changes_no_result(env: LocalEnvironment, numbers: DataStream[int]) -> None:
    """Whatever is chosen, the records are the same."""
    doubled = numbers.map(lambda n: 2 * n, executor="thread").key_by(lambda n: n % 3).count()
    result = doubled.collect()
    assert sorted(result) == sorted(
        (key, i + 1) for key in range(3) for i in range(33 + (key == 0))
    )


def test_an_earlier_run_is_what_the_cost_is_known_from() -> None:
    """Work per record is measured where enough records came; a few say nothing."""

    def of(uid: str, received: int, busy_s: float) -> OperatorMetrics:
        return OperatorMetrics(uid, uid, "map", None, received=received, busy_s=busy_s)

    metrics = JobMetrics("job", "finished", 1.0, [of("many", 2000, 0.01), of("few", 999, 1.0)])
    assert costs_of(metrics) == {"many": pytest.approx(5e-6)}


def test_an_environment_remembers_its_last_run() -> None:
    """The second plan of the same environment knows what the first run cost."""
    env = LocalEnvironment()
    stream = env.from_collection(range(3000)).map(
        lambda n: sum(range(3000)) + n, executor="process", parallelism="auto", name="work"
    )
    stream.sink(lambda record: None)
    assert "not measured yet" in str(env.explain())
    first = {t.uid: t for t in env.explain().job_graph.stream_graph}[stream.uid]
    env.execute()
    again = {t.uid: t for t in env.explain().job_graph.stream_graph}[stream.uid]
    assert "were measured" in again.note
    assert again.parallelism == first.parallelism  # 3000 additions are more than a few µs


def test_a_parallelism_is_a_number_or_auto(env: LocalEnvironment) -> None:
    """Other words, zero and fractions are refused where they are said."""
    stream = env.from_collection([1])
    for wrong in ("two", 0, -1, 1.5, True):
        with pytest.raises(GraphError, match="'auto' or a whole number"):
            stream.map(str, parallelism=wrong)
    with pytest.raises(ConfigError, match="parallelism"):
        env.set_parallelism("many")  # type: ignore[arg-type]
    env.set_parallelism(3)
    assert Plan(env.explain().job_graph).job_graph.stream_graph[stream.uid].parallelism == 1
    assert chosen(stream.map(str)).parallelism == 3
