"""One question, three collections, one answer: retrieve in parallel, fuse, generate.

The generator quotes, so that this runs without a key; put ``OpenAIGeneratorOperator(model="gpt-4",
temperature=0.7)`` in its place to have it written.

It prints:

    Found in: code, documents, web
    Call close() when you are done with a store. [2]
"""

import os
import tempfile

from sage.common.records import Answer
from sage.kernel import LocalEnvironment
from sage.middleware.rag.operators import (
    ChromaRetrieverOperator,
    ChromaUpsertOperator,
    ContextFusionOperator,
    EmbeddingOperator,
    ExtractiveGenerator,
    QAPromptor,
)

SOURCES = {
    "documents": ["Call close() when you are done with a store.", "A store keeps vectors."],
    "code": ["def close(self): self.save(); self.release()", "def search(self, vectors): ..."],
    "web": ["How do I close a store? Leave the with block.", "Stores close at nine on Sundays."],
}


def index(collection: str, texts: list[str]) -> None:
    """Put texts into a collection."""
    env = LocalEnvironment("index")
    chunks = env.from_collection([{"text": text, "source": collection} for text in texts])
    chunks.map(EmbeddingOperator()).sink(ChromaUpsertOperator(collection=collection))
    env.execute()


def create_multi_source_rag(env: LocalEnvironment) -> None:
    """Build the pipeline: three retrievers side by side, one answer for each question."""
    queries = env.from_collection(["When do I call close on a store?"])

    # Parallel retrieval
    doc_results = queries.map(ChromaRetrieverOperator(collection="documents"), parallelism=2)
    code_results = queries.map(ChromaRetrieverOperator(collection="code"), parallelism=2)
    web_results = queries.map(ChromaRetrieverOperator(collection="web"), parallelism=2)

    # Fuse contexts
    fused = doc_results.union(code_results).union(web_results).map(ContextFusionOperator(top_k=6))

    # Generate response
    fused.map(QAPromptor).map(ExtractiveGenerator(max_sentences=1)).for_each(show)


def show(answer: Answer) -> None:
    """Print where the passages come from, and the answer."""
    sources = {name for passage in answer.passages for name in passage.metadata["found_in"]}
    print("Found in:", ", ".join(sorted(sources)))
    print(answer.text.splitlines()[-1])


with tempfile.TemporaryDirectory() as home:
    os.environ["SAGE_HOME"] = home
    for name, texts in SOURCES.items():
        index(name, texts)
    env = LocalEnvironment("multi_source")
    create_multi_source_rag(env)
    env.execute()
