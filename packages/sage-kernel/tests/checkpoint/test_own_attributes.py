"""State that a function hides from checkpoints is named, and what is none is left alone."""

from __future__ import annotations

import functools
import itertools
import logging
import threading
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from sage.common.core.functions import MapFunction, SinkFunction, SourceFunction
from sage.kernel.checkpoint.own_attributes import OwnAttributes


@dataclass
class Totals:
    seen: int = 0
    by_name: dict[str, int] = field(default_factory=dict)


class Everything(MapFunction[Any, Any]):
    """A function with any attributes; its records are what is done to them."""

    default = 0
    listed: list[int] = []  # noqa: RUF012 the mistake of a beginner

    def __init__(self) -> None:
        self.count = 0
        self.mean = 0.0
        self.last: str | None = None
        self.found: int | None = None
        self.buffer: list[Any] = []
        self.recent: deque[int] = deque([1, 2], maxlen=2)
        self.counts: Counter[str] = Counter(a=1)
        self.groups: defaultdict[str, list[int]] = defaultdict(list, {"a": [1]})
        self.totals = Totals()
        self.sums = bytearray(8)
        self.client: Any = None
        self.connection: Any = object()
        self.lock = threading.Lock()
        self.log = logging.getLogger("test")
        self.rng = itertools.count()
        self.options = {"top_k": 5, "names": ("a", "b")}
        self.answer_cache: dict[str, str] = {}

    @functools.cached_property
    def table(self) -> dict[int, int]:
        return {1: 1}

    def map(self, record: Callable[[Any], object]) -> None:
        record(self)


def changed_by(*changes: Callable[[Any], object]) -> list[str]:
    """Return what is named at the checkpoint behind the last of some records."""
    function = Everything()
    attributes = OwnAttributes(function)
    assert attributes.changed() == []
    names: list[str] = []
    for change in changes:
        function.map(change)
        names = attributes.changed()
    return names


def setting(name: str, value: Any) -> Callable[[Any], object]:
    return lambda function: setattr(function, name, value)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("count", setting("count", 1)),
        ("mean", setting("mean", 0.5)),
        ("default", setting("default", 1)),
        ("buffer", lambda f: f.buffer.append(object())),
        ("recent", lambda f: f.recent.append(3)),
        ("counts", lambda f: f.counts.update(a=1)),
        ("groups", lambda f: f.groups["a"].append(2)),
        ("groups", lambda f: f.groups["b"].append(2)),
        ("totals", lambda f: setattr(f.totals, "seen", 1)),
        ("totals", lambda f: f.totals.by_name.update(a=1)),
        ("sums", lambda f: f.sums.__setitem__(3, 1)),
    ],
)
def test_what_changes_is_named(name: str, change: Callable[[Any], object]) -> None:
    """Numbers, containers, what is in them, and own data objects."""
    assert changed_by(change) == [name]


def test_a_list_of_the_class_is_seen_too() -> None:
    """Where all instances share one, it is state all the same."""
    try:
        assert changed_by(lambda f: f.listed.append(1)) == ["listed"]
    finally:
        Everything.listed.clear()


@pytest.mark.parametrize(
    "change",
    [
        setting("client", object()),
        setting("connection", object()),
        setting("connection", None),
        lambda f: f.lock.acquire(),
        lambda f: next(f.rng),
        lambda f: f.log.debug("x"),
        lambda f: f.answer_cache.update(a="b"),
        lambda f: f.table,
        setting("buffer", []),
        setting("options", {"top_k": 5, "names": ("a", "b")}),
        setting("context", object()),
        setting("logger", logging.getLogger("other")),
        lambda f: None,
    ],
)
def test_resources_and_caches_are_no_state(change: Callable[[Any], object]) -> None:
    """Clients that come late, locks, loggers, caches, and containers that were emptied again."""
    assert changed_by(change) == []


def test_what_is_found_out_once_is_no_state() -> None:
    """A value that was None or missing is named when it changes a second time."""
    assert changed_by(setting("found", 384)) == []
    assert changed_by(setting("found", 384), setting("found", 384)) == []
    assert changed_by(setting("last", "a"), setting("last", "b")) == ["last"]
    assert changed_by(setting("new", 1), setting("new", 2)) == ["new"]


def test_several_are_named_in_order() -> None:
    """One look finds all of them."""
    both = [lambda f: (setattr(f, "mean", 1.0), setattr(f, "count", 1))]
    assert changed_by(*both) == ["count", "mean"]


class Remembering(Everything):
    def snapshot_state(self) -> object:
        return self.count


class Replayable(SourceFunction[int]):
    at = 0

    def read(self, max_records: int) -> list[int]:
        self.at += 1
        return [self.at]

    def snapshot_position(self) -> int:
        return self.at

    def seek(self, position: int) -> None:
        self.at = position


class Committing(SinkFunction[Any]):
    def __init__(self) -> None:
        self.rows: list[Any] = []

    def write(self, record: Any) -> None:
        self.rows.append(record)

    def begin(self, epoch: int) -> None: ...
    def prepare(self, epoch: int) -> None: ...
    def commit(self, epoch: int) -> None: ...
    def abort(self, epoch: int) -> None: ...


def test_those_who_say_what_they_remember_are_left_alone() -> None:
    """``snapshot_state``, a position and two phases are what the warning asks for."""
    remembering, source, sink = Remembering(), Replayable(), Committing()
    attributes = [OwnAttributes(function) for function in (remembering, source, sink)]
    remembering.count = 7
    source.read(1)
    sink.write(1)
    assert [a.changed() for a in attributes] == [[], [], []]


def test_a_look_is_small_however_large_the_function_is() -> None:
    """It sees the size and the beginning of something large, and keeps none of it alive."""
    function = Everything()
    function.buffer = [[[0] * 100] * 100] * 10_000
    function.sums = bytearray(1 << 20)
    attributes = OwnAttributes(function)
    seen = attributes._before["buffer"]
    assert str(seen).count("int") < 1000
    function.sums[9] = 1
    assert attributes.changed() == []
    function.buffer.append(1)
    assert attributes.changed() == ["buffer"]
