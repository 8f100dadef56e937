"""Our generators keep the promises that any generator makes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sage.libs.generation.conformance import GeneratorConformance
from sage.libs.generation.extractive import ExtractiveGenerator
from sage.libs.generation.openai import OpenAIGenerator
from sage.libs.generation.testing import FakeOpenAIServer


class TestExtractiveGenerator(GeneratorConformance):
    """The one that quotes."""

    @pytest.fixture
    def generator(self) -> ExtractiveGenerator:
        return ExtractiveGenerator(model="mock:256")


class TestOpenAIGenerator(GeneratorConformance):
    """The one that asks an endpoint, which cites one passage too many."""

    @pytest.fixture
    def generator(self) -> Iterator[OpenAIGenerator]:
        with (
            FakeOpenAIServer(["At 100 [1], they say [2][3]."]) as server,
            OpenAIGenerator(model="m", base_url=server.base_url) as generator,
        ):
            yield generator
