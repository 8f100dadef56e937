"""``sage run FILE.yaml``."""

from __future__ import annotations

from pathlib import Path

import pytest

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "rag" / "pipeline.yaml"


@pytest.fixture
def pipeline(tmp_path):
    """Write a pipeline file and return its path."""

    def write(text: str):
        path = tmp_path / "job.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


ECHO = "source: {records: [one, two]}\nsink: terminal\n"


def test_a_pipeline_file_runs(sage, pipeline):
    """What the sink prints is what the user sees."""
    outcome = sage("run", pipeline(ECHO))
    assert (outcome.code, outcome.out) == (0, "one\ntwo\n")


def test_json_gives_the_counts_and_keeps_prints_off_stdout(sage, pipeline):
    """Programs get records in and out of every operator."""
    outcome = sage("run", pipeline(ECHO), "--json")
    assert outcome.json["status"] == "finished"
    assert [o["records_in"] for o in outcome.json["operators"]] == [2, 2]
    assert outcome.err == "one\ntwo\n"


def test_check_runs_nothing(sage, pipeline):
    """A valid file is said to be valid, and its sink prints nothing."""
    outcome = sage("run", pipeline(ECHO), "--check")
    assert outcome.code == 0
    assert "valid" in outcome.out
    assert "one\n" not in outcome.out


def test_every_mistake_is_told_at_once_with_a_suggestion(sage, pipeline):
    """Unknown operator, unknown key and wrong value, each with its place."""
    path = pipeline(
        "source: {use: fil, with: {file_path: q.txt}}\n"
        "steps:\n"
        "  - map: {use: hybrid_retriever, with: {top_kk: 3, top_k: none}}\n"
        "sink: terminal\n"
    )
    outcome = sage("run", path, "--check")
    assert outcome.code == 1
    assert "did you mean 'file'?" in outcome.err
    assert "did you mean 'top_k'?" in outcome.err
    assert "pipeline.steps[0].map.with.top_kk (line 3)" in outcome.err
    assert "pipeline.steps[0].map.with.top_k (line 3)" in outcome.err


def test_a_generator_without_its_key_names_the_variable(sage, pipeline):
    """The pipeline fails before its first record, with what to set."""
    path = pipeline("source: {records: [why]}\nsteps: [{map: openai_generator}]\nsink: terminal\n")
    outcome = sage("run", path)
    assert outcome.code == 1
    assert "OPENAI_API_KEY" in outcome.err


def test_the_example_is_valid(sage):
    """The pipeline file of the examples passes its check."""
    outcome = sage("run", EXAMPLE, "--check")
    assert outcome.code == 0, outcome.err


def test_the_schema_knows_the_registered_operators(sage):
    """Editors get the options of every operator."""
    outcome = sage("run", "--schema")
    assert outcome.json["title"] == "SAGE pipeline"
    assert "hybrid_retriever" in outcome.out


def test_list_shows_operators_with_their_options(sage):
    """``sage list operators`` is made of the registry."""
    outcome = sage("list", "operators", "--json")
    listed = {component["name"]: component for component in outcome.json["components"]}
    assert "top_k" in listed["hybrid_retriever"]["config"]["properties"]
    assert listed["hybrid_retriever"]["summary"]
    assert "hybrid_retriever" in sage("list", "operators").out
