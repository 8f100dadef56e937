"""The dataflow engine: declare streams, run them here or on a cluster.

It is not a library of algorithms (``sage.libs``) and knows nothing of documents or models.

Layout, imports falling downwards:
    api         what users write: environments, streams, the job handle
    optimizer   plan → plan, one rule a file
    runtime     runs a plan: chains, channels, tasks; ``runtime.local`` hosts them on threads
    graph       plans as immutable values
    operators   one operator a file: what it means and its line of generated code
    state       keys and key groups
    metrics     what became of every record
    config, errors
"""

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
    ReduceFunction,
    SinkFunction,
    SourceFunction,
    StopSignal,
)
from sage.kernel.api.datastream import DataStream
from sage.kernel.api.job import Job, JobResult
from sage.kernel.api.keyed_stream import KeyedStream
from sage.kernel.api.local_environment import LocalEnvironment, LocalStreamEnvironment
from sage.kernel.api.remote_environment import RemoteEnvironment
from sage.kernel.config import RetryPolicy
from sage.kernel.operators.gather import Gathered
from sage.kernel.runtime.context import RuntimeContext
from sage.kernel.runtime.dead_letters import DeadLetter

__all__ = [
    "AggregateFunction",
    "AsyncMapFunction",
    "BatchFunction",
    "CoMapFunction",
    "DataStream",
    "DeadLetter",
    "FilterFunction",
    "FlatMapFunction",
    "Gathered",
    "Job",
    "JobResult",
    "JoinFunction",
    "KeyByFunction",
    "KeyedStream",
    "LocalEnvironment",
    "LocalStreamEnvironment",
    "MapFunction",
    "ProcessFunction",
    "ReduceFunction",
    "RemoteEnvironment",
    "RetryPolicy",
    "RuntimeContext",
    "SinkFunction",
    "SourceFunction",
    "StopSignal",
]
