"""Redis streams as a source: replayed from any position, and never silent about what is gone."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sage.common.errors import ConfigError, DataError, UnreachableError
from sage.kernel import LocalEnvironment
from sage.libs.io.conformance import FakeContext
from sage.libs.io.sources import RedisStreamSource


@pytest.fixture
def make(redis_url: str) -> Iterator[Any]:
    """Makes sources that are closed at the end."""
    made = []

    def make(stream: Any = "s", subtask: int = 0, parallelism: int = 1, **options: Any) -> Any:
        source = RedisStreamSource(stream, url=redis_url, **{"poll_timeout_s": 0.001, **options})
        source.open(FakeContext(subtask, parallelism))
        made.append(source)
        return source

    yield make
    for source in made:
        source.close()


def fill(client: Any, stream: str, *numbers: int) -> list[str]:
    return [client.xadd(stream, {"json": str(n)}).decode() for n in numbers]


def read_all(source: RedisStreamSource, most: int = 3) -> list[Any]:
    records = []
    while (read := source.read(most)) is not None:
        assert len(read) <= most
        records += read
    return records


@contextmanager
def lost(match: str) -> Iterator[None]:
    with pytest.raises(DataError, match=match) as caught:
        yield
    assert "fresh=True" in str(caught.value)


def test_entries_are_read_in_their_order(redis_client: Any, make: Any) -> None:
    """A bounded source gives what was there when it began, and ends."""
    fill(redis_client, "s", *range(10))
    source = make(bounded=True)
    assert source.read(4) == [0, 1, 2, 3]
    fill(redis_client, "s", 10)
    assert read_all(source) == [4, 5, 6, 7, 8, 9]
    assert read_all(make("nothing", bounded=True)) == []


def test_an_unbounded_source_waits_for_more(redis_client: Any, make: Any) -> None:
    """It gives an empty list while there is nothing, and wakes when something comes."""
    source = make(poll_timeout_s=0.5)
    fill(redis_client, "s", 1)
    assert source.read(5) == [1]
    added = threading.Thread(target=fill, args=(redis_client, "s", 2))
    added.start()
    got: list[Any] = []
    while not got:
        got = source.read(5)
    added.join()
    assert got == [2]


def test_newest_begins_with_what_comes(redis_client: Any, make: Any) -> None:
    """Entries that were there before are left out, and only those."""
    fill(redis_client, "s", 1, 2)
    source = make(start="newest")
    assert source.snapshot_position()
    fill(redis_client, "s", 3)
    assert source.read(5) == [3]


def test_whole_entries_are_mappings_of_text(redis_client: Any, make: Any) -> None:
    """Without a field, entries of any producer are read as they are."""
    redis_client.xadd("s", {"name": "Noether", "born": 1882})
    assert make(field=None).read(5) == [{"name": "Noether", "born": "1882"}]


@given(data=st.data())
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_source_goes_on_from_any_position(redis_client: Any, make: Any, data: Any) -> None:
    """A prefix read by one source and the rest by another are what one would have read."""
    redis_client.flushall()
    streams = [f"s{n}" for n in range(data.draw(st.integers(1, 3)))]
    for n in range(data.draw(st.integers(0, 12))):
        fill(redis_client, data.draw(st.sampled_from(streams)), n)
    source = make(streams, bounded=True)
    got = []
    for _ in range(data.draw(st.integers(0, 4))):
        got += source.read(data.draw(st.integers(1, 4))) or []
    position = source.snapshot_position()
    read_all(source)
    fill(redis_client, streams[0], 99)  # behind what the job is to read
    again = make(streams, bounded=True)
    again.seek(position)
    got += read_all(again)
    expected = read_all(make(streams, bounded=True))
    assert sorted([*got, 99]) == sorted(expected)


def test_subtasks_share_the_streams(redis_client: Any, make: Any) -> None:
    """Each stream is read by one subtask; one that has none ends, or waits."""
    for n, stream in enumerate("abc"):
        fill(redis_client, stream, n)
    parts = [read_all(make(list("abc"), s, 2, bounded=True)) for s in range(2)]
    assert parts == [[0, 2], [1]]
    assert make("a", 1, 2, bounded=True).read(5) is None
    assert make("a", 1, 2).read(5) == []


@pytest.mark.parametrize("kept", [0, 1])
def test_what_was_trimmed_before_it_was_read_is_told(
    redis_client: Any, make: Any, kept: int
) -> None:
    """The error has the number of lost entries and the place, on going on and while reading."""
    ids = fill(redis_client, "s", *range(6))
    source = make()
    assert source.read(2) == [0, 1]
    position = source.snapshot_position()
    redis_client.xtrim("s", maxlen=kept, approximate=False)
    told = rf"'s' was read up to {ids[1]}, and {4 - kept} entries added after {ids[1]}"
    if kept:
        told += f" and before {ids[5]} are gone"
    with lost(told):
        source.read(2)
    again = make()
    again.seek(position)
    with lost(told):
        again.read(2)


def test_what_was_trimmed_after_it_was_read_is_not_missed(redis_client: Any, make: Any) -> None:
    """Trimming exactly what was read, or what was there before the job, loses nothing."""
    fill(redis_client, "s", *range(6))
    redis_client.xtrim("s", maxlen=4, approximate=False)
    source = make()
    assert source.read(2) == [2, 3]
    redis_client.xtrim("s", maxlen=2, approximate=False)
    assert source.read(1) == [4]
    again = make()
    again.seek(source.snapshot_position())
    assert again.read(5) == [5]
    redis_client.xtrim("s", maxlen=0, approximate=False)
    fill(redis_client, "s", 6)
    assert again.read(5) == [6]


@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["add", "read", "trim", "restore"]), st.integers(1, 4)),
        max_size=14,
    )
)
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_nothing_is_lost_in_silence(
    redis_client: Any, make: Any, steps: list[tuple[str, int]]
) -> None:
    """Whoever adds, trims and restores: a reader sees every number in order, or an error."""
    redis_client.flushall()
    source, added, got = make(), 0, []
    position, got_then = source.snapshot_position(), 0
    for step, count in [*steps, ("read", 99)]:
        if step == "add":
            fill(redis_client, "s", *range(added, added + count))
            added += count
        elif step == "trim":
            redis_client.xtrim("s", maxlen=count - 1, approximate=False)
        elif step == "restore":
            source = make()
            source.seek(position)
            del got[got_then:]
        else:
            kept = [int(f[b"json"]) for _, f in redis_client.xrange("s")]
            is_lost = len(got) < (kept[0] if kept else added)
            if is_lost:
                with lost("are gone"):
                    source.read(count)
                return
            got += source.read(count)
            if count % 2:
                position, got_then = source.snapshot_position(), len(got)
        assert got == list(range(len(got)))
    assert got == list(range(added))


def test_a_deleted_entry_and_a_deleted_stream_are_told(redis_client: Any, make: Any) -> None:
    """What was taken out by name behind the position is missed too, and so is a whole stream."""
    ids = fill(redis_client, "s", *range(4))
    source = make()
    source.read(1)
    redis_client.xdel("s", ids[2])
    with lost(f"the entry {ids[2]} has been deleted"):
        source.read(1)
    redis_client.delete("s")
    with lost("the stream itself has been deleted"):
        source.read(1)
    fill(redis_client, "s", 7)
    with lost("deleted"):
        source.read(1)


def test_a_bounded_source_does_not_wait_for_what_was_deleted(redis_client: Any, make: Any) -> None:
    """If its last entry is gone it says so and does not wait for ever."""
    ids = fill(redis_client, "s", 0, 1, 2)
    redis_client.xdel("s", ids[1])
    source = make(bounded=True)
    assert source.read(1) == [0]
    redis_client.xdel("s", ids[2])
    with lost("deleted"):
        source.read(1)


def test_other_streams_than_before_are_told(redis_client: Any, make: Any) -> None:
    """A stream may be added; one that is no longer read would be forgotten in silence."""
    fill(redis_client, "a", 1, 2)
    fill(redis_client, "b", 3)
    source = make("a")
    source.read(1)
    both = make(["a", "b"], bounded=True)
    both.seek(source.snapshot_position())
    assert sorted(read_all(both)) == [2, 3]
    with pytest.raises(DataError, match=r"position is in the streams 'a', and 'b' are read now"):
        make("b").seek(source.snapshot_position())


def test_what_is_no_record_is_named(redis_client: Any, make: Any) -> None:
    """An entry of another producer, and a key that is no stream."""
    entry = redis_client.xadd("s", {"a": b"\xff", "b": 1}).decode()
    with pytest.raises(
        DataError, match=rf"entry {entry} .*'s' has no field 'json', it has 'a', 'b'"
    ):
        make().read(1)
    with pytest.raises(DataError, match="is not UTF-8"):
        make(field=None).read(1)
    with pytest.raises(DataError, match="is not JSON in 'a'"):
        make(field="a").read(1)
    redis_client.set("text", 1)
    with pytest.raises(DataError, match=r"'text' in Redis at unix://.* cannot be read as a stream"):
        make("text").read(1)


def test_a_server_that_is_not_there_is_named_without_its_password(redis_url: str) -> None:
    """The error says where it was looked for, and keeps the secret."""
    source = RedisStreamSource("s", url="redis://me:secret@127.0.0.1:1/0")
    with pytest.raises(UnreachableError, match="cannot reach Redis at redis://127") as caught:
        source.open(None)
    assert "secret" not in str(caught.value)
    with pytest.raises(ConfigError, match="got 'http://here'"):
        RedisStreamSource("s", url="http://here").open(None)


def test_without_the_library_it_says_what_to_install() -> None:
    """Importing and building need nothing; opening names the extra."""
    script = (
        "import sys; sys.modules['redis'] = None\n"
        "from sage.libs.io.sink import RedisStreamSink\n"
        "from sage.libs.io.sources import RedisStreamSource\n"
        "for each in (RedisStreamSource('s'), RedisStreamSink('s')):\n"
        "    try: each.open(None)\n"
        "    except Exception as error: print(error.hint)\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert ended.stdout.splitlines() == ["pip install 'isage-libs[redis]'"] * 2, ended.stderr


def test_a_pipeline_reads_a_stream(redis_client: Any, redis_url: str) -> None:
    """The engine drives it: bounded it ends, unbounded it can be stopped."""
    fill(redis_client, "s", *range(100))
    env = LocalEnvironment()
    stream = env.from_source(RedisStreamSource, stream="s", url=redis_url, bounded=True)
    assert stream.map(lambda n: n + 1).collect() == list(range(1, 101))
