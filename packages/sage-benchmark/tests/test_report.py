"""What the report says, from samples made up here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sage.benchmark.page import BEGIN, END, refresh_page
from sage.benchmark.report import Report, ratio_of
from sage.benchmark.row import Contestant, Figure, Role, Row, Target
from sage.benchmark.schedule import Entry, RowResult
from sage.benchmark.suite import Suite


def _result(sage_s: list[float]) -> RowResult:
    by_hand = Contestant(name="by hand", target="m:f", role=Role.LIMIT)
    sage = Contestant(name="SAGE", target="m:g", role=Role.SAGE, judged=True, note="as it is")
    peer = Contestant(name="other", target="m:h", role=Role.PEER, needs="other")
    row = Row(
        key="W9",
        title="made up",
        limit="by hand",
        measure="m:measure",
        size=10,
        quick_size=1,
        contestants=(by_hand, sage, peer),
        figures=(Figure(key="elapsed_s", label="s"),),
        targets=(Target(figure="ratio", must=0.9, aim=1.5),),
    )
    entries = [
        Entry(by_hand, samples=[{"elapsed_s": s} for s in (1.0, 2.0, 1.0)]),
        Entry(sage, samples=[{"elapsed_s": s} for s in sage_s]),
        Entry(peer, skipped="other is not installed"),
    ]
    return RowResult(row, 10, 3, entries)


def _report(sage_s: list[float], *, quick: bool = False) -> Report:
    return Report(
        "made-up", "sage bench made-up", "2026-01-01T00:00:00", 1.0, [_result(sage_s)], quick
    )


def test_ratios_are_paired_by_round() -> None:
    """A round in which both sides were slow has the ratio of the others."""
    result = _result([2.0, 4.0, 2.0])
    ratio = ratio_of(result, result.entries[1])
    assert ratio is not None
    assert (ratio.median, ratio.low, ratio.high) == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("seconds", "reached"), [([1.0, 2.0, 1.0], True), ([2.0, 4.0, 2.0], False)]
)
def test_targets_are_judged_by_the_median(seconds: list[float], reached: bool) -> None:
    """A verdict says whether what is required was reached, and by how much it was missed."""
    (verdict,) = _report(seconds).verdicts
    assert verdict.reached is reached
    assert ("MISSED" in str(verdict)) is not reached


def test_a_quick_run_judges_nothing() -> None:
    """Tiny sizes measure start-up costs, so that no verdict is printed for them."""
    assert _report([1.0], quick=True).verdicts == []


def test_the_json_holds_every_sample_and_the_machine() -> None:
    """Whoever doubts a median can compute it again."""
    data = json.loads(json.dumps(_report([1.0, 2.0, 1.0]).to_dict()))
    contestants = data["rows"][0]["contestants"]
    assert [len(c["samples"]) for c in contestants] == [3, 3, 0]
    assert contestants[2]["skipped"] == "other is not installed"
    assert {"cores", "python", "versions", "processor"} <= set(data["machine"])


def test_a_page_keeps_what_is_around_the_results(tmp_path: Path) -> None:
    """Writing results twice leaves one set of them, and the author's text before and after."""
    page = tmp_path / "kernel.md"
    page.write_text(f"# Mine\n\n{BEGIN}\nold\n{END}\n\n## Why\n")
    for _ in range(2):
        refresh_page(page, "kernel", _report([1.0, 2.0, 1.0]).markdown(None))
    text = page.read_text()
    assert text.startswith("# Mine\n")
    assert text.endswith("## Why\n")
    assert text.count("W9") == 2  # the title of its table, and its target
    assert "old" not in text


def test_charts_are_written_in_both_formats(tmp_path: Path) -> None:
    """`--out` leaves numbers, page, PNG and SVG."""
    pytest.importorskip("matplotlib")
    written = Suite.write(_report([1.0, 2.0, 1.0]), tmp_path)
    assert sorted(path.suffix for path in written) == [".json", ".md", ".png", ".svg"]
    assert (tmp_path / "made-up.png").read_bytes().startswith(b"\x89PNG")
    assert "made-up.png" in (tmp_path / "made-up.md").read_text()
