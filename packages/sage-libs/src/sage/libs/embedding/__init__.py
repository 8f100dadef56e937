"""Turns texts into vectors: one protocol, an ONNX embedder without torch, a mock for tests.

Not here: where the vectors are kept (`sage.libs.vectors`) and how rankings are joined
(`sage.libs.fusion`).

Layout::

    embedder.py         the Embedder and TokenEmbedder protocols, load_embedder
    backends.py         which backend "auto" takes here, and why
    processor.py        the cores and instructions that decide it
    bert_embedder.py    what the embedders on a CPU share: batches over the cores ...
    token_batches.py    ... filled by tokens
    onnx_bert.py        OnnxEmbedder: BERT-like models on ONNX Runtime
    openvino_bert.py    OpenVinoEmbedder: the same on OpenVINO, in bfloat16 where that is fast
    gpu_embedder.py     GpuEmbedder: the same models on a CUDA device, at its speed
    gpu_bert.py         the forward pass on a device
    gpu_tokens.py       the tokenizer, made faster by remembering words ...
    gpu_token_workers.py    ... and in processes of its own
    sentence_transformer.py SentenceTransformerEmbedder: any model of that library, on torch
    batch_embedder.py   BatchEmbedder: many callers share batches and a cache, on an event loop
    openai.py           OpenAIEmbedder: any OpenAI-compatible endpoint, vLLM servers too
    testing.py          what every embedder must do, as checks
    mock.py             MockTextEmbedder: hashed words, for tests
    tokenizer.py        the model's own tokenizer, shared with the chunker
    weights.py          model id -> directory with the weights
    safetensors.py      reads weights without torch
    bert_graph.py       weights -> ONNX graph
    convert.py          converts once, caches
    int8.py             ... and quantizes, with the cosine that is left
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sage.libs.embedding.batch_embedder import BatchEmbedder
    from sage.libs.embedding.embedder import (
        DEFAULT_MODEL,
        Embedder,
        TokenEmbedder,
        load_embedder,
    )
    from sage.libs.embedding.gpu_embedder import GpuEmbedder
    from sage.libs.embedding.mock import MockTextEmbedder
    from sage.libs.embedding.onnx_bert import OnnxEmbedder
    from sage.libs.embedding.openai import OpenAIEmbedder
    from sage.libs.embedding.openvino_bert import OpenVinoEmbedder
    from sage.libs.embedding.sentence_transformer import SentenceTransformerEmbedder
    from sage.libs.embedding.tokenizer import load_tokenizer
    from sage.libs.embedding.weights import MissingWeightsError

__all__ = [
    "DEFAULT_MODEL",
    "BatchEmbedder",
    "Embedder",
    "GpuEmbedder",
    "MissingWeightsError",
    "MockTextEmbedder",
    "OnnxEmbedder",
    "OpenAIEmbedder",
    "OpenVinoEmbedder",
    "SentenceTransformerEmbedder",
    "TokenEmbedder",
    "load_embedder",
    "load_tokenizer",
]

_HOME = {
    "BatchEmbedder": "batch_embedder",
    "DEFAULT_MODEL": "embedder",
    "Embedder": "embedder",
    "GpuEmbedder": "gpu_embedder",
    "MissingWeightsError": "weights",
    "MockTextEmbedder": "mock",
    "OnnxEmbedder": "onnx_bert",
    "OpenAIEmbedder": "openai",
    "OpenVinoEmbedder": "openvino_bert",
    "SentenceTransformerEmbedder": "sentence_transformer",
    "TokenEmbedder": "embedder",
    "load_embedder": "embedder",
    "load_tokenizer": "tokenizer",
}


def __getattr__(name: str) -> Any:
    """Import a re-export on first use: numpy and the rest load only when they are needed."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
