"""Two stages of retrieval: documents by their summaries, then passages within those documents.

First by hand, as an operator of your own; then with ``HierarchicalRetriever``, which is the same.

It prints:

    coarse: bees
    fine: A queen lays up to two thousand eggs a day.
    the same passages: True
"""

import os
import tempfile
from typing import Any

from sage.common.core.functions import MapFunction
from sage.common.records import Query
from sage.kernel import LocalEnvironment
from sage.middleware.rag.operators import (
    ChromaRetrieverOperator,
    ChromaUpsertOperator,
    EmbeddingOperator,
    HierarchicalRetriever,
)

SUMMARIES = [
    {"text": "How bees live and breed.", "doc_id": "bees"},
    {"text": "How hens are kept for their eggs.", "doc_id": "hens"},
]
CHUNKS = [
    {"text": "A queen lays up to two thousand eggs a day.", "doc_id": "bees"},
    {"text": "Drones have no sting.", "doc_id": "bees"},
    {"text": "A hen lays an egg a day, eggs in winter need light.", "doc_id": "hens"},
]


class HierarchicalRAGOperator(MapFunction):
    """Two-stage retrieval: coarse then fine."""

    def __init__(self) -> None:
        self.coarse_retriever = ChromaRetrieverOperator(collection="summaries", top_k=1)
        self.fine_retriever = ChromaRetrieverOperator(collection="chunks", top_k=1)

    def open(self, context: Any) -> None:
        self.coarse_retriever.open(context)
        self.fine_retriever.open(context)

    def map(self, query: Query) -> dict[str, Any]:
        # Stage 1: Coarse retrieval
        coarse_results = self.coarse_retriever.map(query)

        # Extract document IDs
        doc_ids = [r["doc_id"] for r in coarse_results]

        # Stage 2: Fine retrieval within selected docs
        query_with_filter = {**query, "filter": {"doc_id": {"$in": doc_ids}}}
        fine_results = self.fine_retriever.map(query_with_filter)

        return {"query": query, "coarse_results": coarse_results, "fine_results": fine_results}

    def close(self) -> None:
        self.coarse_retriever.close()
        self.fine_retriever.close()


def index(collection: str, records: list[dict[str, str]]) -> None:
    """Put records into a collection."""
    env = LocalEnvironment("index")
    embedded = env.from_collection(records).map(EmbeddingOperator())
    embedded.sink(ChromaUpsertOperator(collection=collection))
    env.execute()


with tempfile.TemporaryDirectory() as home:
    os.environ["SAGE_HOME"] = home
    index("summaries", SUMMARIES)
    index("chunks", CHUNKS)
    query = Query.of("How many eggs do bees lay?")
    [found] = LocalEnvironment().from_collection([query]).map(HierarchicalRAGOperator()).collect()
    print("coarse:", *(r["doc_id"] for r in found["coarse_results"]))
    print("fine:", *(r["text"] for r in found["fine_results"]))

    two_stages = HierarchicalRetriever(
        ChromaRetrieverOperator(collection="summaries", top_k=1),
        ChromaRetrieverOperator(collection="chunks", top_k=1),
    )
    same = [p.text for p in two_stages.map(query)] == [p.text for p in found["fine_results"]]
    print("the same passages:", same)
    two_stages.close()
