"""Pipelines without Python: a YAML file, checked against the registry, put on the kernel.

A file can only name components that are registered and give them plain values; nothing in it is
evaluated, so that running somebody's pipeline file runs no code of theirs.

A file::

    name: rag
    source: {use: file, with: {file_path: questions.txt}}
    steps:
      - map: {use: hybrid_retriever, with: {collection: default, top_k: 5}}
      - map: qa_promptor                      # short for {use: qa_promptor}
      - map: extractive_generator
    sink: terminal

Layout:
    document      the file as plain values, with the line of each
    definition    what a valid pipeline is, as values
    validation    from plain values to a definition, or every problem at once
    assembly      from a definition to a job on the kernel
    schema        the JSON Schema of the format, for editors
    answering     the question-answering pipeline that ``sage ask`` runs
"""

from sage.middleware.pipelines.assembly import build_pipeline, load_pipeline
from sage.middleware.pipelines.definition import ComponentUse, PipelineDefinition, StepUse
from sage.middleware.pipelines.schema import pipeline_schema
from sage.middleware.pipelines.validation import read_definition

__all__ = [
    "ComponentUse",
    "PipelineDefinition",
    "StepUse",
    "build_pipeline",
    "load_pipeline",
    "pipeline_schema",
    "read_definition",
]
