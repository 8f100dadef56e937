"""Many candidates, few contexts: retrieve 50, re-rank, generate from the best 5.

The re-ranker compares token by token with the embedder's own weights (late interaction), offline;
``RerankOperator(model="cross-encoder/ms-marco-MiniLM-L-12-v2", top_k=5)`` takes a cross-encoder in
its place, which needs torch. The generator quotes; ``OpenAIGeneratorOperator(model="gpt-4")``
writes.

It prints:

    retrieve: 50 found
    rerank: 5 kept of 50 read
    Basalt number 7 is black because it holds iron and magnesium. [1]
"""

import os
import tempfile

from sage.common.records import Answer
from sage.kernel import LocalEnvironment
from sage.middleware.rag.operators import (
    ChromaRetrieverOperator,
    ChromaUpsertOperator,
    EmbeddingOperator,
    ExtractiveGenerator,
    QAPromptor,
    RerankOperator,
)

TEXTS = [
    *(f"Granite number {n} is grey, and holds quartz and feldspar." for n in range(60)),
    "Basalt number 7 is black because it holds iron and magnesium.",
    "Coal is black.",
]


def create_reranking_rag(env: LocalEnvironment) -> None:
    """Build the pipeline."""
    (
        env.from_collection(["Why is basalt number 7 black?"])
        # Initial retrieval (high recall)
        .map(ChromaRetrieverOperator(collection="docs", top_k=50))
        # Re-rank (high precision)
        .map(RerankOperator(top_k=5))
        # Generate with best contexts
        .map(QAPromptor)
        .map(ExtractiveGenerator(max_sentences=1))
        .for_each(show)
    )


def show(answer: Answer) -> None:
    """Print what each stage had, and the answer."""
    retrieve, rerank = answer.steps[:2]
    print(f"retrieve: {retrieve.detail['found']} found")
    print(f"rerank: {rerank.detail['found']} kept of {rerank.detail['candidates_read']} read")
    print(answer.text.splitlines()[-1])


with tempfile.TemporaryDirectory() as home:
    os.environ["SAGE_HOME"] = home
    env = LocalEnvironment("index")
    embedded = env.from_collection(TEXTS).map(EmbeddingOperator())
    embedded.sink(ChromaUpsertOperator(collection="docs"))
    env.execute()
    env = LocalEnvironment("reranking")
    create_reranking_rag(env)
    env.execute()
