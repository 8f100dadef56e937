"""Function classes work without an engine, and without ``super().__init__()``."""

from __future__ import annotations

import copy
import logging
import pickle
from typing import Any

import pytest

from sage.common.core import functions as fn
from sage.common.core.context import FunctionContext
from sage.common.errors import ServiceError


class Doubled(fn.MapFunction[int, int]):
    def __init__(self, by: int) -> None:
        self.by = by

    def map(self, record: int) -> int:
        return record * self.by


class Context:
    """A context as a runtime would give it."""

    name, uid, parallel_index, parallelism, attempt = "f", "0-f", 0, 1, 0
    logger = logging.getLogger("test")
    metrics: Any = None
    current_key: Any = None

    def state(self, descriptor: Any) -> Any:
        raise NotImplementedError

    def get_logger(self) -> logging.Logger:
        return self.logger

    def call_service(
        self, name: str, *args: Any, method: str = "process", timeout_s: float | None = None
    ) -> Any:
        return (name, args, method, timeout_s)


def test_a_function_needs_no_base_constructor() -> None:
    """Life-cycle methods exist and do nothing, whatever ``__init__`` did."""
    function = Doubled(2)
    function.open(None)
    assert function.map(4) == 8
    assert function.finish() is None
    assert function.snapshot_state() is None
    function.restore_state(None)
    function.close()
    assert copy.deepcopy(function).map(4) == pickle.loads(pickle.dumps(function)).map(4) == 8


def test_attach_gives_context_and_logger() -> None:
    """After ``attach`` a function has its context, its logger and the job's services."""
    function, context = Doubled(2), Context()
    assert isinstance(context, FunctionContext)
    function.attach(context)
    assert function.context is context
    assert function.logger is context.logger
    called = function.call_service("shop", 1, 2, method="buy", timeout_s=3.0)
    assert called == ("shop", (1, 2), "buy", 3.0)


def test_a_service_outside_of_a_job_is_an_error() -> None:
    """Without a context a call says when services are there."""
    with pytest.raises(ServiceError, match="outside a running job"):
        Doubled(2).call_service("shop")


@pytest.mark.parametrize(
    "cls",
    [
        fn.MapFunction, fn.FilterFunction, fn.FlatMapFunction, fn.KeyByFunction, fn.ReduceFunction,
        fn.AggregateFunction, fn.ProcessFunction, fn.JoinFunction, fn.AsyncMapFunction,
        fn.SinkFunction, fn.SourceFunction, fn.BatchFunction,
    ],
)  # fmt: skip
def test_what_must_be_defined_cannot_be_forgotten(cls: Any) -> None:
    """A class without its method cannot be made."""
    with pytest.raises(TypeError, match="abstract"):
        type("Empty", (cls,), {})()


def test_optional_contracts_are_recognised() -> None:
    """Replayable sources and transactional sinks are told by what they can do."""

    class Replayable(fn.SourceFunction[int]):
        def read(self, max_records: int) -> None:
            return None

        def snapshot_position(self) -> int:
            return 0

        def seek(self, position: Any) -> None:
            return None

    class Plain(fn.SourceFunction[int]):
        def read(self, max_records: int) -> None:
            return None

    assert isinstance(Replayable(), fn.ReplayableSource)
    assert not isinstance(Plain(), fn.ReplayableSource)
    assert Plain().splits() is None
    assert repr(fn.StopSignal("end")) == "StopSignal('end')"
