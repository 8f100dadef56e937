"""How texts are put into batches."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sage.libs.embedding.token_batches import batches


@given(st.lists(st.integers(1, 300), max_size=60), st.integers(1, 1000))
def test_batches(lengths: list[int], budget: int) -> None:
    """Batches hold every text once, longest first, keep the budget unless alone, and pad little."""
    made = list(batches(lengths, budget))
    assert sorted(row for batch in made for row in batch) == list(range(len(lengths)))
    assert [lengths[row] for batch in made for row in batch] == sorted(lengths, reverse=True)
    for batch in made:
        longest = max(lengths[row] for row in batch)
        assert len(batch) == 1 or len(batch) * longest <= budget
        assert sum(longest - lengths[row] for row in batch) <= 8
