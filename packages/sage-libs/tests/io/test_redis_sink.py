"""Redis streams as a sink: each record exactly once, whatever is killed and whatever is lost."""

from __future__ import annotations

import json
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from sage.common.errors import DataError, SageError, StorageError
from sage.kernel import LocalEnvironment
from sage.libs.io.conformance import CheckpointedJob, TransactionalSinkConformance, opened
from sage.libs.io.sink import RedisStreamSink


def numbers(client: Any, stream: str = "out") -> list[int]:
    return [json.loads(fields[b"json"])["n"] for _, fields in client.xrange(stream)]


class TestRedisStreamSink(TransactionalSinkConformance):
    """What every transactional sink promises."""

    @pytest.fixture(autouse=True)
    def _on_a_server(self, redis_url: str, redis_client: Any) -> None:
        self.url, self.client = redis_url, redis_client

    def make_sink(self, place: str) -> RedisStreamSink:
        return RedisStreamSink(place, url=self.url)

    def committed(self, place: str) -> list[int]:
        return numbers(self.client, place)

    def abandon(self, sink: RedisStreamSink) -> None:
        sink.close()


class FakeNetwork:
    """Stands between a client and the server, and cuts connections.

    Args:
        server: The server's socket.
        fate: Called with the number of each request, from 0; "reply" lets it pass, "no reply" lets
            the server do it and cuts the connection before the reply, "nothing" cuts it before.
    """

    def __init__(self, server: str, path: Path, fate: Callable[[int], str]) -> None:
        self._server, self._fate = server, fate
        self.requests = 0
        self._lock = threading.Lock()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self.url = f"unix://{path}"
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                thread = threading.Thread(target=self._serve, args=(client,))
                self._threads.append(thread)
                thread.start()

    def _serve(self, client: socket.socket) -> None:
        """Pass bytes on; the first that come behind a reply begin another request."""
        with client, socket.socket(socket.AF_UNIX) as server:
            server.connect(self._server)
            fate = ""
            while True:
                for ready in select.select([client, server], [], [])[0]:
                    if not (data := ready.recv(1 << 20)):
                        return
                    if ready is server:
                        if fate == "no reply":
                            return
                        client.sendall(data)
                        fate = ""
                        continue
                    fate = fate or self._next_fate()
                    if fate == "nothing":
                        return
                    server.sendall(data)

    def _next_fate(self) -> str:
        with self._lock:
            self.requests += 1
            return self._fate(self.requests - 1)


@contextmanager
def network(redis_url: str, fate: Callable[[int], str]) -> Iterator[FakeNetwork]:
    with tempfile.TemporaryDirectory(prefix="net-") as folder:
        server = redis_url.removeprefix("unix://")
        with closing(FakeNetwork(server, Path(folder, "socket"), fate)) as made:
            yield made


def job_at(url: str) -> CheckpointedJob:
    return CheckpointedJob(lambda: RedisStreamSink("out", url=url), abandon=lambda s: s.close())


def test_a_lost_reply_doubles_nothing(redis_url: str, redis_client: Any) -> None:
    """Where the server did it and the reply was lost, doing it again changes nothing."""
    with network(redis_url, lambda n: "no reply" if n % 4 == 3 else "reply") as flaky:
        job_at(flaky.url).run(2)
        assert flaky.requests > 20
    assert sorted(numbers(redis_client)) == list(range(10))


@pytest.mark.slow
@pytest.mark.parametrize("how", ["nothing", "no reply"])
def test_each_record_is_there_once_wherever_the_network_ends(
    redis_url: str, redis_client: Any, how: str
) -> None:
    """Cut off for good at any request, done or not, a job that is run again completes it."""
    with network(redis_url, lambda n: "reply") as whole:
        job_at(whole.url).run()
        requests = whole.requests
    for cut in range(requests):
        redis_client.flushall()
        job = job_at("")
        fate = lambda n, cut=cut: "reply" if n < cut else how if n == cut else "nothing"  # noqa: E731
        with network(redis_url, fate) as broken, suppress(SageError):
            job.make_sink = lambda url=broken.url: RedisStreamSink("out", url=url)
            job.run()
        assert max(numbers(redis_client), default=-1) < job.position
        job.make_sink = lambda: RedisStreamSink("out", url=redis_url)
        job.run(1 + cut % 3)
        assert sorted(numbers(redis_client)) == list(range(10)), f"cut at {cut}"


SCRIPT = """
import os, signal, sys
from sage.kernel import LocalEnvironment
from sage.kernel.checkpoint import steps
from sage.libs.io.sink import RedisStreamSink
from sage.libs.io.sources import RedisStreamSource

url, top, name, left = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])

def reached(step):
    global left
    left -= step == name
    if step == name and left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

steps.watch(reached)
tolerance = {"checkpoint_dir": top, "checkpoint_interval": 0.01, "lease_s": 1}
env = LocalEnvironment("copy", config={"fault_tolerance": tolerance, "batch_size": 20})
given = env.from_source(RedisStreamSource, stream=["a", "b"], url=url, bounded=True)
given.rebalance().map(dict, parallelism=2).sink(RedisStreamSink, "out", url=url, parallelism=2)
env.execute()
"""


@pytest.mark.slow
def test_a_job_that_is_killed_again_and_again_copies_each_entry_once(
    redis_url: str, redis_client: Any, tmp_path: Path
) -> None:
    """With the engine, killed around commits and in recovery: what one reads, all write once."""
    given = redis_client.pipeline(transaction=False)
    for n in range(6000):
        given.xadd("ab"[n % 2], {"json": json.dumps({"n": n})})
    given.execute()
    killed = 0
    for step, times in [
        ("sink.prepare.after", 3),
        ("manifest.after", 2),
        ("sink.commit.before", 2),
        ("recovery.commit.after", 1),
        ("recovery.abort.before", 2),
        ("sink.commit.after", 2),
        ("none", 1),
    ]:
        command = [sys.executable, "-c", SCRIPT, redis_url, str(tmp_path), step, str(times)]
        ended = subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=120)
        assert ended.returncode in (0, -signal.SIGKILL), ended.stderr
        killed += ended.returncode != 0
        seen = numbers(redis_client)
        assert len(seen) == len(set(seen)), step
    assert killed >= 4
    assert sorted(numbers(redis_client)) == list(range(6000))


def test_nothing_is_left_beside_the_stream(redis_url: str, redis_client: Any) -> None:
    """When all is committed only the notes of what was committed stay."""
    job_at(redis_url).run(2)
    staged = [key for key in redis_client.keys("*") if redis_client.type(key) == b"list"]
    assert all(b":written:" in key for key in staged)
    assert redis_client.hgetall("{out}:sage:sink-1:staged") == {}


def test_large_epochs_are_moved_in_their_order(redis_url: str, redis_client: Any) -> None:
    """An epoch of more records than are staged or moved at once comes whole and in order."""
    sink = opened(RedisStreamSink("out", url=redis_url))
    sink.begin(1)
    for n in range(2503):
        sink.write({"n": n})
    sink.prepare(1)
    sink.commit(1)
    sink.close()
    assert numbers(redis_client) == list(range(2503))
    assert opened(RedisStreamSink("out", url=redis_url)).start_over() is None
    assert numbers(redis_client) == []


def test_a_move_that_was_interrupted_goes_on(redis_url: str, redis_client: Any) -> None:
    """Killed between two parts of a large commit, it is completed by whoever comes."""
    dead = opened(RedisStreamSink("out", url=redis_url))
    dead.begin(1)
    for n in range(2503):
        dead.write({"n": n})
    dead.prepare(1)
    dead.close()

    def fate(_: int) -> str:
        return "nothing" if redis_client.xlen("out") else "reply"

    with (
        network(redis_url, fate) as broken,
        closing(opened(RedisStreamSink("out", url=broken.url))) as cut,
        pytest.raises(StorageError, match="cannot write to the stream 'out'"),
    ):
        cut.commit(1)
    assert 0 < len(numbers(redis_client)) < 2503
    sink = opened(RedisStreamSink("out", url=redis_url))
    sink.commit(1)
    sink.close()
    assert numbers(redis_client) == list(range(2503))


def test_what_others_wrote_is_left_alone(redis_url: str, redis_client: Any) -> None:
    """Starting over removes this sink's entries from among those of others."""
    redis_client.xadd("out", {"json": '{"n": 100}'})
    job = job_at(redis_url)
    job.run()
    redis_client.xadd("out", {"json": '{"n": 101}'})
    other = opened(RedisStreamSink("out", url=redis_url, owner="other"))
    other.begin(1)
    other.write({"n": 102})
    other.prepare(1)
    opened(RedisStreamSink("out", url=redis_url)).start_over()
    other.commit(1)
    assert numbers(redis_client) == [100, 101, 102]


def test_two_processes_that_stage_the_same_are_told(redis_url: str, redis_client: Any) -> None:
    """What one staged is never mixed with what the other did."""
    sinks = [opened(RedisStreamSink("out", url=redis_url)) for _ in range(2)]
    for sink in sinks:
        sink.begin(1)
        sink.write({"n": 1})
    sinks[0].prepare(1)
    sinks[1].write({"n": 2})
    with pytest.raises(StorageError, match="another process does the same"):
        sinks[1].prepare(1)
    sinks[0].commit(1)
    assert numbers(redis_client) == [1]


def test_a_server_that_lost_what_was_prepared_is_told(redis_url: str, redis_client: Any) -> None:
    """A server that came back empty does not make a commit of nothing look like one."""
    sink = opened(RedisStreamSink("out", url=redis_url))
    sink.begin(1)
    sink.write({"n": 1})
    sink.prepare(1)
    redis_client.flushall()
    with pytest.raises(StorageError, match=r"has lost what was prepared(.|\n)*appendonly yes"):
        sink.commit(1)


def test_the_stream_keeps_about_so_many(redis_url: str, redis_client: Any) -> None:
    """``max_entries`` trims, and the notes of what is gone are trimmed with it."""
    sink = opened(RedisStreamSink("out", url=redis_url, max_entries=100))
    for epoch in range(1, 30):
        sink.begin(epoch)
        for n in range(100):
            sink.write({"n": n})
        sink.prepare(epoch)
        sink.commit(epoch)
    assert 100 <= redis_client.xlen("out") <= 300
    assert redis_client.llen("{out}:sage:sink-1:written:0") < 2 * 8


def test_without_checkpoints_a_record_is_there_at_once(redis_url: str, redis_client: Any) -> None:
    """Each record is added as it comes; fields of a mapping if so asked."""
    env = LocalEnvironment()
    records = [{"n": n} for n in range(5)]
    env.from_collection(records).sink(RedisStreamSink, stream="out", url=redis_url)
    env.execute()
    assert numbers(redis_client) == list(range(5))
    sink = RedisStreamSink("rows", url=redis_url, field=None)
    sink.write({"name": "Noether", "born": 1882})
    [(_, fields)] = redis_client.xrange("rows")
    assert fields == {b"name": b"Noether", b"born": b"1882"}
    with pytest.raises(DataError, match="field 'born' of an entry is text or a number, got None"):
        sink.write({"born": None})
    with pytest.raises(DataError, match="from a mapping with items, got int"):
        sink.write(3)
    sink.close()


def test_writing_outside_an_epoch_is_refused(redis_url: str) -> None:
    """A record between prepare and begin would belong to no checkpoint."""
    with pytest.raises(StorageError, match="between two epochs"):
        opened(RedisStreamSink("out", url=redis_url)).write({"n": 1})
    with pytest.raises(StorageError, match="opened without checkpoints"):
        opened(RedisStreamSink("out", url=redis_url), mode=None).begin(1)
