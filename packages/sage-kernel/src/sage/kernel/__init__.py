"""The dataflow engine: declare streams, run them here or on a cluster.

It is not a library of algorithms (``sage.libs``) and knows nothing of documents or models.

Layout, imports falling downwards:
    api         what users write: environments, streams, the job handle
    optimizer   plan → plan, one rule a file
    runtime     runs a plan: chains, channels, tasks; ``runtime.local`` hosts them on threads
    graph       plans as immutable values
    operators   one operator a file: what it means and its line of generated code
    state       keys, key groups, keyed state on the heap and on disk
    time        the clock, watermarks, timers
    metrics     what became of every record
    config, errors
"""

import importlib
from typing import TYPE_CHECKING, Any

from sage.common.core.functions import (
    AggregateFunction,
    AsyncMapFunction,
    BatchFunction,
    CoMapFunction,
    FilterFunction,
    FlatMapFunction,
    JoinFunction,
    KeyByFunction,
    MapFunction,
    ProcessFunction,
    ProcessWindowFunction,
    ReduceFunction,
    SinkFunction,
    SourceFunction,
    StopSignal,
)
from sage.kernel.api.datastream import DataStream
from sage.kernel.api.job import Job, JobResult
from sage.kernel.api.local_environment import LocalEnvironment, LocalStreamEnvironment
from sage.kernel.api.remote_environment import RemoteEnvironment
from sage.kernel.config import RetryPolicy
from sage.kernel.runtime.context import RuntimeContext
from sage.kernel.runtime.dead_letters import DeadLetter

# Imported when first asked for: a pipeline without windows and state starts in half the time.
_HOMES = {
    "sage.common.core.state": (
        *("AggregatingState", "ListState", "MapState", "ReducingState", "StateTtl", "ValueState"),
    ),
    "sage.kernel.api.keyed_stream": ("KeyedStream",),
    "sage.kernel.api.windowed_stream": ("WindowedStream",),
    "sage.kernel.operators.gather": ("Gathered",),
    "sage.kernel.operators.windowing": (
        *("AfterCount", "AfterProcessingTime", "AfterWatermark", "PaneInfo", "Window"),
        *("CountWindow", "GlobalWindow", "SessionWindow", "SlidingWindow", "TumblingWindow"),
    ),
}
if TYPE_CHECKING:
    from sage.common.core.state import (
        AggregatingState,
        ListState,
        MapState,
        ReducingState,
        StateTtl,
        ValueState,
    )
    from sage.kernel.api.keyed_stream import KeyedStream
    from sage.kernel.api.windowed_stream import WindowedStream
    from sage.kernel.operators.gather import Gathered
    from sage.kernel.operators.windowing import (
        AfterCount,
        AfterProcessingTime,
        AfterWatermark,
        CountWindow,
        GlobalWindow,
        PaneInfo,
        SessionWindow,
        SlidingWindow,
        TumblingWindow,
        Window,
    )

__all__ = [
    "AfterCount",
    "AfterProcessingTime",
    "AfterWatermark",
    "AggregateFunction",
    "AggregatingState",
    "AsyncMapFunction",
    "BatchFunction",
    "CoMapFunction",
    "CountWindow",
    "DataStream",
    "DeadLetter",
    "FilterFunction",
    "FlatMapFunction",
    "Gathered",
    "GlobalWindow",
    "Job",
    "JobResult",
    "JoinFunction",
    "KeyByFunction",
    "KeyedStream",
    "ListState",
    "LocalEnvironment",
    "LocalStreamEnvironment",
    "MapFunction",
    "MapState",
    "PaneInfo",
    "ProcessFunction",
    "ProcessWindowFunction",
    "ReduceFunction",
    "ReducingState",
    "RemoteEnvironment",
    "RetryPolicy",
    "RuntimeContext",
    "SessionWindow",
    "SinkFunction",
    "SlidingWindow",
    "SourceFunction",
    "StateTtl",
    "StopSignal",
    "TumblingWindow",
    "ValueState",
    "Window",
    "WindowedStream",
]


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(home), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
