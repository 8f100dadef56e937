"""Server-sent events: how the bytes are cut never changes what they say."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage.libs.endpoint.sse import SseDecoder

STREAM = (
    "\ufeffdata: eins\n\n"
    ": a comment\nevent: delta\ndata: zwei ü 字\r\n\r\n"
    "data: two\ndata:lines\n\n\n"
    "id: 7\n\n"
    "data: [DONE]"
).encode()
EVENTS = ["eins", "zwei ü 字", "two\nlines", "[DONE]"]


@given(st.lists(st.integers(0, len(STREAM)), max_size=30))
def test_cuts_do_not_matter(cuts: list[int]) -> None:
    """Fed in any pieces, in the middle of a character too, the same events come out."""
    decoder = SseDecoder()
    edges = [0, *sorted(cuts), len(STREAM)]
    events = [e for a, b in itertools.pairwise(edges) for e in decoder.feed(STREAM[a:b])]
    assert events + decoder.finish() == EVENTS


def test_an_event_comes_out_with_its_last_byte() -> None:
    """Nothing is held back until a next event."""
    decoder = SseDecoder()
    assert decoder.feed(b"data: a\n") == []
    assert decoder.feed(b"\n") == ["a"]


def test_bytes_that_are_no_text_are_refused() -> None:
    """Broken UTF-8 is an error, not a replacement character in the answer."""
    with pytest.raises(ValueError, match="utf-8"):
        SseDecoder().feed(b"data: \xff\n")


def test_an_endless_event_is_refused() -> None:
    """A server that never ends its event cannot fill the memory."""
    decoder = SseDecoder(max_bytes=100)
    with pytest.raises(ValueError, match="more than 100 bytes"):
        _ = [decoder.feed(b"data: aaaa\n") for _ in range(20)]
    with pytest.raises(ValueError, match="more than 100 bytes"):
        SseDecoder(max_bytes=100).feed(b"d" * 101)
