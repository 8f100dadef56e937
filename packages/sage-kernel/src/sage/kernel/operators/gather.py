"""``gather``: collects what several branches made of one record.

A record that went to three retrievers comes back as three results. ``gather`` waits until all that
are expected for a key have come and emits them together; at a timeout it emits what there is,
marked partial, and at the end of the input whatever is left.

A snapshot has the keyed ``groups``, in the order in which they began: when, the riders of the last
result, or None, and the results.

Example:
    >>> from sage.kernel import LocalEnvironment
    >>> numbers = LocalEnvironment().from_collection([1, 2])
    >>> tenfold = numbers.map(lambda n: (n, n * 10))
    >>> squares = numbers.map(lambda n: (n, n * n))
    >>> gathered = tenfold.union(squares).gather(by=lambda pair: pair[0], expected=2)
    >>> sorted((g.key, sorted(g.results), g.partial) for g in gathered.collect())
    [(1, [(1, 1), (1, 10)], False), (2, [(2, 4), (2, 20)], False)]
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from sage.kernel.errors import GraphError
from sage.kernel.operators.operator import LiveOperator, Operator, Row
from sage.kernel.state.key_group import check_key

if TYPE_CHECKING:
    from sage.kernel.checkpoint.operator_state import OperatorState, RestoredState
    from sage.kernel.operators.loop import Loop

__all__ = ["GatherOperator", "Gathered"]


@dataclass(frozen=True)
class Gathered:
    """What came for one key.

    Attributes:
        key: The key.
        results: In the order of their arrival.
        partial: Whether fewer came than were expected.
    """

    key: Any
    results: tuple[Any, ...]
    partial: bool = False


class LiveGather(LiveOperator):
    """The incomplete groups of one subtask."""

    def __init__(self, operator: GatherOperator) -> None:
        super().__init__(operator, [])
        self._expected = operator.expected
        self._timeout_s = operator.timeout_s
        self._groups: dict[Any, list[Any]] = {}
        self._began: dict[Any, float] = {}
        self._riders: dict[Any, tuple[Any, ...]] = {}

    @property
    def held(self) -> int:
        """How many results wait for the rest of their group."""
        return sum(len(group) for group in list(self._groups.values()))

    def snapshot(self, state: OperatorState, *, full: bool = True) -> None:
        """Put in the groups that are not complete."""
        super().snapshot(state, full=full)
        values: list[Any] = []
        held: list[Any] = []
        for key, group in self._groups.items():
            riders = self._riders.get(key)
            values.append((self._began.get(key), riders, tuple(group)))
            held += (*group, *(riders or ()))
        state.put_records("groups", list(self._groups), values, held)

    def restore(self, state: RestoredState) -> None:
        """Take the groups back; those that began first are the first whose time is over."""
        super().restore(state)
        began = []
        for key, (began_s, riders, group) in state.keyed("groups"):
            self._groups[key] = list(group)
            if riders is not None:
                self._riders[key] = riders
            if began_s is not None and self._timeout_s is not None:
                began.append((key, began_s))
        self._began.update(sorted(began, key=itemgetter(1)))

    def add(self, key: Any, record: Any) -> Iterable[Any]:
        """Take a result; return its group if that is complete."""
        group = self._groups.get(key)
        if group is None:
            check_key(key)
            group = self._groups[key] = []
            if self._timeout_s is not None:
                self._began[key] = self.clock()
        group.append(record)
        if len(group) < self._expected:
            return ()
        return (self._emit(key, partial=False),)

    def add_row(self, key: Any, record: Any, *riders: Any) -> Iterable[Any]:
        """The same for a record with riders; a group has those of its last record."""
        self._riders[key] = riders
        return self.add(key, record)

    @property
    def due_s(self) -> float | None:
        """When the oldest group has waited long enough."""
        if self._timeout_s is None or not self._began:
            return None
        return next(iter(self._began.values())) + self._timeout_s

    def on_due(self) -> Iterable[Any]:
        """Yield the groups that have waited long enough."""
        assert self._timeout_s is not None
        now = self.clock()
        late = [key for key, began in self._began.items() if began + self._timeout_s <= now]
        for key in late:
            yield self._emit(key, partial=True)

    def finish(self) -> Iterable[Any]:
        """Yield the groups that will never be complete."""
        for key in list(self._groups):
            yield self._emit(key, partial=True)

    def _emit(self, key: Any, *, partial: bool) -> Any:
        self._began.pop(key, None)
        group = Gathered(key, tuple(self._groups.pop(key)), partial)
        riders = self._riders.pop(key, None)
        return group if riders is None else Row((group, *riders))


@dataclass(frozen=True)
class GatherOperator(Operator):
    """Collects the records of a key until so many have come.

    Args:
        expected: How many make a group complete.
        timeout_s: Longest wait for the rest of a group, in seconds; None waits for ever.
    """

    kind = "gather"
    one_to_one = False
    expected: int
    timeout_s: float | None = None

    def __post_init__(self) -> None:
        if self.expected < 1:
            raise GraphError(f"expected must be at least 1, got {self.expected}")
        if self.timeout_s is not None and self.timeout_s <= 0:
            raise GraphError(f"timeout_s must be above 0, got {self.timeout_s}")

    def live(self, *, may_share: bool = True) -> LiveGather:
        """Make the operator of one subtask, with no groups."""
        return LiveGather(self)

    def write(self, loop: Loop, live: LiveOperator) -> None:
        """An inner loop over the group that the record completes."""
        assert isinstance(live, LiveGather)
        iterator, produced = loop.fresh("i"), loop.count("produced")
        rows = len(loop.riders) > 1  # there is more than the key, and it is to come out again
        add = loop.bind(live.add_row if rows else live.add)
        row = ", ".join([loop.key, loop.value, *(loop.riders.values() if rows else ())])
        loop.line(f"{iterator} = iter({add}({row}))")
        loop.each(iterator, rows=rows)
        loop.line(f"{produced} += 1")
