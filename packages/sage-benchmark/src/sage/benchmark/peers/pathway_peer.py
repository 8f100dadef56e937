"""pathway: a Rust engine (differential dataflow) over tables; Python functions by ``apply``.

It requires older versions of common packages than SAGE is tested with, so it usually runs in an
interpreter of its own, see ``sage.benchmark.interpreters``.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

from sage.benchmark.workloads.events import BOUND_S, Event, Outcome
from sage.benchmark.workloads.lateness import COMMIT_SIZE
from sage.benchmark.workloads.w1_stateless import STEPS as W1_STEPS
from sage.benchmark.workloads.w3_event_time_sum import SIZE_S
from sage.benchmark.workloads.w5_latency import STEPS as W5_STEPS
from sage.benchmark.workloads.w5_latency import Ticker

__all__ = ["w1", "w2", "w3", "w5"]


def _run(pw: Any, table: Any, write: Callable[[dict[str, Any]], None]) -> None:
    def on_change(key: Any, row: dict[str, Any], time: int, is_addition: bool) -> None:
        if is_addition:
            write(row)

    pw.io.subscribe(table, on_change=on_change)
    pw.run(monitoring_level=pw.MonitoringLevel.NONE)
    pw.internals.parse_graph.G.clear()


def _read(pw: Any, name: str, kind: type, records: Sequence[Any], directory: str) -> Any:
    """Read the records from a file, in Rust: three times as fast as a table built in Python."""
    path = os.path.join(directory, "records.csv")
    with open(path, "w") as file:
        file.write(name + "\n" + "\n".join(map(str, records)) + "\n")
    schema = pw.schema_from_types(**{name: kind})
    return pw.io.csv.read(path, schema=schema, mode="static")


def w1(records: Sequence[int]) -> list[int]:
    """One select or filter a step."""
    import pathway as pw

    output: list[int] = []
    with tempfile.TemporaryDirectory() as directory:
        table = _read(pw, "value", int, records, directory)
        for verb, function in W1_STEPS:
            if verb == "map":
                table = table.select(value=pw.apply_with_type(function, int, pw.this.value))
            else:
                table = table.filter(pw.apply_with_type(function, bool, pw.this.value))
        _run(pw, table, lambda row: output.append(row["value"]))
    return output


def w2(records: Sequence[str]) -> list[tuple[str, int]]:
    """``groupby().reduce(count())``: one final count a word, and no Python function called."""
    import pathway as pw

    output: list[tuple[str, int]] = []
    with tempfile.TemporaryDirectory() as directory:
        table = _read(pw, "word", str, records, directory)
        counted = table.groupby(pw.this.word).reduce(pw.this.word, count=pw.reducers.count())
        _run(pw, counted, lambda row: output.append((row["word"], row["count"])))
    return output


def w3(records: Sequence[Event]) -> Outcome:
    """``windowby`` with tumbling windows that are given once, and no Python function called.

    Read from a file, all events would come at one point in time and none be late; so a connector
    commits them little by little, which takes no longer.
    """
    import pathway as pw

    class Arriving(pw.io.python.ConnectorSubject):  # type: ignore[misc]
        def run(self) -> None:
            for start in range(0, len(records), COMMIT_SIZE):
                for time, key, amount in records[start : start + COMMIT_SIZE]:
                    self.next(time=time, key=key, amount=amount)
                self.commit()

    schema = pw.schema_from_types(time=float, key=int, amount=int)
    table = pw.io.python.read(Arriving(), schema=schema, autocommit_duration_ms=None)
    totals = table.windowby(
        table.time,
        window=pw.temporal.tumbling(duration=SIZE_S),
        behavior=pw.temporal.exactly_once_behavior(shift=BOUND_S),
        instance=table.key,
    ).reduce(
        key=pw.this._pw_instance,
        start=pw.this._pw_window_start,
        total=pw.reducers.sum(pw.this.amount),
    )
    output: list[Any] = []
    _run(pw, totals, lambda row: output.append((row["key"], row["start"], row["total"])))
    return Outcome(output, None, "commit")


def w5(ticker: Ticker, sink: Callable[[int], None]) -> None:
    """A Python connector that commits each record."""
    import pathway as pw

    class Ticking(pw.io.python.ConnectorSubject):  # type: ignore[misc]
        def run(self) -> None:
            for stamp in ticker.each():
                self.next(value=stamp)
                self.commit()

    schema = pw.schema_from_types(value=int)
    table = pw.io.python.read(Ticking(), schema=schema, autocommit_duration_ms=1)
    for function in W5_STEPS:
        table = table.select(value=pw.apply_with_type(function, int, pw.this.value))
    _run(pw, table, lambda row: sink(row["value"]))
