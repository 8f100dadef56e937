"""The JSON Schema of pipeline files agrees with the checks."""

from __future__ import annotations

import jsonschema
import pytest
import yaml

from sage.middleware.pipelines import pipeline_schema


@pytest.fixture(scope="module")
def validator():
    """A validator of the schema, itself checked."""
    schema = pipeline_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_a_valid_pipeline_satisfies_the_schema(validator):
    """What the checks accept, the schema accepts."""
    text = """
source: {use: test_numbers, with: {count: 4}}
steps:
  - map: {use: test_times, with: {factor: 2}, on_error: skip, uid: twice}
  - filter: test_at_least
sink: {use: test_lines, with: {path: out.txt}}
fault_tolerance: {checkpoint_dir: checkpoints, checkpoint_interval: 5}
"""
    assert list(validator.iter_errors(yaml.safe_load(text))) == []


@pytest.mark.parametrize(
    "text",
    [
        "{source: test_numbers}",
        "{source: nobody, sink: test_lines}",
        "{source: test_numbers, sink: {use: test_lines, with: {path: x}}, fault_tolerance: {}}",
        "{source: test_numbers, sink: {use: test_lines, with: {pth: x}}}",
        "{source: test_numbers, sink: {use: test_lines, with: {path: x}}, steps: [{map: 3}]}",
    ],
)
def test_an_invalid_pipeline_does_not(validator, text):
    """What the checks refuse, the schema refuses."""
    assert not validator.is_valid(yaml.safe_load(text))
