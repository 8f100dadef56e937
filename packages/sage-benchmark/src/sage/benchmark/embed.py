"""The suite ``embed``: texts to vectors, against sentence-transformers and onnxruntime by hand."""

from __future__ import annotations

from sage.benchmark.suite import Suite
from sage.benchmark.workloads import batch_embedder, embed_rows, gpu_embedding, query_cache

__all__ = ["SUITE"]

SUITE = Suite(
    "embed",
    (
        embed_rows.SIXTY_ROW,
        embed_rows.MIXED_ROW,
        embed_rows.FEW_ROW,
        embed_rows.INT8_ROW,
        embed_rows.START_ROW,
        batch_embedder.ROW,
        query_cache.ROW,
        gpu_embedding.TOKENS_ROW,
        gpu_embedding.GPU_ROW,
    ),
)
