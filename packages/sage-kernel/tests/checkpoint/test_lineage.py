"""What counts as history."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sage.kernel.checkpoint.lineage import Lineage


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9)), max_size=12))
def test_a_checkpoint_counts_if_every_later_run_goes_on_behind_it(
    starts: list[tuple[int, int]],
) -> None:
    """The lineage that is kept says the same as the list of all starts."""
    epoch, lineage, forks = 1, Lineage(), []
    for step, origin in starts:
        epoch += step
        lineage = lineage.forked(epoch, origin)
        forks.append((epoch, origin))
    for candidate in range(1, epoch + 2):
        for checkpoint in range(11):
            expected = all(checkpoint <= origin for later, origin in forks if later > candidate)
            assert lineage.includes(epoch=candidate, checkpoint=checkpoint) == expected


def test_it_stays_small() -> None:
    """A job that is started again for years does not drag every start along."""
    lineage = Lineage()
    for epoch in range(1, 2000):
        lineage = lineage.forked(epoch, epoch * 10)
    assert len(lineage.forks) <= 256
    assert not lineage.includes(epoch=1, checkpoint=20000)
    assert lineage.includes(epoch=1998, checkpoint=19990)
