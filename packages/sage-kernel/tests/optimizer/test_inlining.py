"""Inlining changes no result, no error and no count, and happens only where it is proved."""

from __future__ import annotations

import functools
import itertools
import linecache
import math
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any, cast

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from sage.kernel import AggregateFunction, LocalEnvironment
from sage.kernel.api.lifetime import forget_job
from sage.kernel.errors import JobFailedError
from sage.kernel.operators.map import MapOperator
from sage.kernel.optimizer.inlining import inline_expressions, inlined
from sage.kernel.optimizer.ruleset import optimize

THRESHOLD = 3


@pytest.fixture(autouse=True)
def _unwatched() -> None:
    if sys.gettrace() or sys.getprofile():
        pytest.skip("under a tracer nothing is inlined")


class Called:
    """A function behind an object, which is never inlined."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function

    def __call__(self, record: Any) -> Any:
        return self.function(record)


_cells = itertools.count()


def written(source: str, name: str = "") -> Any:
    """Return the function that a notebook cell makes: its source is in ``linecache``."""
    file = f"<cell {next(_cells)}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    if not name:
        return eval(compile(source, file, "eval"))
    namespace: dict[str, Any] = {}
    exec(compile(source, file, "exec"), namespace)
    return namespace[name]


# --- what is inlined --------------------------------------------------------------------------


def documented(x: Any) -> Any:
    """A docstring is among the constants."""
    return x * 3 + 1


def returns_text(x: Any) -> Any:
    return "text"


def annotated(x: int, /) -> int:
    # A comment before it.
    return (
        x  # and one inside
        + 1
    )


first, second = lambda x: x + 1, lambda x: x + 2
over_lines = (
    lambda x: (
        {
            "lower": x.lower(),  # a comment
            "length": x.count("") - 1,
        }
        if x
        else None
    ),
)[0]


@pytest.mark.parametrize(
    ("function", "expression"),
    [
        (lambda x: x, "x"),
        (lambda x: x * 3 + 1, "x * 3 + 1"),
        (lambda x: (x - 1) * -2, "(x - 1) * -2"),
        (lambda x: 2 * 3 * x, "2 * 3 * x"),
        (lambda x: 1 < x <= 3 or not x, "1 < x <= 3 or not x"),
        (lambda x: x is None, "x is None"),
        (lambda x: x in {"a", "b"}, "x in {'a', 'b'}"),
        (lambda record: record["text"].strip().lower(), "record['text'].strip().lower()"),
        (lambda line: line.split("\t", maxsplit=1)[0], "line.split('\\t', maxsplit=1)[0]"),
        (lambda word: (word, 1), "(word, 1)"),
        (lambda x: {"é": x[1:-1], "n": [x]}, "{'é': x[1:-1], 'n': [x]}"),
        (written("lambda x: f'''{x}\n'''"), r"f'{x}\n'"),
        (lambda x: f"{x!r:>5}|{x.real}", "f'{x!r:>5}|{x.real}'"),
        (first, "x + 1"),
        (second, "x + 2"),
        (over_lines, "{'lower': x.lower(), 'length': x.count('') - 1} if x else None"),
        (documented, "x * 3 + 1"),
        (returns_text, "'text'"),
        (annotated, "x + 1"),
    ],
)
def test_simple_functions_are_inlined(function: Any, expression: str) -> None:
    """A function of one parameter that returns an expression of it becomes that expression."""
    inline = inlined(function)
    assert inline is not None
    assert inline.expression == expression
    code = function.__code__
    assert inline.origin == f"{code.co_filename}:{code.co_firstlineno}"


def test_a_function_that_has_run_hot_is_inlined() -> None:
    """What the interpreter specialised in the byte code does not hide the function."""
    function = written("lambda x: x['k'] * 3 + 1")
    for _ in range(1000):
        function({"k": 1})
    assert inlined(function) is not None


def test_only_the_parameter_is_renamed() -> None:
    """Attributes, keywords and strings with the parameter's name stay as they are."""
    inline = inlined(written("lambda x: x.x.format('x', x=x)"))
    assert inline is not None
    assert inline.on("v1") == "v1.x.format('x', x=v1)"


# --- what is refused --------------------------------------------------------------------------


def _closure() -> Callable[[Any], Any]:
    bound = 3
    return lambda x: x + bound


def decorated(function: Any) -> Any:
    @functools.wraps(function)
    def around(x: Any) -> Any:
        return x

    return around


def two_statements(x: Any) -> Any:
    x = x + 1
    return x  # noqa: RET504


def yields(x: Any) -> Any:
    return (yield x)


async def waits(x: Any) -> Any:
    return x + 1


def returns_nothing(x: Any) -> None:
    x + 1


class Mangled:
    function = lambda x: x.__secret  # noqa: E731


no_source: dict[str, Any] = {}
exec("def function(x): return x + 1", no_source)


def other_name(x: Any) -> Any:
    return x + 1


other_code = FunctionType(returns_text.__code__.replace(co_firstlineno=1), globals())
other_code.__code__ = other_code.__code__.replace(
    co_consts=tuple("other" if c == "text" else c for c in returns_text.__code__.co_consts)
)

REFUSED = {
    "builtin": abs,
    "method": "abc".count,
    "class": int,
    "object": Called(lambda x: x),
    "partial": functools.partial(lambda x: x),
    "no parameter": lambda: 1,
    "two parameters": lambda x, y: x,
    "default": lambda x=1: x,
    "default as a constant": lambda x, n=2: x * n,
    "keyword only": lambda *, x: x,
    "keyword only besides": lambda x, *, n=2: x,
    "varargs": lambda *x: x,
    "var keywords": lambda x, **y: x,
    "closure": _closure(),
    "global": lambda x: x > THRESHOLD,
    "builtin called": lambda x: len(x),
    "frame": lambda x: sys._getframe(),
    "locals": lambda x: locals(),
    "call of the parameter": lambda x: x(),
    "call of an item": lambda x: x[0](),
    "method that reads its caller": lambda x: x.query("a > @x"),
    "walrus": lambda x: (y := x) + y,
    "walrus on the parameter": lambda x: (x := x + 1) + x,
    "lambda": lambda x: lambda: x,
    "lambda of its own": lambda x: lambda y: y,
    "comprehension": lambda x: [y for y in x],  # noqa: C416
    "generator": lambda x: (y for y in x),
    "starred": lambda x: (*x, 1),
    "yield": lambda x: (yield x),
    "generator function": yields,
    "coroutine": waits,
    "two statements": two_statements,
    "no return": returns_nothing,
    "wrapped": decorated(other_name),
    "mangled name": Mangled.function,
    "no source": no_source["function"],
    "changed constants": other_code,
    "doubtful escape": written(r"lambda x: x.split(r'\d')"),
    "identity of a display": written("lambda x: x is [x]"),
    "long": written(f"lambda x: {' + '.join(['x'] * 200)}"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_proved_stays_a_call(name: str) -> None:
    """Names that can be rebound, scopes, frames and unknown code are left alone."""
    assert inlined(REFUSED[name]) is None


def test_stale_source_is_refused(tmp_path: Path) -> None:
    """A file that was edited after its import proposes what the function is not."""
    path = tmp_path / "pipeline.py"

    def edited(before: str, after: str) -> object:
        path.write_text(before)
        namespace: dict[str, Any] = {}
        exec(compile(before, str(path), "exec"), namespace)
        linecache.checkcache(str(path))
        assert inlined(namespace["f"]) is not None
        path.write_text(after)
        return inlined(namespace["f"])

    assert edited("f = lambda x: x * 3\n", "f = lambda x: x * 4  #\n") is None
    assert edited("f = lambda x: x * 3\n", "\n# moved\nf = lambda x: x * 3\n") is None
    assert edited("f = lambda x: x * 1\n", "f = lambda x: x * True\n") is None
    assert edited("f = lambda x: x * 1.0\n", "f = lambda x: x * 1  # edited\n") is None
    assert edited("f = lambda x: x.a\n", "f = lambda x: x.b # edited\n") is None
    assert edited("def f(x):\n    return x + 1\n", "def f(x):\n") is None
    assert edited("f = lambda x: x * 3\n", "f = lambda x: x * 3  # the same\n") is not None


def test_equal_zeros_are_told_apart() -> None:
    """0.0 and -0.0, 1 and True are equal but no same constants."""
    function = written("lambda x: x or 0.0")

    def with_constants(code: CodeType, new: Any) -> FunctionType:
        constants = tuple(new if c == 0.0 and c is not None else c for c in code.co_consts)
        return FunctionType(code.replace(co_consts=constants), globals())

    assert inlined(with_constants(function.__code__, 0.0)) is not None
    for new in (-0.0, 0, False):
        assert inlined(with_constants(function.__code__, new)) is None


def _set_profile() -> None:
    sys.setprofile(lambda *_: None)


def _set_thread_profile() -> None:
    threading.setprofile(lambda *_: None)


def _set_thread_trace() -> None:
    threading.settrace(lambda *_: None)  # type: ignore[arg-type]


@pytest.fixture
def _watching_nothing() -> Iterator[None]:
    yield
    sys.setprofile(None)
    threading.setprofile(None)  # type: ignore[arg-type]
    threading.settrace(None)  # type: ignore[arg-type]


@pytest.mark.usefixtures("_watching_nothing")
@pytest.mark.parametrize("watch", [_set_profile, _set_thread_profile, _set_thread_trace])
def test_nothing_is_inlined_under_a_profiler(watch: Callable[[], None]) -> None:
    """A profiler or debugger sees the user's functions."""
    env = LocalEnvironment()
    env.from_collection([1]).map(lambda x: x + 1)
    assert inline_expressions(env.graph()) != env.graph()
    watch()
    assert inline_expressions(env.graph()) == env.graph()


def test_the_rule_can_be_left_out() -> None:
    """``optimize(graph, inline=False)`` leaves every call; other executors keep theirs anyway."""
    env = LocalEnvironment()
    env.from_collection([1]).map(lambda x: x + 1)
    graph = env.graph()

    def inline_of(inline: bool) -> object:
        operator = optimize(graph, inline=inline).stream_graph.transformations[-1].operator
        assert isinstance(operator, MapOperator)
        return operator.inline

    assert inline_of(True) is not None
    assert inline_of(False) is None
    elsewhere = graph.replaced(tuple(replace(t, executor="process") for t in graph))
    assert inline_expressions(elsewhere) == elsewhere


# --- that it changes nothing ------------------------------------------------------------------


def outcome(records: list[Any], functions: list[Any], on_error: str) -> tuple[Any, ...]:
    """Run ``map → filter → map → key_by → count`` and return all that a user can see of it."""
    kept: list[Any] = []
    env = LocalEnvironment()
    first, keep, second, key = functions
    (
        env.from_collection(records)
        .map(first, name="first", on_error=on_error)
        .filter(keep, name="keep", on_error=on_error)
        .map(second, name="second", on_error=on_error)
        .key_by(key, name="key", on_error=on_error)
        .count(name="count")
        .sink(kept.append)
    )
    job = env.submit()
    forget_job(job)  # its end is seen below
    try:
        job.wait()
        failure: tuple[Any, ...] = ()
    except JobFailedError as error:
        cause = error.__cause__
        failure = (error.operator, repr(error.record), type(cause), str(cause), str(error))
    letters = [(d.operator, repr(d.record), d.error) for d in job.dead_letters()]
    fates = [
        (m.name, m.received, m.sent, m.filtered, m.no_output, m.dead_lettered)
        for m in job.metrics().operators
    ]
    return repr(kept), failure, letters, fates


ATOMS = st.sampled_from(
    ["x", "x", "x", "x", "0", "1", "-1", "2.5", "'a'", "''", "None", "True", "()", "[1]", "1e999"]
)


def _larger(parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    def filled(template: str) -> st.SearchStrategy[str]:
        return st.tuples(parts, parts, parts).map(lambda p: template.format(*p))

    return st.sampled_from(
        [
            *(f"({{}} {op} {{}})" for op in ("+", "-", "*", "/", "//", "%", "&", "|", "^")),
            *(f"({{}} {op} {{}})" for op in ("<", "==", "!=", ">=", "in", "not in", "and", "or")),
            *("({} < {} <= {})", "({} if {} else {})", "({} and {} or {})", "(not {})", "(-{})"),
            *("({}, {})", "[{}]", "{{'k': {}}}", "x[{}]", "x[{}:{}]", "x.real", "x.missing"),
            *("x.lower()", "x.split({})", "x.get({}, {})", "x.count({})", "(x is None)"),
            *("f'{{x}}-{{x!r:>4}}'", "f'{{x:{}}}'", "({}).__class__.__name__"),
        ]
    ).flatmap(filled)


EXPRESSIONS = st.recursive(ATOMS, _larger, max_leaves=6)
VALUES = st.one_of(
    st.integers(-3, 3),
    st.sampled_from([None, "", "a", "a b", True, False, math.nan, -0.0, 2.5, (), (1, "a")]),
    st.lists(st.integers(-1, 1), max_size=2),
    st.dictionaries(st.sampled_from(["k", 1]), st.integers(0, 1), max_size=2),
)


def compiled(expression: str, as_def: bool) -> Any:
    """Return a function of the expression, if the compiler has no warning about it."""
    try:
        if as_def:
            return written(f"def f(x):\n    return {expression}\n", "f")
        return written(f"lambda x: {expression}")
    except (SyntaxError, SyntaxWarning):
        assume(False)


@settings(max_examples=200, deadline=None)
@given(
    expressions=st.lists(EXPRESSIONS, min_size=4, max_size=4),
    records=st.lists(VALUES, max_size=5),
    on_error=st.sampled_from(["fail", "skip", "dead_letter"]),
    as_def=st.booleans(),
)
@example(["x", "x and 0", "x", "x"], [[], 1, math.nan], "fail", False)
@example(["x.lower()", "x", "x", "x"], ["A", None], "fail", False)
def test_a_pipeline_cannot_tell(
    expressions: list[str], records: list[Any], on_error: str, as_def: bool
) -> None:
    """Outputs, errors, failing operator and record, dead letters and counts are the same."""
    functions = [compiled(e, as_def) for e in expressions]
    calls = [Called(f) for f in functions]
    assert outcome(records, functions, on_error) == outcome(records, calls, on_error)


@settings(max_examples=300, deadline=None)
@given(expression=EXPRESSIONS, value=VALUES, as_def=st.booleans())
def test_an_expression_means_what_the_function_means(
    expression: str, value: Any, as_def: bool
) -> None:
    """The text, evaluated under another name, gives what the call gives, or raises the same."""
    function = compiled(expression, as_def)
    inline = inlined(function)
    assume(inline is not None)
    assert inline is not None

    def result(call: Callable[[], Any]) -> tuple[Any, ...]:
        try:
            got = call()
        except Exception as error:
            return type(error), str(error)
        return type(got), repr(got)

    text = compile(inline.on("v1"), "<inlined>", "eval")
    assert result(lambda: eval(text, {}, {"v1": value})) == result(lambda: function(value))


@pytest.mark.parametrize(
    ("source", "never"),
    [
        ("lambda x: (x, 1)", True),
        ("lambda x: {'x': x}", True),
        ("lambda x: f'{x}'", True),
        ("lambda x: 0", True),
        ("lambda x: x in (1, None)", True),
        ("lambda x: not x", True),
        ("lambda x: [x] if x else ()", True),
        ("lambda x: None", False),
        ("lambda x: x", False),
        ("lambda x: x + 1", False),
        ("lambda x: x == 1", False),
        ("lambda x: 0 in x in x", False),
        ("lambda x: x or 1", False),
        ("lambda x: [x] if x else None", False),
    ],
)
def test_only_what_is_never_none_goes_untested(source: str, never: bool) -> None:
    """The test for None is left out for displays and the like, not where operators decide."""
    inline = inlined(written(source))
    assert inline is not None
    assert inline.is_never_none is never


class Evasive:
    """Its operators and comparisons answer None."""

    def __add__(self, other: object) -> None:
        return None

    __mul__ = __lt__ = __gt__ = __add__

    def __eq__(self, other: object) -> None:  # type: ignore[override]
        return None

    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize("text", ["x + 1", "x * 2", "x == x", "0 < x", "0 < x in [x]", "x and x"])
def test_operators_that_answer_none_give_no_output(text: str) -> None:
    """A record's own operators may return None, which means no output as in a call."""
    function = written(f"lambda x: {text}")
    assert inlined(function) is not None
    record = Evasive()
    results = [
        LocalEnvironment().from_collection([record]).map(f).collect()
        for f in (function, Called(function))
    ]
    assert results[0] == results[1]


class Undecided:
    """Answers for its truth: true, false, true, false..."""

    def __init__(self) -> None:
        self.asked = 0

    def __bool__(self) -> bool:
        self.asked += 1
        return self.asked % 2 == 1


@pytest.mark.parametrize(
    "source",
    [
        "lambda x: x",
        "lambda x: not x",
        "lambda x: x and 1",
        "lambda x: x or 0",
        "lambda x: x or x",
        "lambda x: x and x",
        "lambda x: x if x else 0",
        "lambda x: (x or 0) if x else x",
        "lambda x: 1 < 2 == x",
        "lambda x: not (x and x)",
        "lambda x: [x and 1]",
    ],
)
def test_a_filter_asks_for_truth_as_often_as_a_call(source: str) -> None:
    """A record that answers differently each time is kept or dropped as by the call."""
    function = written(source)
    assert inlined(function) is not None
    seen = []
    for predicate in (function, Called(function)):
        record = Undecided()
        kept = LocalEnvironment().from_collection([record]).filter(predicate).collect()
        seen.append((bool(kept), record.asked))
    assert seen[0] == seen[1]


def test_a_traceback_names_the_users_line() -> None:
    """Where an inlined expression raises, the traceback says where the user wrote it."""
    for stream in (
        LocalEnvironment().from_collection([1]).map(lambda x: x / 0),
        LocalEnvironment().from_collection([1]).filter(lambda x: x / 0),
        LocalEnvironment().from_collection([1]).key_by(lambda x: x / 0).count(),
    ):
        with pytest.raises(JobFailedError) as caught:
            stream.collect()
        text = "".join(traceback.format_exception(caught.value))
        assert "/ 0" in text
        assert f"# {__file__}:" in text


class Weighted(AggregateFunction[int, int, int]):
    """Sums multiples of the records."""

    def __init__(self, factor: int = 1) -> None:
        self.factor = factor

    def create(self) -> int:
        return 0

    def add(self, acc: int, record: int) -> int:
        return acc + self.factor * record

    def result(self, acc: int) -> int:
        return acc

    def merge(self, a: int, b: int) -> int:
        return a + b


def loops() -> str:
    """Return the source of every loop that was compiled."""
    return "".join(
        line
        for name, entry in linecache.cache.items()
        if name.startswith("<sage chain")
        for line in cast("list[str]", entry[2])
    )


def test_a_reduction_is_written_into_the_loop() -> None:
    """A lambda of two parameters becomes an expression of the value so far and the record."""
    numbers = LocalEnvironment().from_collection([1, 2, 3]).key_by(lambda n: 0)
    assert numbers.reduce(lambda total, n: total * 31 + n).collect() == [1, 33, 1026]
    assert "* 31 + v" in loops()


def test_the_add_of_an_aggregate_is_written_into_the_loop() -> None:
    """A method becomes an expression of its object, the accumulator and the record."""
    numbers = LocalEnvironment().from_collection([1, 2, 3]).key_by(lambda n: 0)
    assert numbers.aggregate(Weighted, 10).collect() == [10, 30, 60]
    assert ".factor * v" in loops()


def test_a_method_that_an_object_has_replaced_is_called() -> None:
    """What stands in the object goes before what its class says."""

    class Replaced(Weighted):
        def __init__(self) -> None:
            super().__init__(1)
            self.add = lambda acc, record: acc - record  # type: ignore[method-assign]

    numbers = LocalEnvironment().from_collection([1, 2, 3]).key_by(lambda n: 0)
    assert numbers.aggregate(Replaced()).collect() == [-1, -3, -6]


def test_a_method_with_a_variable_of_its_own_stays_a_call() -> None:
    """Only an expression of the parameters is written into the loop."""

    class Careful(Weighted):
        def add(self, acc: int, record: int) -> int:
            doubled = record * 2
            return acc + doubled

    assert inlined(Careful.add, 3) is None
    numbers = LocalEnvironment().from_collection([1, 2]).key_by(lambda n: 0)
    assert numbers.aggregate(Careful).collect() == [2, 6]
