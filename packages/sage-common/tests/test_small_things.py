"""Ids, paths and suggestions."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage.common.ids import content_id, fresh_id
from sage.common.paths import cache_dir, collections_dir, sage_home
from sage.common.suggestions import did_you_mean, nearest


@given(st.lists(st.text()), st.lists(st.text()))
def test_ids_differ_where_the_parts_differ(a: list[str], b: list[str]) -> None:
    """The same parts always have the same id, other parts another, however they are joined."""
    assert (content_id(*a) == content_id(*b)) == (a == b)


def test_ids_are_the_same_in_every_version() -> None:
    """Stored collections are found by these ids."""
    assert content_id("a.md", "0") == content_id(b"a.md", b"0") == "bbe260c2ec6db92e"
    assert len(content_id("x", digits=40)) == 40
    assert fresh_id() != fresh_id()
    assert len(fresh_id(8)) == 8


def test_the_home_is_chosen_in_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An argument wins over ``SAGE_HOME``, which wins over ``~/.sage``."""
    monkeypatch.delenv("SAGE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert sage_home() == tmp_path / ".sage"
    monkeypatch.setenv("SAGE_HOME", str(tmp_path / "env"))
    assert sage_home() == tmp_path / "env"
    assert sage_home("~/x") == tmp_path / "x"
    assert collections_dir() == tmp_path / "env" / "collections"
    assert cache_dir(tmp_path) == tmp_path / "cache"
    assert not (tmp_path / "env").exists()


def test_suggestions_ignore_case_and_end_lists() -> None:
    """The nearest name is suggested; with none near, some of the known ones are told."""
    assert nearest("TOP_K", ["top_k", "model"]) == "top_k"
    assert nearest("zzz", ["top_k"]) is None
    assert did_you_mean("x", []) == "; none is known"
    many = [f"name{i:02}" for i in range(30)]
    assert did_you_mean("zzz", many, limit=2) == "; known: name00, name01, ..."
