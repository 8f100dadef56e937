"""The suite ``retrieval``, over a test collection whose rankings are known."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from sage.benchmark.retrieval.measuring import SystemResult
from sage.benchmark.retrieval.report import CollectionResult, RetrievalReport
from sage.benchmark.retrieval.suite import RetrievalSuite
from sage.benchmark.retrieval.systems import SYSTEMS
from sage.common.errors import DataError


@pytest.fixture
def suite(beir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RetrievalSuite:
    monkeypatch.setenv("SAGE_HOME", str(tmp_path / "home"))
    return RetrievalSuite(data=beir, model="mock:64")


def test_the_measures_are_those_of_the_known_rankings(suite: RetrievalSuite) -> None:
    """BM25 finds one passage first, one second, one not at all: .544 nDCG, .5 MRR, by hand."""
    (result,) = suite.measure().results
    assert (result.passages, result.queries) == (4, 3)
    by_name = {found.system.name: found for found in result.systems}
    assert list(by_name) == [system.name for system in SYSTEMS]
    assert not any(found.failed for found in result.systems)
    bm25 = by_name["BM25"]
    assert bm25.measured["ndcg_10"] == pytest.approx([1, 1 / math.log2(3), 0])
    assert bm25.measured["mrr"] == [1, 0.5, 0]
    assert bm25.measured["recall_1"] == [1, 0, 0]
    assert len(bm25.ms) == len(bm25.ms_again) == 3
    assert "recall_100" not in by_name["hybrid + rerank"].measured  # it returns fifty
    for name in ("dense", "hybrid", "hybrid + rerank"):
        assert by_name[name].measured["recall_5"][:2] == [1, 1]


def test_the_next_run_embeds_nothing(
    suite: RetrievalSuite, beir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The index stays; only what changed is embedded, and what is gone is dropped."""
    steps: list[str] = []
    suite.measure(progress=lambda stage, detail: steps.append(f"{stage} {detail}"))
    assert "tiny: index 0 of 4 new passages" in steps
    assert len(steps) == suite.runs(None, rounds=1, peers=False)
    corpus = beir / "corpus.jsonl"
    corpus.write_text(corpus.read_text().replace("wet air", "rain").replace('"bread"', '"loaf"'))
    steps.clear()
    (result,) = suite.measure(progress=lambda stage, detail: steps.append(detail)).results
    assert steps[0] == "0 of 2 new passages"
    assert result.mean("BM25", "recall_100") == pytest.approx(1 / 3)  # bread is judged, and gone


def test_results_are_written_with_intervals(suite: RetrievalSuite, tmp_path: Path) -> None:
    """JSON and page hold each system with interval, gain and time, and both charts are drawn."""
    pytest.importorskip("matplotlib")
    written = suite.write(suite.measure(quick=True), tmp_path / "out")
    assert sorted(path.suffix for path in written) == [".json", ".md", ".png", ".svg"]
    data = json.loads((tmp_path / "out" / "retrieval.json").read_text())
    bm25 = data["collections"][0]["systems"][0]
    assert bm25["figures"]["ndcg_10"]["mean"] == pytest.approx((1 + 1 / math.log2(3)) / 3, abs=1e-4)
    assert bm25["figures"]["ndcg_10"]["low"] <= bm25["figures"]["ndcg_10"]["high"]
    page = (tmp_path / "out" / "retrieval.md").read_text()
    assert "| BM25 | .544 [.000, 1.000] |" in page
    assert "these numbers mean nothing" in page
    assert "retrieval.png" in page


def _report(scores: dict[str, list[float]], *, quick: bool = False) -> RetrievalReport:
    systems = [
        SystemResult(system, {"ndcg_10": scores[system.name], "recall_1": scores[system.name]})
        for system in SYSTEMS
        if system.name in scores
    ]
    results = [CollectionResult(name, 1, 2, 0.0, systems) for name in ("scifact", "xquad-zh")]
    return RetrievalReport("retrieval", "sage bench retrieval", "2026-01-01", 1.0, results, quick)


def test_goals_are_judged_by_the_mean() -> None:
    """A verdict compares with a number or with another system of the same run; quick has none."""
    said = [str(v) for v in _report({"BM25": [0.6, 0.8], "hybrid": [0.7, 0.7]}).verdicts]
    assert "scifact BM25 ndcg_10 0.7: reached" in said[0]
    assert "scifact hybrid ndcg_10 0.7: MISSED (must >= 0.715" in said[1]
    assert "xquad-zh hybrid recall_1 0.7: reached" in said[2]  # a tie is not under the floor
    assert _report({"BM25": [0.1, 0.1]}, quick=True).verdicts == []


def test_published_numbers_stand_beside() -> None:
    """What others report for a test collection is under its table."""
    page = _report({"BM25": [0.6, 0.8]}).markdown(None)
    assert "Published nDCG@10: BM25 (Anserini) .679, all-MiniLM-L6-v2 (BEIR) .645" in page


def test_without_test_collections_it_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is no data, nothing is measured and the message says what --data expects."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="no test collections") as refused:
        RetrievalSuite().measure()
    assert "--data DIR" in str(refused.value.hint)
