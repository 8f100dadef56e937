"""The verbs on plain lists: slow, sequential, and obviously right.

A test builds the same pipeline twice, once on an environment and once here, and compares. Every
verb works off its whole input before the next one starts; what it counts is what the engine's
metrics must say at the end of the job.

Example:
    >>> numbers = Reference().stream([1, 2, 3, 4])
    >>> numbers.filter(lambda n: n % 2, name="odd").map(lambda n: n * 10).records
    [10, 30]
    >>> numbers.reference.expected["odd"]
    Expected(received=4, sent=2, no_output=0, filtered=2)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Expected", "Reference", "ReferenceStream"]

Function = Callable[[Any], Any]


@dataclass(frozen=True)
class Expected:
    """What an operator must have counted at the end of a job."""

    received: int
    sent: int
    no_output: int = 0
    filtered: int = 0


class Reference:
    """Stands in for the environment.

    Attributes:
        expected: The counts of every operator that was given a name.
    """

    def __init__(self) -> None:
        self.expected: dict[str, Expected] = {}

    def stream(self, records: Iterable[Any]) -> ReferenceStream:
        """Start with the records of a source."""
        return ReferenceStream(self, list(records))


class ReferenceStream:
    """Records that a stream carries, all of them at once."""

    def __init__(self, reference: Reference, records: list[Any]) -> None:
        self.reference = reference
        self.records = records

    def map(self, function: Function, name: str = "") -> ReferenceStream:
        """One record in, one out, or none for None."""
        given = [function(record) for record in self.records]
        kept = [result for result in given if result is not None]
        return self._gave(name, kept, no_output=len(given) - len(kept))

    def filter(self, function: Function, name: str = "") -> ReferenceStream:
        """Keep a record or not."""
        kept = [record for record in self.records if function(record)]
        return self._gave(name, kept, filtered=len(self.records) - len(kept))

    def flat_map(self, function: Function, name: str = "") -> ReferenceStream:
        """One record in, any number out."""
        given = [list(function(record) or ()) for record in self.records]
        return self._gave(
            name,
            [item for items in given for item in items],
            no_output=sum(not items for items in given),
        )

    def map_batches(self, function: Function, max_size: int, name: str = "") -> ReferenceStream:
        """Lists of at most so many records; which records share a list is not promised."""
        results: list[Any] = []
        for start in range(0, len(self.records), max_size):
            results += function(self.records[start : start + max_size])
        kept = [result for result in results if result is not None]
        return self._gave(name, kept, no_output=len(results) - len(kept))

    def reduce(
        self, function: Callable[[Any, Any], Any], key: Function | None = None, name: str = ""
    ) -> ReferenceStream:
        """The running value of each record's key."""
        values: dict[Any, Any] = {}
        out = []
        for record in self.records:
            k = key(record) if key is not None else 0
            values[k] = function(values[k], record) if k in values else record
            out.append(values[k])
        return self._gave(name, out)

    def count(self, key: Function, name: str = "") -> ReferenceStream:
        """The key and how often it has come."""
        counts: dict[Any, int] = {}
        out = []
        for record in self.records:
            k = key(record)
            counts[k] = counts.get(k, 0) + 1
            out.append((k, counts[k]))
        return self._gave(name, out)

    def aggregate(
        self, function: Any, key: Function | None = None, name: str = ""
    ) -> ReferenceStream:
        """The result of each record's key, none for None."""
        accumulators: dict[Any, Any] = {}
        given = []
        for record in self.records:
            k = key(record) if key is not None else 0
            before = accumulators[k] if k in accumulators else function.create()
            accumulators[k] = function.add(before, record)
            given.append(function.result(accumulators[k]))
        kept = [result for result in given if result is not None]
        return self._gave(name, kept, no_output=len(given) - len(kept))

    def union(self, *others: ReferenceStream, name: str = "") -> ReferenceStream:
        """One stream after the other."""
        records = [r for stream in (self, *others) for r in stream.records]
        return ReferenceStream(self.reference, records)._gave(name, records)

    def comap(
        self, others: list[ReferenceStream], functions: list[Function], name: str = ""
    ) -> ReferenceStream:
        """Each input by its own function."""
        streams = [self, *others]
        everything = [r for stream in streams for r in stream.records]
        given = [f(r) for s, f in zip(streams, functions, strict=True) for r in s.records]
        kept = [result for result in given if result is not None]
        dropped = len(given) - len(kept)
        return ReferenceStream(self.reference, everything)._gave(name, kept, no_output=dropped)

    def join(
        self,
        other: ReferenceStream,
        keys: tuple[Function, Function],
        how: str,
        function: Callable[[Any, Any], Any] | None = None,
        name: str = "",
    ) -> ReferenceStream:
        """Every pair with equal keys, and the rows of the outer sides that have no partner."""
        joined = function or (lambda left, right: (left, right))
        left = [(keys[0](record), record) for record in self.records]
        right = [(keys[1](record), record) for record in other.records]
        rows = [joined(a, b) for k, a in left for m, b in right if k == m]
        if how in ("left", "full"):
            rows += [joined(a, None) for k, a in left if all(k != m for m, _ in right)]
        if how in ("right", "full"):
            rows += [joined(None, b) for m, b in right if all(k != m for k, _ in left)]
        return ReferenceStream(self.reference, [row for row in rows if row is not None])

    def gather(self, by: Function, expected: int) -> ReferenceStream:
        """``(key, results, partial)`` for each group, the incomplete ones at the end."""
        groups: dict[Any, list[Any]] = {}
        out = []
        for record in self.records:
            key = by(record)
            groups.setdefault(key, []).append(record)
            if len(groups[key]) == expected:
                out.append((key, tuple(groups.pop(key)), False))
        out += [(key, tuple(group), True) for key, group in groups.items()]
        return ReferenceStream(self.reference, out)

    def route(self, routes: Mapping[str, Function]) -> dict[str, ReferenceStream]:
        """Each record to the first predicate that accepts it."""
        ways: dict[str, list[Any]] = {tag: [] for tag in routes}
        for record in self.records:
            tag = next((t for t, accepts in routes.items() if accepts(record)), None)
            if tag is not None:
                ways[tag].append(record)
        return {tag: ReferenceStream(self.reference, records) for tag, records in ways.items()}

    def process(
        self, function: Callable[[Any, Callable[[str, Any], None]], Iterable[Any] | None]
    ) -> tuple[ReferenceStream, dict[str, ReferenceStream]]:
        """Return the main output and the side outputs by tag."""
        sides: dict[str, list[Any]] = {}

        def output(tag: str, record: Any) -> None:
            sides.setdefault(tag, []).append(record)

        main = [item for record in self.records for item in function(record, output) or ()]
        streams = {tag: ReferenceStream(self.reference, out) for tag, out in sides.items()}
        return ReferenceStream(self.reference, main), streams

    def repeated(self, times: int) -> ReferenceStream:
        """What a broadcast to so many subtasks carries."""
        return ReferenceStream(self.reference, self.records * times)

    def iterate(
        self,
        body: Callable[[ReferenceStream], ReferenceStream],
        until: Function | None,
        max_iterations: int | None,
    ) -> ReferenceStream:
        """Round by round, until every record is out."""
        out: list[Any] = []
        inside, rounds = self.records, 0
        while inside:
            rounds += 1
            given = body(ReferenceStream(Reference(), inside)).records
            last = max_iterations is not None and rounds >= max_iterations
            leaving = [last or bool(until and until(record)) for record in given]
            out += [r for r, leaves in zip(given, leaving, strict=True) if leaves]
            inside = [r for r, leaves in zip(given, leaving, strict=True) if not leaves]
        return ReferenceStream(self.reference, out)

    def _gave(
        self, name: str, records: list[Any], *, no_output: int = 0, filtered: int = 0
    ) -> ReferenceStream:
        if name:
            counts = Expected(len(self.records), len(records), no_output, filtered)
            self.reference.expected[name] = counts
        return ReferenceStream(self.reference, records)
