"""The clock and the digests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sage.benchmark.measuring import digest, timed

records = st.lists(st.integers() | st.text() | st.tuples(st.text(), st.integers()))


@given(records, st.randoms())
def test_a_digest_does_not_depend_on_order(values: list[Any], random: Any) -> None:
    """Contestants that promise no order are compared all the same."""
    shuffled = list(values)
    random.shuffle(shuffled)
    assert digest(values) == digest(shuffled)


@given(records, st.integers())
def test_a_digest_notices_a_record_too_many_and_a_wrong_one(values: list[Any], more: int) -> None:
    """Output with one record more, or another one, has another digest."""
    assert digest([*values, more]) != digest(values)
    assert digest([*values, more]) != digest([*values, more + 1])


def test_the_warm_up_gets_a_small_part_and_the_output_is_of_the_whole() -> None:
    """A contestant is called twice: with the warm-up's records, then with all of them."""
    seen: list[int] = []

    def pipeline(values: Sequence[int]) -> Sequence[int]:
        seen.append(len(values))
        return values

    sample, output = timed(pipeline, list(range(100)), 7)
    assert seen == [7, 100]
    assert len(output) == 100
    assert sample["m_records_per_s"] > 0
