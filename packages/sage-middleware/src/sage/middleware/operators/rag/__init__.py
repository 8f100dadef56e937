"""Retrieval-augmented generation on streams: query → retrieve → prompt → answer.

Every operator is a ``MapFunction`` with a typed config, and works by itself too:
``DenseRetriever(documents=[...]).map("why?")``. What they compute is in ``sage.libs``.

Layout:
    embedding       EmbeddingOperator, VLLMEmbeddingOperator
    upsert          ChromaUpsertOperator
    retrieving      what every retriever is
    retrievers      DenseRetriever, BM25Retriever, ChromaRetriever, FaissRetriever
    hybrid          HybridRetriever
    combining       MultiSourceRetriever, HierarchicalRetriever, FallbackRetriever
    cached          CachedRetriever
    sources         where they look: documents in memory, an index, a collection
    reranking       RerankOperator
    context_fusion  ContextFusionOperator: what several branches found
    routing         RoutingOperator
    promptors       QAPromptor, SummarizationPromptor
    generators      ExtractiveGenerator, OpenAIGenerator
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sage.middleware.operators.rag.cached import CachedRetriever
    from sage.middleware.operators.rag.combining import (
        FallbackRetriever,
        HierarchicalRetriever,
        MultiSourceRetriever,
    )
    from sage.middleware.operators.rag.context_fusion import ContextFusionOperator
    from sage.middleware.operators.rag.embedding import EmbeddingOperator, VLLMEmbeddingOperator
    from sage.middleware.operators.rag.generators import (
        ExtractiveGenerator,
        OpenAIGenerator,
        OpenAIGeneratorOperator,
    )
    from sage.middleware.operators.rag.hybrid import HybridRetriever
    from sage.middleware.operators.rag.promptors import QAPromptor, SummarizationPromptor
    from sage.middleware.operators.rag.reranking import RerankOperator
    from sage.middleware.operators.rag.retrievers import (
        BM25Retriever,
        ChromaRetriever,
        ChromaRetrieverOperator,
        DenseRetriever,
        FaissRetriever,
    )
    from sage.middleware.operators.rag.routing import RoutingOperator
    from sage.middleware.operators.rag.upsert import ChromaUpsertOperator

__all__ = [
    "BM25Retriever",
    "CachedRetriever",
    "ChromaRetriever",
    "ChromaRetrieverOperator",
    "ChromaUpsertOperator",
    "ContextFusionOperator",
    "DenseRetriever",
    "EmbeddingOperator",
    "ExtractiveGenerator",
    "FaissRetriever",
    "FallbackRetriever",
    "HierarchicalRetriever",
    "HybridRetriever",
    "MultiSourceRetriever",
    "OpenAIGenerator",
    "OpenAIGeneratorOperator",
    "QAPromptor",
    "RerankOperator",
    "RoutingOperator",
    "SummarizationPromptor",
    "VLLMEmbeddingOperator",
]

_MODULES = {
    "cached": ("CachedRetriever",),
    "combining": ("FallbackRetriever", "HierarchicalRetriever", "MultiSourceRetriever"),
    "context_fusion": ("ContextFusionOperator",),
    "embedding": ("EmbeddingOperator", "VLLMEmbeddingOperator"),
    "generators": ("ExtractiveGenerator", "OpenAIGenerator", "OpenAIGeneratorOperator"),
    "hybrid": ("HybridRetriever",),
    "promptors": ("QAPromptor", "SummarizationPromptor"),
    "reranking": ("RerankOperator",),
    "retrievers": (
        "BM25Retriever",
        "ChromaRetriever",
        "ChromaRetrieverOperator",
        "DenseRetriever",
        "FaissRetriever",
    ),
    "routing": ("RoutingOperator",),
    "upsert": ("ChromaUpsertOperator",),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import an operator on first use: numpy and the indexes load only when they are needed."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
