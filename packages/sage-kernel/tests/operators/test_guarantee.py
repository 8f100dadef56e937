"""What each sink guarantees: decided in one place, said in the plan and in the metrics."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from sage.common.config import configurable
from sage.common.core.functions import SinkFunction
from sage.kernel import LocalEnvironment
from sage.kernel.graph.explain import Plan
from sage.kernel.metrics.snapshot import JobMetrics
from sage.kernel.operators.function_spec import MAP, SINK, FunctionSpec
from sage.kernel.operators.guarantee import Guarantee, guarantee_of
from sage.kernel.operators.map import MapOperator
from sage.kernel.operators.sink import SinkOperator


class PlainSink(SinkFunction[Any]):
    def write(self, record: Any) -> None:
        pass


class UpsertingSink(PlainSink):
    idempotent = True


class CommittingSink(PlainSink):
    def begin(self, epoch: int) -> None: ...
    def prepare(self, epoch: int) -> None: ...
    def commit(self, epoch: int) -> None: ...
    def abort(self, epoch: int) -> None: ...


@configurable
class SinkWithKey(CommittingSink):
    """Idempotent if it has a key."""

    def __init__(self, *, key: str | None = None) -> None:
        self.key = key

    @property
    def idempotent(self) -> bool:
        return self.key is not None


class UnbuildableSink(CommittingSink):
    def __init__(self) -> None:
        raise AssertionError("the plan made a sink")


EXACTLY, EFFECTIVELY = Guarantee.EXACTLY_ONCE, Guarantee.EFFECTIVELY_ONCE
AT_LEAST, AT_MOST = Guarantee.AT_LEAST_ONCE, Guarantee.AT_MOST_ONCE


@pytest.mark.parametrize(
    ("target", "config", "exactly_once", "at_least_once"),
    [
        (print, (), AT_LEAST, AT_LEAST),
        (PlainSink, (), AT_LEAST, AT_LEAST),
        (UpsertingSink, (), EFFECTIVELY, EFFECTIVELY),
        (UpsertingSink(), (), EFFECTIVELY, EFFECTIVELY),
        (CommittingSink, (), EXACTLY, AT_LEAST),
        (CommittingSink(), (), EXACTLY, AT_LEAST),
        (UnbuildableSink, (), EXACTLY, AT_LEAST),
        (SinkWithKey, (), EXACTLY, AT_LEAST),
        (SinkWithKey, ({"key": "id"},), EXACTLY, EFFECTIVELY),
        (SinkWithKey(key="id"), (), EXACTLY, EFFECTIVELY),
    ],
)
def test_it_follows_from_the_sink_and_the_mode(
    target: Any, config: tuple[Any, ...], exactly_once: Guarantee, at_least_once: Guarantee
) -> None:
    """Two phases, idempotence or neither; no mode is no more than at most once."""
    operator = SinkOperator(function=FunctionSpec(SINK, target, config))
    assert guarantee_of(operator, "exactly_once") is exactly_once
    assert guarantee_of(operator, "at_least_once") is at_least_once
    assert guarantee_of(operator, None) is AT_MOST


def test_other_operators_guarantee_nothing() -> None:
    """Only a sink reaches a target."""
    assert guarantee_of(MapOperator(function=FunctionSpec(MAP, abs)), "exactly_once") is None


def pipeline() -> LocalEnvironment:
    env = LocalEnvironment("shop")
    orders = env.from_collection([1, 2], name="orders")
    orders.sink(print, name="shown")
    orders.sink(CommittingSink, name="kept")
    return env


def test_the_plan_says_it() -> None:
    """With checkpoints text and chart say it; JSON says it in any case."""
    plain = pipeline().explain()
    safe = Plan(plain.job_graph, "exactly_once")
    assert "    kept: written exactly once" in str(safe).splitlines()
    assert "    shown: written at least once" in str(safe).splitlines()
    assert '["kept<br/>written exactly once"]' in safe.to_mermaid()
    assert "once" not in str(plain)
    said = {o["name"]: o["guarantee"] for o in json.loads(safe.to_json())["operators"]}
    assert said == {"orders": None, "shown": "at least once", "kept": "exactly once"}
    said = {o["name"]: o["guarantee"] for o in json.loads(plain.to_json())["operators"]}
    assert said["kept"] == "at most once (no checkpoints)"


def test_the_metrics_say_it() -> None:
    """For the operator and each subtask, and to Prometheus as a label."""
    env = pipeline()
    metrics = env.execute().metrics
    assert metrics["kept"].guarantee == "at most once (no checkpoints)"
    assert metrics["orders"].guarantee is None
    assert {m.guarantee for m in metrics.subtasks if m.name == "kept"} == {str(AT_MOST)}
    [kept] = [o for o in metrics.to_dict()["operators"] if o["name"] == "kept"]
    assert kept["guarantee"] == "at most once (no checkpoints)"
    exact = [replace(m, guarantee=str(EXACTLY)) for m in metrics.operators if m.name == "kept"]
    text = JobMetrics("shop", "running", 1.0, operators=exact).to_prometheus()
    labels = 'guarantee="exactly once",job="shop",operator="kept"'
    assert f"sage_sink_guarantee_info{{{labels}}} 1.0" in text
