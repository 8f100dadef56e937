"""What an operator puts into a snapshot comes back with exactly its types, in every form."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sage.kernel.checkpoint.operator_state import (
    CHUNK,
    Chunk,
    OperatorState,
    RestoredState,
    chunks_of,
)
from sage.kernel.errors import StateMismatchError
from sage.kernel.state.codec import StateCodec

PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
PLAIN |= st.binary(max_size=3)
TUPLES = st.integers(0, 3).flatmap(lambda n: st.lists(st.tuples(*[PLAIN] * n), max_size=5))
VALUES = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=3) | st.lists(inner, max_size=3).map(tuple)
)


@settings(max_examples=150, deadline=None)
@given(TUPLES | st.lists(VALUES, max_size=5))
def test_values_come_back_as_they_were(values: list[Any]) -> None:
    """Pairs, items and whole values are equal to what was put in, down to the types in them."""
    state, keys = OperatorState(StateCodec()), list(range(len(values)))
    state.put_keyed("now", keys, values)
    state.put_lazily("later", [Chunk(keys, values)])
    state.put_listed("items", values)
    state.put_whole("one", values)
    restored = RestoredState.of(state)
    for name in ("now", "later"):
        assert repr(list(restored.keyed(name))) == repr(list(enumerate(values)))
    assert repr(restored.listed("items")) == repr(values)
    assert repr(restored.whole("one")) == repr([values])


def test_what_is_put_in_now_does_not_change_any_more() -> None:
    """Lists that are changed behind the call that put them in come back as they were then."""
    state, value = OperatorState(StateCodec()), [1, [2]]
    state.put_keyed("k", ["a"], [value])
    state.put_listed("l", [value])
    state.put_whole("w", value)
    value[1].append(3)
    value.append(4)
    restored = RestoredState.of(state)
    assert list(restored.keyed("k")) == [("a", [1, [2]])]
    assert restored.listed("l") == restored.whole("w") == [[1, [2]]]


def test_large_state_is_encoded_piece_by_piece() -> None:
    """No section holds more pairs than are encoded at a time."""
    state, pairs = OperatorState(StateCodec()), [(n, (n, str(n))) for n in range(2 * CHUNK + 5)]
    state.put_lazily("lazy", chunks_of(pairs))
    state.put_keyed("now", *zip(*pairs, strict=True))
    sections = list(state.sections())
    sizes = [len(StateCodec().decode(section.payload)[1]) for section in sections]
    assert sizes == [CHUNK, CHUNK, 5] * 2
    restored = RestoredState(StateCodec(), parts=[sections])
    assert list(restored.keyed("lazy")) == list(restored.keyed("now")) == pairs


def test_what_nobody_asks_for_is_refused_by_its_name() -> None:
    """State is never forgotten silently; what the engine puts in for itself is its own affair."""
    state = OperatorState(StateCodec())
    state.put_whole("#counts", {"received": 1})
    state.put_keyed("windows", ["a"], [1])
    restored = RestoredState.of(state)
    with pytest.raises(StateMismatchError, match=r"operator 'fold' has state .* 'windows'"):
        restored.refuse_leftovers("fold")
    assert list(restored.keyed("windows")) == [("a", 1)]
    restored.refuse_leftovers("fold")
