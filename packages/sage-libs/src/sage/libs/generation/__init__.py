"""Generators: what turns a prompt with numbered passages into an answer with citations.

`ExtractiveGenerator` needs nothing but the embedder and quotes; `OpenAIGenerator` asks any
OpenAI-compatible endpoint. Neither knows streams: ``sage.middleware.operators.rag`` puts them on
one. Retrieval is not here either.

Layout:
    generator   the protocol
    extractive  quotes the sentences that answer
    openai      an endpoint that speaks the OpenAI chat protocol (`sage.libs.endpoint`)
    prompts     templates, the numbered context, its token budget
    quotable, sentence_ranking   the two halves of the extractive generator
    citations   checks ``[1]`` against the passages
    testing     a fake endpoint; conformance: what every generator must do, as tests
"""

from __future__ import annotations

from sage.libs.generation.citations import CheckedText, check_citations, cited_numbers
from sage.libs.generation.extractive import ExtractiveGenerator
from sage.libs.generation.generator import Generator
from sage.libs.generation.openai import OpenAIGenerator
from sage.libs.generation.prompts import Template

__all__ = [
    "CheckedText",
    "ExtractiveGenerator",
    "Generator",
    "OpenAIGenerator",
    "Template",
    "check_citations",
    "cited_numbers",
]
