"""Descriptors: frozen, checked where they are written, comparable."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from sage.common.core.functions import AggregateFunction
from sage.common.core.state import (
    AggregatingState,
    ListState,
    MapState,
    ReducingState,
    StateTtl,
    ValueState,
)
from sage.common.errors import StateError


class Total(AggregateFunction[int, int, int]):
    """The sum."""

    def create(self) -> int:
        return 0

    def add(self, acc: int, record: int) -> int:
        return acc + record

    def result(self, acc: int) -> int:
        return acc

    def merge(self, a: int, b: int) -> int:
        return a + b


MAKERS: list[Callable[[Any], Any]] = [
    ValueState,
    ListState,
    MapState,
    lambda name: ReducingState(name, max),
    lambda name: AggregatingState(name, Total()),
]


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("name", ["", None, 7, b"x"])
def test_a_name_is_a_non_empty_str(make: Callable[[Any], Any], name: Any) -> None:
    """A descriptor without a proper name is refused where it is written."""
    with pytest.raises(StateError, match="must be a non-empty str"):
        make(name)


@pytest.mark.parametrize("ttl_s", [0, -1.0, float("inf"), float("nan"), True, "60", None])
def test_a_ttl_is_a_positive_number_of_seconds(ttl_s: Any) -> None:
    """A time to live that is not a positive finite number is refused."""
    with pytest.raises(StateError, match="ttl_s must be a positive"):
        StateTtl(ttl_s)


def test_an_unknown_option_of_a_ttl_is_refused_with_the_known_ones() -> None:
    """Time and refresh take two words each."""
    with pytest.raises(StateError, match="'event' or 'processing', got 'wall'"):
        StateTtl(1.0, time="wall")  # type: ignore[arg-type]
    with pytest.raises(StateError, match="'on_write' or 'on_read_and_write', got 'never'"):
        StateTtl(1.0, refresh="never")  # type: ignore[arg-type]


def test_a_bare_number_is_no_ttl() -> None:
    """A ttl that is not a StateTtl is refused with the way to write it."""
    with pytest.raises(StateError, match=r"write StateTtl\(3600"):
        ValueState("x", ttl=60)  # type: ignore[arg-type]


@pytest.mark.parametrize("default", [[], {}, set(), bytearray()])
def test_a_default_that_keys_would_share_is_refused(default: Any) -> None:
    """A default that can be changed in place would leak from key to key."""
    with pytest.raises(StateError, match="shared between keys"):
        ValueState("x", default=default)


def test_what_is_no_function_cannot_reduce_or_aggregate() -> None:
    """The function of a reducing or aggregating state is checked by type."""
    with pytest.raises(StateError, match="must be a callable or a ReduceFunction"):
        ReducingState("x", reduce=3)  # type: ignore[arg-type]
    with pytest.raises(StateError, match="must be an AggregateFunction instance"):
        AggregatingState("x", aggregate=Total)  # type: ignore[arg-type]


@pytest.mark.parametrize("make", MAKERS)
def test_descriptors_are_frozen_values(make: Callable[[Any], Any]) -> None:
    """A descriptor hashes, equals its copy, and cannot be changed."""
    descriptor = make("x")
    assert descriptor == copy.copy(descriptor)
    assert hash(descriptor) == hash(copy.copy(descriptor))
    with pytest.raises(AttributeError):
        descriptor.name = "y"


def test_descriptors_travel() -> None:
    """A descriptor survives pickling, as functions do on their way to workers."""
    descriptor = ValueState("x", default=0, ttl=StateTtl(60.0, time="processing"))
    assert pickle.loads(pickle.dumps(descriptor)) == descriptor
