"""Errors carry a code, their facts and a hint, and survive a trip to another process."""

from __future__ import annotations

import json
import pickle

import pytest

from sage.common import errors
from sage.common.errors import (
    ConfigError,
    MissingExtraError,
    MissingKeyError,
    Problem,
    SageError,
    ServiceError,
)


def test_every_error_has_a_code_of_its_own() -> None:
    """Codes are stable, in kebab-case, and no two errors share one."""
    classes = [getattr(errors, name) for name in errors.__all__ if name != "Problem"]
    codes = [cls.code for cls in classes]
    assert len(set(codes)) == len(codes)
    assert all(code == code.lower() and " " not in code and "_" not in code for code in codes)
    assert all(issubclass(cls, SageError) for cls in classes)


def test_a_hint_is_shown_on_its_own_line() -> None:
    """The message comes first, what to do about it second."""
    assert str(SageError("it is broken")) == "it is broken"
    assert str(SageError("it is broken", hint="mend it")) == "it is broken\n  hint: mend it"


def test_problems_are_listed_with_their_paths() -> None:
    """One problem is one line; several are counted and listed."""
    one = ConfigError("a.yaml", [Problem("$.x", "is missing")])
    assert str(one) == "a.yaml: is missing - at $.x"
    two = ConfigError("a.yaml", [Problem("$.x", "is missing"), Problem("", "is odd")])
    assert str(two).splitlines() == ["a.yaml: 2 problems", "  - is missing - at $.x", "  - is odd"]
    assert two.problems[0].path == "$.x"


@pytest.mark.parametrize(
    "error",
    [
        SageError("m", hint="h", a=1),
        ConfigError("s", [Problem("$", "p")], hint="h"),
        MissingExtraError("faiss", extra="isage-libs[faiss]"),
        MissingKeyError("API_KEY", needed_by="the generator", alternative="use another"),
        ServiceError("late", service="shop"),
    ],
)
def test_errors_can_be_pickled(error: SageError) -> None:
    """Whatever its constructor takes, an error arrives whole in another process."""
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert (str(again), again.fields, again.hint) == (str(error), error.fields, error.hint)
    assert again.to_dict() == error.to_dict()


def test_an_error_is_ready_for_json() -> None:
    """Facts that JSON cannot hold are told as text."""
    told = SageError("m", hint=None, path=__import__("pathlib").Path("a"), n=[1, {2}]).to_dict()
    assert json.loads(json.dumps(told)) == {
        "code": "sage-error", "message": "m", "hint": None, "path": "a", "n": [1, "{2}"],
    }  # fmt: skip
