"""What tests of pipelines and of the engine are made of.

It is not imported by the engine. Everything here is driven by conditions, never by time: a test
says "wait until three records have arrived" and "let the source go on now".

Layout:
    gate          a door that a test opens, to hold a function or a source
    sources       a source that follows a script
    sinks         a sink whose records the test can wait for
    clock         a clock that moves when the test says so
    reference     the verbs on plain lists: what a pipeline must give, and the fates of its records
    windows_reference  windows on a plain list, one record at a time
    event_time_reference_joins  joins in event time and deduplication on plain lists
    operator_harness  drives one operator by hand, without a job around it
    recovery      a source, an accident and a sink by which recoveries are tested
    operator_snapshots  the conformance checks of stateful operators: cut, restore, compare
    conservation  checks that the counts of a job add up
    state_backend the conformance suite of state backends, to subclass in a test file
"""

from sage.kernel.testing.clock import ManualClock
from sage.kernel.testing.conservation import check_conservation
from sage.kernel.testing.gate import Gate
from sage.kernel.testing.reference import Expected, Reference, ReferenceStream
from sage.kernel.testing.sinks import CollectingSink
from sage.kernel.testing.sources import ScriptedSource

__all__ = [
    "CollectingSink",
    "Expected",
    "Gate",
    "ManualClock",
    "Reference",
    "ReferenceStream",
    "ScriptedSource",
    "check_conservation",
]
