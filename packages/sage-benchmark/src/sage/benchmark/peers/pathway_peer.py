"""pathway: a Rust engine (differential dataflow) over tables; Python functions by ``apply``.

It requires older versions of common packages than SAGE is tested with, so it usually runs in an
interpreter of its own, see ``sage.benchmark.interpreters``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sage.benchmark.workloads.w1_stateless import STEPS as W1_STEPS
from sage.benchmark.workloads.w2_word_count import word_of
from sage.benchmark.workloads.w5_latency import STEPS as W5_STEPS
from sage.benchmark.workloads.w5_latency import Ticker

__all__ = ["w1", "w2", "w5"]


def _run(pw: Any, table: Any, write: Callable[[dict[str, Any]], None]) -> None:
    def on_change(key: Any, row: dict[str, Any], time: int, is_addition: bool) -> None:
        if is_addition:
            write(row)

    pw.io.subscribe(table, on_change=on_change)
    pw.run(monitoring_level=pw.MonitoringLevel.NONE)
    pw.internals.parse_graph.G.clear()


def _table(pw: Any, name: str, kind: type, records: Sequence[Any]) -> Any:
    schema = pw.schema_from_types(**{name: kind})
    return pw.debug.table_from_rows(schema, [(record,) for record in records])


def w1(records: Sequence[int]) -> list[int]:
    """One select or filter a step."""
    import pathway as pw

    table = _table(pw, "value", int, records)
    for verb, function in W1_STEPS:
        if verb == "map":
            table = table.select(value=pw.apply_with_type(function, int, pw.this.value))
        else:
            table = table.filter(pw.apply_with_type(function, bool, pw.this.value))
    output: list[int] = []
    _run(pw, table, lambda row: output.append(row["value"]))
    return output


def w2(records: Sequence[str]) -> list[tuple[str, int]]:
    """``groupby().reduce(count())``: one final count a word."""
    import pathway as pw

    table = _table(pw, "token", str, records)
    words = table.select(word=pw.apply_with_type(word_of, str, pw.this.token))
    counted = words.groupby(pw.this.word).reduce(pw.this.word, count=pw.reducers.count())
    output: list[tuple[str, int]] = []
    _run(pw, counted, lambda row: output.append((row["word"], row["count"])))
    return output


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
