"""The codec: what goes in comes out with its type, what cannot be stored is refused by name."""

from __future__ import annotations

import contextlib
import enum
import subprocess
import sys
import types
from collections import Counter, OrderedDict, deque
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any, ClassVar, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sage.kernel.errors import StateCodecError
from sage.kernel.state.codec import StateCodec
from sage.kernel.state.own_classes import OwnClasses


class Colour(enum.Enum):
    RED = 1
    CRIMSON = 1  # noqa: PIE796 (an alias)
    BLUE = "b"


class Level(enum.IntEnum):
    LOW = 1


class Right(enum.Flag):
    READ = 1
    WRITE = 2


class Pair(NamedTuple):
    a: Any
    b: Any = 0


@dataclass
class Loose:
    made: ClassVar[int] = 0
    x: Any
    y: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        Loose.made += 1


@dataclass(frozen=True, slots=True)
class Place:
    x: Any
    label: str = "here"


class Point(msgspec.Struct, frozen=True):
    x: int
    y: tuple[int, ...] = ()


class Outer:
    @dataclass(frozen=True)
    class Inner:
        x: int


def same(a: Any, b: Any) -> bool:
    """Equal, of the same types all the way down, and NaN like NaN."""
    if type(a) is not type(b):
        return False
    if isinstance(a, (float, complex, Decimal, datetime)):
        return repr(a) == repr(b)
    if isinstance(a, Place):
        return same([a.x, a.label], [b.x, b.label])
    if isinstance(a, dict):
        return len(a) == len(b) and all(
            same(x, y) for x, y in zip(a.items(), b.items(), strict=True)
        )
    if isinstance(a, (list, tuple, deque)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, (set, frozenset)):
        return sorted(map(repr, a)) == sorted(map(repr, b))
    if isinstance(a, np.ndarray):
        return bool(a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes())
    if isinstance(a, np.generic):
        return bool(a.dtype == b.dtype and a.tobytes() == b.tobytes())
    return bool(a == b)


VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 2**63 - 1, -(2**63), 2**64 - 1, 2**64, -(2**63) - 1, 10**40,
    -(10**40), 0.0, -0.0, 1.0, float("nan"), float("inf"), "", "ключ", "\ud800", b"", b"\x00\xff",
    bytearray(b"x"), [], (), {}, set(), frozenset(), [1, True, 1.0, None], (1, (2, [3, (4,)])),
    {1: "a", "1": "b", b"1": "c", None: 0, 2.5: 1}, {True: 1}, {(1, 2): {"x": (3,)}},
    {frozenset({1}): {1, 2}}, [2**70, "\ud800", 1], {"k": 2**70, 2**71: (2**72, "x")},
    {1, "a", (2, 3)}, frozenset({b"x", None}), date(2024, 2, 29), date.min, datetime.max,
    datetime(2024, 2, 29, 1, 2, 3, 4), datetime(2024, 1, 1, tzinfo=UTC),
    datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=-3, minutes=-30))),
    datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin")),
    time(1, 2, 3, 4), time(1, tzinfo=UTC, fold=1), timedelta(days=-1, microseconds=5),
    timedelta.max, UUID(int=7), Decimal("1.50"), Decimal("NaN"), Decimal("-0"), 1 + 2j,
    complex(-0.0, float("nan")), deque([1, (2,)], maxlen=3), deque(), Counter("abca"),
    OrderedDict([("b", 1), ("a", (2,))]), Colour.RED, Colour.CRIMSON, Colour.BLUE, Level.LOW,
    Right.READ, Right.READ | Right.WRITE, Right(0), Pair(1, (2,)), Pair(Pair(1)), Place((1,)),
    Place(Place(2**70), "\ud800"), Point(1, (2, 3)), Outer.Inner(1), [Place(1)] * 2,
    np.float64(1.5), np.int8(-3), np.bool_(True), np.str_("ab"), np.str_(""), np.bytes_(b"x"),
    np.datetime64("2024-01-01"), np.timedelta64(5, "s"), np.arange(6).reshape(2, 3),
    np.array([], dtype="float32"), np.array(3.0), np.asfortranarray(np.ones((2, 3), dtype=">i2")),
    np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]), np.zeros((0, 3)), np.array(["a", "bc"]),
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=lambda v: repr(v)[:40])
def test_a_value_comes_back_with_its_type(value: Any) -> None:
    """Each storable type survives storing, alone and inside containers."""
    codec = StateCodec()
    assert same(codec.decode(codec.encode(value)), value)
    wrapped = [(value,), {"k": [value]}, Pair(value, deque([value]))]
    assert same(codec.decode(codec.encode(wrapped)), wrapped)


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(st.characters()), st.binary(),
    st.dates(), st.datetimes(timezones=st.none() | st.just(UTC)), st.times(), st.timedeltas(),
    st.uuids(), st.decimals(), st.complex_numbers(), st.sampled_from([*Colour, *Level, *Right]),
)  # fmt: skip
KEYS = SCALARS.filter(lambda v: not isinstance(v, (float, complex, Decimal))) | st.tuples(
    st.integers(), st.text()
)


def containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(KEYS, inner, max_size=4),
        st.builds(Pair, inner, inner),
        st.builds(Place, inner),
        st.frozensets(KEYS, max_size=4),
        st.sets(KEYS, max_size=4),
    )


@settings(max_examples=200, deadline=None)
@given(st.recursive(SCALARS, containers, max_leaves=12))
def test_any_nesting_comes_back_with_its_types(value: Any) -> None:
    """Whatever is made of storable values is storable, exactly."""
    codec = StateCodec()
    assert same(codec.decode(codec.encode(value)), value)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 59), st.integers(0, 255))
def test_damaged_bytes_are_an_error_of_ours(data: bytes, at: int, byte: int) -> None:
    """Bytes that are no value, or were changed, decode to something or raise a StateCodecError."""
    codec = StateCodec("op", "s")
    good = bytearray(codec.encode([Place((1,)), Pair(2**70), {(1,): date(2024, 1, 1)}, "\ud800"]))
    good[at % len(good)] = byte
    for bad in (data, bytes(good), bytes(good[: at + 1])):
        with contextlib.suppress(StateCodecError):
            codec.decode(bad)


class TextKind(str):
    """A str with more to it."""


def cyclic() -> list[Any]:
    loop: list[Any] = []
    loop.append(loop)
    return loop


@pytest.mark.parametrize(
    ("value", "type_name"),
    [
        (object(), "object"),
        (TextKind("x"), "TextKind"),
        (lambda: 1, "function"),
        (int, "type"),
        (range(3), "range"),
        (memoryview(b"x"), "memoryview"),
        (ValueError("x"), "ValueError"),
        (np.array([object()]), "ndarray"),
        (np.ma.masked_array([1]), "MaskedArray"),
        (cyclic(), "list"),
        (sys, "module"),
    ],
    ids=lambda v: type(v).__name__,
)
def test_what_cannot_be_stored_is_refused_by_name(value: Any, type_name: str) -> None:
    """The error names operator, state and type, also when the value is deep inside another."""
    codec = StateCodec("join", "left")
    for nested in (value, {"rows": [(value,)]}):
        with pytest.raises(StateCodecError) as caught:
            codec.encode(nested)
        assert "state 'left' of operator 'join'" in str(caught.value)
        assert caught.value.type_name in (type_name, "dict")
        if caught.value.type_name == type_name:
            assert type_name in str(caught.value)


def test_a_constructor_is_not_called_when_loading() -> None:
    """A dataclass gets its fields and other attributes without its own code being run."""
    codec = StateCodec()
    loose = Loose(1, [2])
    vars(loose)["extra"] = (3,)
    data, made = codec.encode(loose), Loose.made
    again = codec.decode(data)
    assert again == loose
    assert again.extra == (3,)
    assert Loose.made == made


def test_loading_imports_nothing() -> None:
    """A class of a module that is not imported is refused, and its module stays unimported."""
    code = (
        "from sage.kernel.state.codec import StateCodec\n"
        "from sage.kernel.errors import StateCodecError\n"
        "import sys\n"
        f"data = bytes.fromhex('{_naming('this', 'Zen').hex()}')\n"
        "try:\n"
        "    StateCodec().decode(data)\n"
        "except StateCodecError as error:\n"
        "    print('this' in sys.modules, error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "the class this.Zen is not among those" in done.stdout
    assert done.stdout.startswith("False")


def _naming(module: str, qualname: str) -> bytes:
    data = StateCodec().encode(Place(1))
    old = StateCodec()
    fake = type(qualname, (), {"__annotations__": {"x": int}, "__module__": module})
    classes = OwnClasses([dataclass(fake)])
    fake.__qualname__ = qualname
    assert old.decode(data) == Place(1)
    return StateCodec(classes=classes).encode(fake(1))


@pytest.mark.parametrize(
    "name", [("os", "system"), ("subprocess", "Popen"), ("builtins", "eval"), ("os", "path.join")]
)
def test_bytes_cannot_name_something_dangerous(name: tuple[str, str]) -> None:
    """A stored name that leads to a function or an ordinary class is refused."""
    import subprocess as _imported_now

    assert _imported_now
    with pytest.raises(StateCodecError):
        StateCodec().decode(_naming(*name))


def test_a_module_is_not_asked_for_a_name_it_makes_up() -> None:
    """A module's own ``__getattr__`` is not run by loading."""
    module = types.ModuleType("makes_up")
    vars(module)["__getattr__"] = lambda name: pytest.fail(f"was asked for {name}")
    sys.modules["makes_up"] = module
    try:
        with pytest.raises(StateCodecError, match=r"makes_up\.Anything"):
            StateCodec().decode(_naming("makes_up", "Anything"))
    finally:
        del sys.modules["makes_up"]


def test_a_class_inside_a_function_must_be_declared() -> None:
    """A local class is refused with the way out, and stored once it is declared."""

    @dataclass
    class Local:
        x: int

    with pytest.raises(StateCodecError, match="defined inside a function"):
        StateCodec().encode(Local(1))
    codec = StateCodec(classes=OwnClasses([Local]))
    assert codec.decode(codec.encode(Local(1))) == Local(1)


def test_new_fields_take_their_default_and_lost_ones_are_named() -> None:
    """A class may gain fields with a default; losing one is an error that names it."""

    def version(**fields: Any) -> Any:
        made = type("Versioned", (), {"__annotations__": dict.fromkeys(fields, int), **fields})
        made.__qualname__ = "Versioned"
        return dataclass(slots=True)(made)

    one, two = version(a=1), version(a=1, b=2)
    data = StateCodec(classes=OwnClasses([one])).encode(one(5))
    again = StateCodec(classes=OwnClasses([two])).decode(data)
    assert (again.a, again.b) == (5, 2)
    back = StateCodec(classes=OwnClasses([two])).encode(two(5, 6))
    with pytest.raises(StateCodecError, match=r"fields of Versioned have changed .* \('b'\)"):
        StateCodec(classes=OwnClasses([one])).decode(back)


def test_an_array_that_comes_back_can_be_written_to() -> None:
    """A restored array owns its memory."""
    codec = StateCodec()
    again = codec.decode(codec.encode(np.arange(3)))
    again += 1
    assert again.tolist() == [1, 2, 3]
