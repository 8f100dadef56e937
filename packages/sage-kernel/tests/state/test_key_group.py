"""Keys: equal keys meet, wherever and whenever; what cannot be a key is refused by type."""

from __future__ import annotations

import enum
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage.kernel import LocalEnvironment
from sage.kernel.errors import JobFailedError, KeyRefusedError
from sage.kernel.state.key_group import KEY_GROUPS, KeyRouter, key_group, subtask_of_group


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Level(enum.IntEnum):
    LOW = 1


class Name(str, enum.Enum):  # noqa: UP042
    A = "a"


@dataclass(frozen=True)
class Place:
    x: int
    y: int


@dataclass
class Loose:
    x: int


class Pair(NamedTuple):
    a: Any
    b: Any


ALLOWED: list[Any] = [
    "", "word", "ключ", "\ud800", b"", b"\x00", 0, 1, -1, 10**30, True, False, 0.0, 1.5, -0.0,
    float("inf"), date(2024, 2, 29), datetime(2024, 2, 29, 1), datetime(2024, 2, 29, tzinfo=UTC),
    UUID(int=7), Colour.RED, Level.LOW, Name.A, (), (1, "a", (b"b", 0.5)), Place(1, 2), Pair(1, 2),
]  # fmt: skip
REFUSED: list[Any] = [
    None, float("nan"), [], {}, set(), object(), Decimal(3), 1j, frozenset([1]), Loose(1),
    (1, None), (1, [2]), (float("nan"),), Ellipsis, int, timedelta(1), Place(None, 1),  # type: ignore[arg-type]
]  # fmt: skip


@pytest.mark.parametrize("key", ALLOWED, ids=repr)
@pytest.mark.parametrize("parallelism", [1, 3])
def test_allowed_keys(key: Any, parallelism: int) -> None:
    """Every key of the table counts its records, at any parallelism."""
    env = LocalEnvironment()
    stream = env.from_collection([1, 2]).key_by(lambda n: key)
    assert stream.count(parallelism=parallelism).collect() == [(key, 1), (key, 2)]


@pytest.mark.parametrize("key", REFUSED, ids=repr)
@pytest.mark.parametrize("parallelism", [1, 3])
@pytest.mark.parametrize("verb", ["count", "reduce", "aggregate", "join", "gather"])
def test_refused_keys(key: Any, parallelism: int, verb: str) -> None:
    """A key that has no stable hash is an error that says so, also where nothing is exchanged."""
    from sage.kernel import AggregateFunction

    class Sum(AggregateFunction[int, int, int]):
        def create(self) -> int:
            return 0

        def add(self, acc: int, record: int) -> int:
            return acc + record

        def result(self, acc: int) -> int:
            return acc

        def merge(self, a: int, b: int) -> int:
            return a + b

    numbers = LocalEnvironment().from_collection([1])
    keyed = numbers.key_by(lambda n: key)
    stream = {
        "count": lambda: keyed.count(parallelism=parallelism),
        "reduce": lambda: keyed.reduce(lambda a, b: a + b, parallelism=parallelism),
        "aggregate": lambda: keyed.aggregate(Sum, parallelism=parallelism),
        "join": lambda: keyed.join(numbers.key_by(lambda n: n), parallelism=parallelism),
        "gather": lambda: numbers.gather(lambda n: key, 1, parallelism=parallelism),
    }[verb]()
    with pytest.raises(JobFailedError, match="cannot be a key") as caught:
        stream.collect()
    assert isinstance(caught.value.__cause__, KeyRefusedError)


def test_key_groups_are_the_same_in_every_version() -> None:
    """State is found by these numbers: a change here loses the state of every checkpoint."""
    expected = {
        0: 122, 1: 46, "": 102, "word": 70, b"word": 31, 1.5: 68, (1, "a"): 86,
        date(2024, 2, 29): 111, UUID(int=7): 99,
    }  # fmt: skip
    assert {key: key_group(key) for key in expected} == expected


def test_key_groups_are_the_same_in_every_process() -> None:
    """Python's own hash differs between processes; the key group does not."""
    code = (
        "from sage.kernel.state.key_group import key_group; from datetime import *;"
        "print([key_group(k) for k in ('a', 'word', (1, 'a'), b'x', datetime(2024, 1, 1))])"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**__import__("os").environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    here = [key_group(k) for k in ("a", "word", (1, "a"), b"x", datetime(2024, 1, 1))]
    assert outputs == {f"{here}\n"}


@pytest.mark.parametrize(
    "equal",
    [
        (0, 0.0, False, -0.0),
        (1, 1.0, True, Level.LOW),
        ("a", Name.A),
        ((0,), (0.0,), (False,)),
        ((1, 2), Pair(1, 2), Pair(True, 2.0)),
        (2**70, float(2**70)),
        (Place(0, 1), Place(False, 1.0)),  # type: ignore[arg-type]
        (
            datetime(2024, 1, 1, 12, tzinfo=UTC),
            datetime(2024, 1, 1, 14, tzinfo=timezone(timedelta(hours=2))),
        ),
    ],
)
def test_equal_keys_have_one_group(equal: tuple[Any, ...]) -> None:
    """What is equal in Python is one key, whatever its type."""
    assert len({*equal}) == 1
    assert len({key_group(key) for key in equal}) == 1


scalars = st.one_of(
    st.text(), st.binary(), st.integers(), st.booleans(), st.floats(allow_nan=False), st.dates(),
    st.uuids(),
)  # fmt: skip
keys = st.one_of(scalars, st.lists(scalars, max_size=3).map(tuple))


@given(keys, keys)
def test_equality_decides(a: Any, b: Any) -> None:
    """Equal keys have equal groups, and every group is in range."""
    assert 0 <= key_group(a) < KEY_GROUPS
    if a == b:
        assert key_group(a) == key_group(b)


@given(st.lists(keys, min_size=1, max_size=20), st.integers(1, 7))
def test_a_router_agrees_with_the_groups(many: list[Any], parallelism: int) -> None:
    """What a router remembers, also after it forgot, is what the group says."""
    router = KeyRouter(parallelism, max_entries=3)
    for key in many * 2:
        assert router[key] == subtask_of_group(key_group(key), parallelism)
    assert len(router) <= 3


@pytest.mark.parametrize("parallelism", [1, 2, 3, 7, 64, 128])
def test_every_subtask_owns_a_range_of_groups(parallelism: int) -> None:
    """Groups are dealt out in contiguous ranges whose sizes differ by one at most."""
    owners = [subtask_of_group(group, parallelism) for group in range(KEY_GROUPS)]
    assert owners == sorted(owners)
    sizes = [owners.count(subtask) for subtask in range(parallelism)]
    assert max(sizes) - min(sizes) <= 1


def test_zero_and_the_empty_string_are_one_key_each() -> None:
    """Falsy keys are keys: each goes to one subtask, whatever type it has."""
    env = LocalEnvironment()
    records = [0, 0.0, False, "", b"", ()] * 20
    counted = env.from_collection(records).key_by(lambda r: r).count(parallelism=4).collect()
    assert sorted(n for key, n in counted if key == 0) == list(range(1, 61))
    assert [n for key, n in counted if key == ""] == list(range(1, 21))


def test_a_million_keys() -> None:
    """A million keys are counted, each once."""
    env = LocalEnvironment()
    counted = env.from_collection(range(1_000_000)).key_by(lambda n: n).count()
    total = 0

    def add(pair: tuple[int, int]) -> None:
        nonlocal total
        total += pair[1]

    counted.sink(add)
    metrics = env.execute().metrics
    assert total == 1_000_000
    assert metrics["count"].sent == 1_000_000


def test_a_selector_that_raises_names_the_record() -> None:
    """An error in a key selector is one of ``key_by``."""
    stream = LocalEnvironment().from_collection([{}]).key_by(lambda r: r["id"], name="by_id")
    with pytest.raises(JobFailedError, match=r"'by_id' failed at record \{\}: KeyError"):
        stream.count(parallelism=2).collect()


@pytest.mark.parametrize("parallelism", [1, 3])
def test_the_order_of_a_key_is_kept(parallelism: int) -> None:
    """Behind one sender the records of each key are folded in their order."""
    env = LocalEnvironment(config={"batch_size": 3})
    keyed = env.from_collection(range(300)).key_by(lambda n: n % 7)
    out = keyed.reduce(lambda a, b: (a, b) and b, parallelism=parallelism).collect()
    for key in range(7):
        assert [n for n in out if n % 7 == key] == list(range(key, 300, 7))
