"""Pipeline files can name the retrieval operators, and retrievers inside of retrievers."""

from __future__ import annotations

from pathlib import Path

import pytest

from sage.common.errors import ConfigError
from sage.libs.collection import Collection
from sage.middleware.operators.rag import MultiSourceRetriever
from sage.middleware.pipelines import build_pipeline, load_pipeline

INDEX = """\
source: {{records: [Iron rusts in water., Gold shines.]}}
steps:
  - map: {{use: embedding, with: {{model: "mock:64"}}, parallelism: 2}}
sink: {{use: collection, with: {{collection: {name}, store: numpy, home: {home}}}}}
"""
ASK = """\
source: {{records: [does iron rust]}}
steps:
  - map:
      use: multi_source_retriever
      with:
        retrievers:
          metals: {{use: dense_retriever, with: {{collection: metals, home: {home}}}}}
          either:
            use: fallback_retriever
            with:
              first: {{use: bm25_retriever, with: {{collection: notes, home: {home}}}}}
              second: {{use: {second}, with: {{collection: metals, home: {home}}}}}
        quotas: {{metals: 1}}
  - map: {{use: rerank, with: {{model: "late-interaction:mock:64", top_k: 1}}}}
  - map: extractive_generator
sink: {{use: jsonl, with: {{file_path: {home}/out.jsonl}}}}
"""


def test_a_file_indexes_and_another_one_asks(pipeline_file, tmp_path: Path) -> None:
    """Embedding, upsert, nested retrievers, reranking and an answer, without Python."""
    for name in ("metals", "notes"):
        path = pipeline_file(INDEX.format(name=name, home=tmp_path))
        build_pipeline(load_pipeline(path)).execute()
    with Collection.open("metals", tmp_path) as metals:
        assert metals.stats().chunks == 2
    path = pipeline_file(ASK.format(home=tmp_path, second="hybrid_retriever"))
    build_pipeline(load_pipeline(path)).execute()
    assert "Iron rusts in water." in (tmp_path / "out.jsonl").read_text(encoding="utf-8")


def test_a_misspelt_retriever_inside_another_is_told(pipeline_file, tmp_path: Path) -> None:
    """The name is checked before anything runs, and the nearest one suggested."""
    path = pipeline_file(ASK.format(home=tmp_path, second="hybrid_retreiver"))
    told = r"did you mean 'hybrid_retriever'.* at \$\.retrievers\.either\.with\.second\.use"
    with pytest.raises(ConfigError, match=told):
        build_pipeline(load_pipeline(path))
    told = r"did you mean 'top_k'.* at \$\.retrievers\.a\.with\.topk"
    with pytest.raises(ConfigError, match=told):
        MultiSourceRetriever({"a": {"use": "bm25_retriever", "with": {"topk": 3}}})
