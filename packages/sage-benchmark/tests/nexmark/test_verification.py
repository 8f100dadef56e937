"""Comparing finds what is missing, what is too much, and what came twice."""

from __future__ import annotations

import pytest

from sage.benchmark.nexmark.__main__ import main
from sage.benchmark.nexmark.catalog import QUERIES, Query
from sage.benchmark.nexmark.generator import generate
from sage.benchmark.nexmark.queries import q2
from sage.benchmark.nexmark.verification import compare, run

EVENTS = tuple(generate(2_000))


def test_rows_are_compared_as_often_as_they_are_there() -> None:
    """A row that is missing, strange or there twice makes a difference that says so."""
    query = QUERIES["q2"]
    right = query.expected(EVENTS)
    assert not compare(query, EVENTS, right[::-1])
    difference = compare(query, EVENTS, [*right[1:], (0, 0), right[1]])
    assert difference.missing == {right[0]: 1}
    assert difference.surplus == {(0, 0): 1, right[1]: 1}
    assert str(difference) == (
        f"1 missing, the first are [{right[0]}]; 2 too many, the first are [(0, 0), {right[1]}]"
    )


def test_an_improved_row_replaces_the_one_before() -> None:
    """Where a query improves its result, the last row of each key counts and no other."""
    query = QUERIES["q4"]
    right = query.expected(EVENTS)
    before = [(category, 0.0) for category, _ in right]
    assert not compare(query, EVENTS, [*before, *right])
    assert compare(query, EVENTS, [*right, *before])


def test_a_query_runs_in_as_many_subtasks_as_asked_for() -> None:
    """The rows are the same in one subtask and in two."""
    assert sorted(run(QUERIES["q1"], EVENTS)) == sorted(run(QUERIES["q1"], EVENTS, parallelism=2))


def test_the_command_says_equal(capsys: pytest.CaptureFixture[str]) -> None:
    """`python -m sage.benchmark.nexmark` names each query, its rate and the verdict."""
    assert main(["--events", "2000", "--queries", "q0,q2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["q0", "q2"]
    assert all(line.endswith("equal") for line in lines)


def test_the_command_fails_when_a_result_differs(capsys: pytest.CaptureFixture[str]) -> None:
    """A query that gives something else makes the exit code 1 and shows the rows."""
    wrong = Query(title="wrong", build=q2, expected=lambda events: [(1, 1)])
    assert main(["--events", "2000"], {"wrong": wrong}) == 1
    assert "DIFFERENT: 1 missing, the first are [(1, 1)]" in capsys.readouterr().out


def test_an_unknown_query_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """A misspelt query ends the command before anything runs, with the names there are."""
    with pytest.raises(SystemExit):
        main(["--queries", "q2,q10"])
    assert "there is no query q10" in capsys.readouterr().err
