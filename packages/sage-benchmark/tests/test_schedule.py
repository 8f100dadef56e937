"""Contestants take turns, and one that fails is reported while the others go on."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from sage.benchmark.row import Contestant, Figure, Request, Role, Row, Sample
from sage.benchmark.schedule import measure_row


def measure(contestant: Callable[[int], Sequence[int]], request: Request) -> Sample:
    """What the workers of these tests run."""
    from sage.benchmark.measuring import digest

    return {"elapsed_s": 1.0, "digest": digest(contestant(request["size"])), "pid": os.getpid()}


def honest(size: int) -> Sequence[int]:
    """Does the work."""
    return range(size)


def careless(size: int) -> Sequence[int]:
    """Forgets the last record."""
    return range(size - 1)


def broken(size: int) -> Sequence[int]:
    """Raises."""
    raise RuntimeError(f"cannot do {size}")


def homeless(size: int) -> Sequence[int]:
    """Never called: its machine lacks something."""
    raise AssertionError


def measure_where_possible(contestant: Callable[[int], Sequence[int]], request: Request) -> Sample:
    """Says that one contestant cannot run here."""
    if contestant.__name__ == "homeless":
        return {"skipped": "there is no such device here"}
    return measure(contestant, request)


def _row(*contestants: Contestant, **fields: Any) -> Row:
    return Row(
        key="T",
        title="a row of the tests",
        limit="the honest one",
        measure=fields.pop("measure", "test_schedule:measure"),
        size=10,
        quick_size=3,
        contestants=contestants,
        figures=(Figure(key="elapsed_s", label="s"),),
        **fields,
    )


def _contestant(name: str, role: Role = Role.PEER, needs: str | None = None) -> Contestant:
    return Contestant(name=name, target=f"test_schedule:{name}", role=role, needs=needs)


def test_rounds_interleave_and_begin_with_another_contestant(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each contestant runs once a round, in a fresh process, and no one always goes first."""
    monkeypatch.setenv("PYTHONPATH", os.path.dirname(__file__))
    order: list[tuple[str, str]] = []
    row = _row(
        _contestant("honest", Role.LIMIT),
        Contestant(name="twin", target="test_schedule:honest", role=Role.SAGE),
    )
    result = measure_row(
        row,
        rounds=2,
        peers=True,
        quick=True,
        progress=lambda stage, contestant: order.append((stage, contestant)),
    )
    rounds = [
        (f"T: round {n}", name)
        for n, name in ((1, "honest"), (1, "twin"), (2, "twin"), (2, "honest"))
    ]
    assert order == rounds
    assert len({s["pid"] for entry in result.entries for s in entry.samples}) == 4
    assert result.size == 3


def test_other_output_and_errors_are_failures_of_their_contestant_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A contestant that leaves work out does not win, and one that raises does not end the row."""
    monkeypatch.setenv("PYTHONPATH", os.path.dirname(__file__))
    row = _row(_contestant("honest", Role.LIMIT), _contestant("careless"), _contestant("broken"))
    honest_entry, careless_entry, broken_entry = measure_row(
        row, rounds=1, peers=True, quick=False
    ).entries
    assert honest_entry.failed is None
    assert "output differs" in (careless_entry.failed or "")
    assert broken_entry.failed == "RuntimeError: cannot do 10"


def test_a_peer_that_is_not_installed_is_skipped_with_the_way_to_get_it() -> None:
    """Nothing runs for it, and the line says what to install."""
    row = _row(_contestant("absent", needs="surely-not-installed"))
    (entry,) = measure_row(row, rounds=1, peers=True, quick=True).entries
    assert entry.samples == []
    assert "isage-benchmark[peers]" in (entry.skipped or "")


def test_what_cannot_run_on_this_machine_is_skipped_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A sample that only says what is lacking is no result and no failure; the others go on."""
    monkeypatch.setenv("PYTHONPATH", os.path.dirname(__file__))
    row = _row(
        _contestant("honest", Role.LIMIT),
        _contestant("homeless"),
        measure="test_schedule:measure_where_possible",
    )
    honest_entry, homeless_entry = measure_row(row, rounds=2, peers=True, quick=True).entries
    assert len(honest_entry.samples) == 2
    assert homeless_entry.samples == []
    assert homeless_entry.failed is None
    assert homeless_entry.skipped == "there is no such device here"


def test_peers_stay_out_unless_they_are_asked_for() -> None:
    """Without --peers a row has the limit and SAGE only."""
    row = _row(_contestant("honest", Role.LIMIT), _contestant("broken"))
    (entry,) = measure_row(row, rounds=1, peers=False, quick=True).entries
    assert entry.contestant.name == "honest"
