"""The loop that operators write themselves into: one function body for a whole chain.

For ``map → filter → sink`` it becomes, in effect::

    def run(batch, f_0=..., f_1=..., f_2=..., stats0=..., stats1=...):
        n0_no_output = n1_filtered = 0
        try:
            for v in batch:
                v1 = f_0(v)
                if v1 is None:
                    n0_no_output += 1
                    continue
                if not f_1(v1):
                    n1_filtered += 1
                    continue
                f_2(v1)
        finally:
            stats0.no_output += n0_no_output
            stats1.filtered += n1_filtered

Nothing is paid per record but the user's calls, the tests for None, and a count for a record that
goes no further. A failure needs no ``try`` per record either: the line that raised tells the
operator, and the frame's locals tell the record (``failure`` below, and ``chain_compiler``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sage.kernel.operators.operator import SideOutput

__all__ = ["Loop", "Nesting", "Source"]


@dataclass(frozen=True)
class Nesting:
    """An inner loop of the generated code.

    Attributes:
        index: The operator that iterates.
        iterator: The variable that holds the iterator.
        riders: Variables of what rides beside each item.
    """

    index: int
    iterator: str
    riders: tuple[str, ...] = ()


@dataclass
class Source:
    """The finished text and what is needed to run it and to explain its failures.

    Attributes:
        text: Source of a factory ``make(<names>)`` that returns ``run``.
        bound: Values for the factory's parameters, by name.
        operator_of_line: Index of the operator that each line belongs to.
        riders_of: Variables of the riders at each operator, by rider.
        nesting_of: Inner loops around each operator, outermost first.
        context_of: Variable whose ``silent`` says that an operator gave no side output yet.
    """

    text: str
    bound: dict[str, Any]
    operator_of_line: dict[int, int]
    input_of: dict[int, str]
    riders_of: dict[int, dict[str, str]]
    nesting_of: dict[int, tuple[Nesting, ...]]
    context_of: dict[int, str]


@dataclass
class Loop:
    """Collects the lines of a chain; an operator asks it for names, calls and drops.

    Attributes:
        layout: The riders that come in beside each value, such as its key.
        input_index: Which of several inputs of the first operator this loop works off.
        value: Variable that holds the current value.
        riders: Variables that hold what rides beside it, by name.
    """

    layout: tuple[str, ...] = ()
    input_index: int = 0
    value: str = "v"
    riders: dict[str, str] = field(default_factory=dict)
    index: int = -1
    _lines: list[tuple[int, str, int]] = field(default_factory=list)
    _depth: int = 0
    _bound: dict[str, Any] = field(default_factory=dict)
    _counters: dict[str, tuple[str, str]] = field(default_factory=dict)
    _input_of: dict[int, str] = field(default_factory=dict)
    _riders_of: dict[int, dict[str, str]] = field(default_factory=dict)
    _nesting: tuple[Nesting, ...] = ()
    _nesting_of: dict[int, tuple[Nesting, ...]] = field(default_factory=dict)
    _context_of: dict[int, str] = field(default_factory=dict)
    _at_start: list[str] = field(default_factory=list)
    _at_end: list[str] = field(default_factory=list)
    _serial: int = 0

    def __post_init__(self) -> None:
        self.riders = {name: f"r_{name}" for name in self.layout}

    @property
    def key(self) -> str:
        """Variable that holds the current key.

        Raises:
            KeyError: if the stream has none.
        """
        return self.riders["key"]

    @property
    def has_inner_loops(self) -> bool:
        """Whether one record may become many."""
        return bool(self._nesting)

    def enter(self, index: int) -> None:
        """Start the lines of operator ``index``; its input is the current value."""
        self.index = index
        self._input_of[index] = self.value
        self._riders_of[index] = dict(self.riders)
        self._nesting_of[index] = self._nesting

    def line(self, text: str) -> None:
        """Add a line at the current depth."""
        self._lines.append((self._depth, text, self.index))

    def lines(self, texts: Iterable[str]) -> None:
        """Add lines at the current depth."""
        for text in texts:
            self.line(text)

    def block(self, text: str, body: list[str]) -> None:
        """Add a line that ends in a colon, and lines one level below it."""
        self.line(text)
        self._depth += 1
        self.lines(body)
        self._depth -= 1

    def bind(self, value: Any, hint: str = "f") -> str:
        """Make ``value`` available to the generated code and return its name."""
        name = f"{hint}_{len(self._bound)}"  # no name that `fresh` gives
        self._bound[name] = value
        return name

    def fresh(self, hint: str = "v") -> str:
        """Return a variable name that nothing else uses."""
        self._serial += 1
        return f"{hint}{self._serial}"

    def assign(self, expression: str) -> str:
        """Assign an expression to a fresh variable, which becomes the current value."""
        self.value = self.fresh()
        self.line(f"{self.value} = {expression}")
        return self.value

    def collecting(self, columns: SideOutput, **riders: str) -> list[str]:
        """Return the lines that add the current value to columns, with what rides beside it.

        Args:
            columns: Where it is collected; what it does not know of rides no further.
            riders: Riders that are to be other than they are now.
        """
        beside = {**self.riders, **riders}
        lines = [f"{self.bind(columns.values.append, 'out')}({self.value})"]
        for name, column in zip(columns.layout, columns.riders, strict=True):
            lines.append(f"{self.bind(column.append, 'out')}({beside.get(name)})")
        return lines

    def at_start(self, line: str) -> None:
        """Add a line that runs once before the first record."""
        self._at_start.append(line)

    def at_end(self, line: str) -> None:
        """Add a line that runs once when the loop is left, also by an exception."""
        self._at_end.append(line)

    def count(self, attribute: str) -> str:
        """Return a local counter that is added to ``attribute`` of the operator's statistics."""
        name = f"n{self.index}_{attribute}"
        self._counters[name] = (f"stats{self.index}", attribute)
        return name

    def drop_if(self, condition: str, fate: str) -> None:
        """Count the fate of the current record and go to the next one if ``condition`` holds."""
        self.block(f"if {condition}:", [f"{self.count(fate)} += 1", "continue"])

    def each(self, iterator: str, *, rows: bool = False) -> None:
        """Loop over an iterator (a name that was assigned); what follows is inside the loop.

        Args:
            iterator: Its name.
            rows: Whether it gives rows, with riders of their own, instead of values.
        """
        if rows:
            self._nesting = (*self._nesting, Nesting(self.index, iterator))
            self.value = self.fresh()
            self.riders = {name: self.fresh("r") for name in self.riders}
            self.line(f"for {', '.join([self.value, *self.riders.values()])} in {iterator}:")
            self._depth += 1
            return
        nesting = Nesting(self.index, iterator, tuple(self.riders.values()))
        self._nesting = (*self._nesting, nesting)
        self.value = self.fresh()
        self.line(f"for {self.value} in {iterator}:")
        self._depth += 1

    def each_of(
        self, expression: str, context: str = "", *, items: str = "", rows: bool = False
    ) -> None:
        """Loop over the items of an expression, counting them and the records that give none.

        Args:
            expression: What is iterated.
            context: A variable whose ``silent`` is true until the record has given a side output.
            items: What makes an iterator of the expression, unless that is a list.
            rows: Whether the items are rows, with riders of their own.
        """
        iterator, before = self.fresh("i"), f"before{self.index}"
        produced, empty = self.count("produced"), self.count("empty")
        self.line(f"{before} = {produced}")
        self.line(f"{empty} += 1")
        if items:
            result = self.fresh("y")
            self.line(f"{result} = {expression}")
            expression = f"iter({result}) if type({result}) is list else {items}({result})"
        self.line(f"{iterator} = {expression}")
        self.each(iterator, rows=rows)
        # A record counts as empty until its first item; later ones compare two unequal ints.
        first = f"{before} == {produced}"
        if context:
            self._context_of[self.index] = context
            first += f" and {context}.silent"
        self.block(f"if {first}:", [f"{empty} -= 1"])
        self.line(f"{produced} += 1")

    def finished(self, statistics: Callable[[int], Any]) -> Source:
        """Return the whole source, counters bound to the operators' statistics."""
        for index in {int(target[5:]) for target, _ in self._counters.values()}:
            self._bound[f"stats{index}"] = statistics(index)
        names = list(self._bound)
        head = f"for {', '.join(['v', *(f'r_{name}' for name in self.layout)])} in batch:"
        lines = [f"def make({', '.join(names)}):"]
        parameters = ", ".join(["batch", *(f"{n}={n}" for n in names)])
        lines.append(f"    def run({parameters}):")
        if self._counters:
            lines.append(f"        {' = '.join(self._counters)} = 0")
        lines += [f"        {line}" for line in self._at_start]
        lines += ["        try:", f"            {head}"]
        operator_of_line: dict[int, int] = {}
        for depth, text, index in self._lines or [(0, "pass", -1)]:
            lines.append(" " * (16 + 4 * depth) + text)
            operator_of_line[len(lines)] = index
        lines.append("        finally:")
        ending = [f"{t}.{a} += {n}" for n, (t, a) in self._counters.items()] + self._at_end
        lines += [f"            {line}" for line in ending or ["pass"]]
        lines.append("    return run")
        return Source(
            "\n".join(lines) + "\n",
            self._bound,
            operator_of_line,
            self._input_of,
            self._riders_of,
            self._nesting_of,
            self._context_of,
        )
