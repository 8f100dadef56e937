"""Typed configuration: every problem at once, each with its path, values or a suggestion."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import pytest

from sage.common.config import (
    Annotated,
    Meta,
    check_config,
    config_schema,
    configurable,
    load_config,
)
from sage.common.errors import ConfigError, DataError


@configurable
class Retriever:
    """Finds passages.

    Args:
        top_k: How many passages to return,
            best first.
        fusion: How to join.
        weights: By leg.
        rank: A function of yours.
    """

    def __init__(
        self,
        *,
        top_k: Annotated[int, Meta(ge=1)] = 5,
        fusion: Literal["weighted", "rrf"] | None = None,
        weights: Mapping[str, float] | None = None,
        rank: Callable[[str], float] | None = None,
    ) -> None:
        self.top_k, self.fusion, self.weights, self.rank = top_k, fusion, weights, rank


def test_every_problem_is_told_at_once_with_its_path() -> None:
    """A user mends a config in one go."""
    with pytest.raises(ConfigError) as caught:
        Retriever(topk=3, top_k=0, fusion="best", weights={"dense": "much"}, rank=7)  # type: ignore[call-arg,arg-type]
    told = {problem.path: problem.message for problem in caught.value.problems}
    assert told == {
        "$.topk": "unknown key 'topk'; did you mean 'top_k'?",
        "$.top_k": "Expected `int` >= 1, got 0",
        "$.fusion": "expected 'rrf' or 'weighted', got 'best'",
        "$.weights[...]": "Expected `float`, got `str`, got {'dense': 'much'}",
        "$.rank": told["$.rank"],
    }
    assert "got int: 7" in told["$.rank"]


def test_what_fits_is_taken_as_declared() -> None:
    """Positional and keyword arguments mean the same; callables pass as they are."""
    assert Retriever(fusion="rrf", rank=len).rank is len
    assert Retriever().top_k == 5
    with pytest.raises(ConfigError, match="takes at most 4 arguments"):
        Retriever(1, 2, 3, 4, 5)  # type: ignore[call-arg,misc]


def test_the_schema_holds_what_json_can_hold() -> None:
    """Forms and listings are made of it: types, limits, defaults, choices, descriptions."""
    properties = config_schema(Retriever)["properties"]
    assert properties["top_k"] == {
        "type": "integer",
        "minimum": 1,
        "default": 5,
        "description": "How many passages to return, best first.",
    }
    assert "rrf" in str(properties["fusion"])
    assert "rank" not in properties


def test_a_config_is_checked_without_making_the_component() -> None:
    """YAML pipelines are checked as a whole before anything is built."""
    assert check_config(Retriever, {"top_k": 2}) == []
    assert [p.path for p in check_config(Retriever, {"top_k": "2", "x": 1})] == ["$.top_k", "$.x"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.yaml", "model: m\nsteps: [1, 2]\n"),
        ("a.json", '{"model": "m", "steps": [1, 2]}'),
        ("a.toml", 'model = "m"\nsteps = [1, 2]\n'),
    ],
)
def test_a_config_file_is_a_mapping_in_any_format(tmp_path: Path, name: str, text: str) -> None:
    """The suffix decides; the values are the same."""
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert load_config(tmp_path / name) == {"model": "m", "steps": [1, 2]}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.yaml", b"a: ["),
        ("a.json", b"{"),
        ("a.toml", b"= 1"),
        ("a.yaml", b"- 1\n"),
        ("a.yaml", b"a: !!python/object/apply:os.system [id]\n"),
        ("a.yaml", b"\xff\xfe\x00"),
    ],
)
def test_a_bad_config_file_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    """What is no mapping, no text or no such format is one error with the path; code never runs."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=name):
        load_config(tmp_path / name)
    with pytest.raises(DataError, match=r"nope\.yaml"):
        load_config(tmp_path / "nope.yaml")


def test_an_error_survives_copies_and_processes() -> None:
    """Whatever its constructor takes, an error arrives whole on the other side."""
    error: Any = None
    with pytest.raises(ConfigError) as caught:
        Retriever(top_k=0)
    for error in (pickle.loads(pickle.dumps(caught.value)), copy.deepcopy(caught.value)):
        assert type(error) is ConfigError
        assert (str(error), error.problems, error.fields) == (
            str(caught.value),
            caught.value.problems,
            caught.value.fields,
        )
