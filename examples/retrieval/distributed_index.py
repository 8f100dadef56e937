"""Parallel embedding and indexing: files to chunks, a vLLM server's vectors, Chroma.

The server is a stand-in on this machine, so that this runs without a GPU; with one of your own set
VLLM_BASE_URL, and give the environment a Ray address to spread the work over nodes.

It prints:

    3 documents in 'distributed_docs', embedded by vllm:all-MiniLM-L6-v2
    How is salt won? -> salt.md
"""

import os
import tempfile
from pathlib import Path

from sage.kernel.api.local_environment import LocalStreamEnvironment
from sage.libs.collection import Collection
from sage.libs.embedding import load_embedder
from sage.libs.generation.testing import FakeOpenAIServer
from sage.libs.io.sources import ChunkedFileSource
from sage.middleware.rag.operators import (
    ChromaRetrieverOperator,
    ChromaUpsertOperator,
    VLLMEmbeddingOperator,
)

DOCUMENTS = {
    "salt.md": "# Salt\n\nSalt is won from sea water that dries in shallow ponds.",
    "tin.md": "# Tin\n\nTin is smelted from cassiterite with charcoal.",
    "amber.md": "# Amber\n\nAmber is the resin of trees that sank into the ground long ago.",
}


def index(folder: str) -> None:
    """Embed the chunks of a folder in parallel and put them into a collection."""
    env = LocalStreamEnvironment("distributed_app")
    (
        env.from_source(ChunkedFileSource(folder))
        .map(VLLMEmbeddingOperator(model="all-MiniLM-L6-v2"), parallelism=2)
        .to_sink(ChromaUpsertOperator(collection="distributed_docs"))
    )
    env.execute()


with (
    tempfile.TemporaryDirectory() as folder,
    FakeOpenAIServer(embed=load_embedder().embed) as server,
):
    os.environ["SAGE_HOME"] = f"{folder}/home"
    os.environ["VLLM_BASE_URL"] = server.base_url
    large_docs = Path(folder, "large_docs")
    large_docs.mkdir()
    for name, text in DOCUMENTS.items():
        (large_docs / name).write_text(text)
    index(str(large_docs))
    with Collection.open("distributed_docs") as collection:
        print(
            f"{len(collection.sources())} documents in 'distributed_docs', "
            f"embedded by {collection.model}"
        )
    retriever = ChromaRetrieverOperator(collection="distributed_docs", top_k=1)
    question = "How is salt won?"
    print(question, "->", Path(retriever.map(question)[0].source).name)
    retriever.close()
