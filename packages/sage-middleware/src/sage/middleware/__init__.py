"""Domain operators: they put the algorithms of ``sage.libs`` on the streams of ``sage.kernel``.

The algorithms themselves are not here, nor is the engine.

Layout:
    operators.rag   retrievers, prompts, generators
    rag.operators   the same objects, under the path that older code uses
    indexing        documents into a collection, as a streaming pipeline
    pipelines       pipelines written in YAML
"""
