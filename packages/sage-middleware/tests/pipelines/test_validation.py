"""Pipeline files: what is accepted, and how every mistake is told."""

from __future__ import annotations

import pytest

from sage.common.errors import ConfigError, DataError
from sage.middleware.pipelines import ComponentUse, StepUse, load_pipeline
from sage.middleware.pipelines.definition import ErrorPolicy, Verb

VALID = """\
name: products
source: {use: test_numbers, with: {count: 4}}
steps:
  - map: {use: test_times, with: {factor: 2}, name: double, on_error: skip, parallelism: 2}
  - filter: test_at_least
sink: {use: test_lines, with: {path: "${here}/out.txt"}}
"""


def test_a_valid_file_is_read_as_values(pipeline_file):
    """What the file says is what the definition says."""
    path = pipeline_file(VALID)
    definition = load_pipeline(path)
    assert definition.name == "products"
    assert definition.source == ComponentUse("sources", "test_numbers", {"count": 4})
    double = ComponentUse("operators", "test_times", {"factor": 2}, "double")
    keep = ComponentUse("operators", "test_at_least")
    assert definition.steps == (
        StepUse(Verb.MAP, double, 2, ErrorPolicy.SKIP),
        StepUse(Verb.FILTER, keep),
    )
    assert definition.sink.config == {"path": f"{path.parent}/out.txt"}


def test_records_can_stand_in_the_file(pipeline_file):
    """A source may be the records themselves."""
    text = "source: {records: [one, 2]}\nsink: {use: test_lines, with: {path: x}}\n"
    definition = load_pipeline(pipeline_file(text))
    assert definition.source == ("one", 2)
    assert definition.name == "job"


def test_all_problems_are_told_at_once_with_path_line_and_suggestion(pipeline_file):
    """Nobody has to run the check five times to find five mistakes."""
    text = """\
nme: x
source: {use: test_numberz}
steps:
  - map: {use: test_times, with: {factr: 2}}
  - mapp: test_times
  - filter: {use: test_at_least, with: {minimum: many}, on_error: ignore}
sink: {use: test_lines, wth: {path: x}}
"""
    with pytest.raises(ConfigError) as caught:
        load_pipeline(pipeline_file(text))
    told = {problem.path: problem.message for problem in caught.value.problems}
    assert "did you mean 'name'?" in told["pipeline.nme (line 1)"]
    assert "did you mean 'test_numbers'?" in told["pipeline.source.use (line 2)"]
    assert told["pipeline.steps[0].map.with.factr (line 4)"] == (
        "unknown key 'factr'; did you mean 'factor'?"
    )
    assert "required and missing" in told["pipeline.steps[0].map.with.factor (line 4)"]
    assert "did you mean 'map'?" in told["pipeline.steps[1].mapp (line 5)"]
    assert "Expected `int`" in told["pipeline.steps[2].filter.with.minimum (line 6)"]
    assert "fail, skip, dead_letter" in told["pipeline.steps[2].filter.on_error (line 6)"]
    assert "did you mean 'with'?" in told["pipeline.sink.wth (line 7)"]
    assert "'path' is required" in told["pipeline.sink.with.path (line 7)"]


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        ("", "pipeline", "expected a mapping with source, sink"),
        ("[]", "pipeline", "expected a mapping"),
        ("source: {records: 3}\nsink: test_lines", "pipeline.source.records", "list of records"),
        ("steps: 3", "pipeline.steps", "expected a list of steps"),
        ("steps: [test_times]", "pipeline.steps[0]", "expected one of map, filter"),
        ("steps: [{map: 3}]", "pipeline.steps[0].map", "expected a mapping with use"),
        ("steps: [{map: test_at_least}]", "pipeline.steps[0].map.use", "it is a FilterFunction"),
        ("source: test_times", "pipeline.source.use", "'test_times' is one of the operators, not"),
        ("name: a\nname: b", "pipeline.name", "appears twice"),
        ("name: !!python/name:os.system", "pipeline.name", "is not a plain value"),
        ("steps: &all [*all]", "pipeline.steps[0]", "inside of its own anchor"),
        ("steps: [{map: {use: test_times, parallelism: 0}}]", "parallelism", "1 or more"),
        ("fault_tolerance: yes", "pipeline.fault_tolerance", "expected a mapping"),
        ("fault_tolerance: {retain: 0}", "fault_tolerance.retain (line 1)", "at least 1"),
        ("fault_tolerance: {chekpoint_dir: x}", "chekpoint_dir", "did you mean 'checkpoint_dir'?"),
    ],
)
def test_each_mistake_is_told_where_it_is(pipeline_file, text, path, message):
    """Path and message point at the mistake."""
    with pytest.raises(ConfigError) as caught:
        load_pipeline(pipeline_file(text))
    assert any(path in p.path and message in p.message for p in caught.value.problems), str(
        caught.value
    )


def test_a_file_that_is_not_yaml_is_told_with_line_and_column(pipeline_file):
    """A syntax error names its place."""
    with pytest.raises(DataError, match="line 3, column 1"):
        load_pipeline(pipeline_file("source: a\nsteps: [\n"))


def test_a_missing_file_is_named(tmp_path):
    """A path that does not exist is told with the path."""
    with pytest.raises(DataError, match=r"nope\.yaml"):
        load_pipeline(tmp_path / "nope.yaml")


def test_a_binary_file_is_refused(tmp_path):
    """What is not text is told so, without a traceback of the decoder."""
    path = tmp_path / "bad.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="not a text file"):
        load_pipeline(path)
