"""The embedding rows run, tiny, and a contestant with other vectors is found out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sage.benchmark.embed import SUITE
from sage.benchmark.row import Request, Role
from sage.benchmark.worker import load
from sage.benchmark.workloads import embed_contestants, embed_rows
from sage.libs.embedding import load_tokenizer


def request(contestant: str) -> Request:
    """Return a request for next to no work."""
    return Request(
        measure="",
        contestant=contestant,
        size=2,
        verify=True,
        scratch="",
        spawned_at=0.0,
        parameters={},
    )


@pytest.mark.slow
@pytest.mark.parametrize("key", ["E1", "E2", "E3", "E4", "E5"])
def test_the_rows_run(key: str) -> None:
    """Each row measures every figure that the report shows, for SAGE as for the others."""
    (row,) = SUITE.select([key])
    contestant = next(c for c in row.contestants if c.role is Role.SAGE)
    sample = load(row.measure)(load(contestant.target), request(contestant.target))
    assert {figure.key for figure in row.figures} <= set(sample)
    for other in row.contestants:
        assert callable(load(other.target))


def test_mixed_texts_have_mixed_lengths() -> None:
    """From ten tokens to two hundred and fifty, half of them under sixty."""
    lengths = [len(e) for e in load_tokenizer().encode_batch(embed_rows.mixed(200))]
    assert min(lengths) < 15
    assert 200 < max(lengths) < 290
    assert 40 < np.median(lengths) < 65


def test_other_vectors_are_found_out() -> None:
    """Whoever is fast because it computes something else fails, unless it is labelled lossy."""

    def sloppy() -> Any:
        embed = embed_contestants.one_by_one()
        return lambda texts: embed([text[:50] for text in texts])

    with pytest.raises(ValueError, match="cosine"):
        embed_rows.measure_sixty(sloppy, request("sloppy"))
