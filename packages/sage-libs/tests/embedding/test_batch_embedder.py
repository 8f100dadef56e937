"""The embedder of an event loop: shared batches, a cache, errors that reach whom they concern."""

from __future__ import annotations

import asyncio
import logging
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from sage.common.errors import ConfigError, DataError
from sage.libs.embedding import BatchEmbedder, MockTextEmbedder
from sage.libs.embedding.testing import TEXTS

WAIT_S = 30.0
EXPECTED = MockTextEmbedder()


class Model:
    """A model that notes its batches, fails where told to, and can be held."""

    def __init__(self, fails_on: str = "") -> None:
        self.batches: list[list[str]] = []
        self.threads: set[int] = set()
        self.fails_on = fails_on
        self.entered, self.released = threading.Event(), threading.Event()
        self.released.set()

    def encode(self, texts: list[str]) -> Any:
        self.batches.append(texts)
        self.threads.add(threading.get_ident())
        self.entered.set()
        assert self.released.wait(WAIT_S)
        if self.fails_on and self.fails_on in texts:
            raise ValueError(f"cannot embed {self.fails_on!r}")
        return EXPECTED.embed(texts)

    def hold(self) -> None:
        self.released.clear()
        self.entered.clear()


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop run until something has come about."""
    async with asyncio.timeout(WAIT_S):
        while not condition():
            await asyncio.sleep(0)


def test_a_list_is_embedded_in_batches_and_in_order() -> None:
    """Rows are those of the model, in the order of the texts; equal texts are embedded once."""
    model = Model()
    embedder = BatchEmbedder(model, batch_size=3, cache_size=100)
    rows = asyncio.run(embedder.embed_batch(TEXTS))
    np.testing.assert_array_equal(rows, EXPECTED.embed(TEXTS))
    assert [len(batch) for batch in model.batches] == [3, 3, 1]
    rows[:] = 0  # the caller's own
    np.testing.assert_array_equal(asyncio.run(embedder.embed_batch(TEXTS)), EXPECTED.embed(TEXTS))
    assert len(model.batches) == 3


def test_any_embedder_or_encoder_will_do() -> None:
    """What has ``embed`` or ``encode`` is a model; nothing else is, and options are checked."""
    one, other = BatchEmbedder(EXPECTED), BatchEmbedder(Model())
    assert asyncio.run(one.embed_text("a")) == pytest.approx(asyncio.run(other.embed_text("a")))
    assert asyncio.run(one.embed_batch([])).shape == (0, 16)
    with pytest.raises(ConfigError, match=r"expected an embedder or an object with encode\(\)"):
        BatchEmbedder(object())
    with pytest.raises(ConfigError, match=r"\$\.batch_size"):
        BatchEmbedder(EXPECTED, batch_size=0)


def test_texts_that_come_together_share_a_batch() -> None:
    """What comes while a batch is computed is the next batch, up to its size."""
    model = Model()

    async def run() -> None:
        embedder = BatchEmbedder(model, batch_size=4, linger_ms=0)
        await embedder.start_background_processor()
        await embedder.start_background_processor()  # no second one
        model.hold()
        first = asyncio.create_task(embedder.embed_text("first"))
        await until(model.entered.is_set)
        others = [asyncio.create_task(embedder.embed_text(f"t{n}")) for n in range(10)]
        await until(lambda: embedder.get_stats()["queue_length"] == 10)
        model.released.set()
        vectors = await asyncio.gather(first, *others)
        expected = EXPECTED.embed(["first", *(f"t{n}" for n in range(10))])
        np.testing.assert_array_equal(vectors, expected)
        await embedder.stop_background_processor()

    asyncio.run(run())
    assert [len(batch) for batch in model.batches] == [1, 4, 4, 2]


def test_a_batch_waits_for_texts_to_fill_it() -> None:
    """Texts that come within the linger time of the first one go with it, without more waiting."""
    model = Model()

    async def run() -> None:
        embedder = BatchEmbedder(model, batch_size=3, linger_ms=WAIT_S * 1000)
        await embedder.start_background_processor()
        tasks = []
        for text in "abc":
            tasks.append(asyncio.create_task(embedder.embed_text(text)))
            await asyncio.sleep(0)
        await asyncio.gather(*tasks)
        await embedder.stop_background_processor()

    asyncio.run(run())
    assert model.batches == [["a", "b", "c"]]


def test_a_text_is_not_embedded_twice() -> None:
    """What is kept or under way is not computed again, and the statistics say so."""
    model = Model()

    async def run() -> dict[str, float]:
        embedder = BatchEmbedder(model, cache_size=2)
        model.hold()
        tasks = [asyncio.create_task(embedder.embed_text("a")) for _ in range(3)]
        batch = asyncio.create_task(embedder.embed_batch(["a", "b", "b"]))
        await until(model.entered.is_set)
        model.released.set()
        await asyncio.gather(*tasks, batch)
        await embedder.embed_text("b")
        await embedder.embed_text("a")
        await embedder.embed_text("c")  # b makes room
        await embedder.embed_text("b")
        return embedder.get_stats()

    stats = asyncio.run(run())
    assert model.batches == [["a"], ["b"], ["c"], ["b"]]
    assert stats == {
        "cache_hit_rate": 2 / 10,
        "cache_hits": 2,
        "cache_misses": 4,
        "deduplicated": 4,
        "evicted": 2,
        "cache_size": 2,
        "batches": 4,
        "texts_embedded": 4,
        "average_batch_size": 1.0,
        "queue_length": 0,
    }


@pytest.mark.parametrize("processor", [False, True])
def test_the_failure_of_a_batch_reaches_exactly_its_waiters(
    processor: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Those of the batch get the model's error, those of others their vectors; then it goes on."""
    caplog.set_level(logging.ERROR)
    model = Model(fails_on="bad")

    async def run() -> None:
        embedder = BatchEmbedder(model, batch_size=2, linger_ms=WAIT_S * 1000)
        if processor:
            await embedder.start_background_processor()
            texts = ["bad", "beside it", "good", "beside that"]
            tasks = [embedder.embed_text(text) for text in texts]
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert [str(r) for r in results[:2]] == ["cannot embed 'bad'"] * 2
            np.testing.assert_array_equal(results[2:], EXPECTED.embed(texts[2:]))  # type: ignore[arg-type]
            await embedder.stop_background_processor()
        with pytest.raises(ValueError, match="cannot embed 'bad'"):
            await embedder.embed_batch(["a", "b", "bad", "c", "d"])
        model.fails_on = ""
        assert (await embedder.embed_batch(["bad", "c"])).shape == (2, 16)  # no error is kept

    asyncio.run(run())
    assert not caplog.records


def test_who_goes_away_takes_nobody_along() -> None:
    """A cancelled waiter leaves the others of its text alone; what nobody awaits is left out."""
    model = Model()

    async def run() -> None:
        embedder = BatchEmbedder(model, batch_size=4, linger_ms=0)
        await embedder.start_background_processor()
        model.hold()
        first = asyncio.create_task(embedder.embed_text("first"))
        await until(model.entered.is_set)
        gone = [asyncio.create_task(embedder.embed_text(text)) for text in ("both", "gone")]
        stays = asyncio.create_task(embedder.embed_text("both"))
        await until(lambda: embedder.get_stats()["queue_length"] == 2)
        for task in gone:
            task.cancel()
        await asyncio.sleep(0)
        model.released.set()
        await asyncio.gather(first, stays)
        await embedder.stop_background_processor()

    asyncio.run(run())
    assert model.batches == [["first"], ["both"]]


def test_stopping_embeds_what_is_queued() -> None:
    """All that was asked before is answered; asked later, a text is embedded at once."""
    model = Model()

    async def run() -> None:
        embedder = BatchEmbedder(model, batch_size=2)
        await embedder.stop_background_processor()  # none is running: nothing happens
        await embedder.start_background_processor()
        tasks = [asyncio.create_task(embedder.embed_text(f"t{n}")) for n in range(5)]
        await asyncio.sleep(0)
        stopping = asyncio.create_task(embedder.stop_background_processor())
        await asyncio.sleep(0)
        late = await embedder.embed_text("late")
        await stopping
        assert all(task.done() for task in tasks)
        assert late.shape == (16,)
        await embedder.start_background_processor()
        assert (await embedder.embed_text("again")).shape == (16,)
        await embedder.stop_background_processor()

    asyncio.run(run())


@pytest.mark.parametrize("batch_size", [1, 2, 9])
@pytest.mark.parametrize("turns", [0, 1, 2, 5])
def test_a_processor_that_is_cancelled_leaves_nobody_waiting(batch_size: int, turns: int) -> None:
    """Wherever a text is then, who waits for it is cancelled; the next text is embedded at once."""
    model = Model()

    async def run() -> None:
        embedder = BatchEmbedder(model, batch_size=batch_size, linger_ms=WAIT_S * 1000)
        await embedder.start_background_processor()
        model.hold()
        tasks = [asyncio.create_task(embedder.embed_text(text)) for text in ("a", "b", "c")]
        for _ in range(turns):  # not started, filling a batch, computing one
            await asyncio.sleep(0)
        assert embedder._processor is not None
        embedder._processor.cancel()
        async with asyncio.timeout(WAIT_S):
            results = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(result) for result in results} == {asyncio.CancelledError}
        model.released.set()
        assert (await embedder.embed_text("d")).shape == (16,)

    asyncio.run(run())


def test_the_loop_goes_on_while_the_model_computes() -> None:
    """The model runs on one thread that is not the loop's."""
    model = Model()

    async def run() -> None:
        embedder = BatchEmbedder(model, batch_size=1)
        model.hold()
        task = asyncio.create_task(embedder.embed_batch(["a", "b", "c"]))
        await until(model.entered.is_set)  # the loop turns while the model is held
        model.released.set()
        await task

    asyncio.run(run())
    assert len(model.threads) == 1
    assert threading.get_ident() not in model.threads


def test_loops_do_not_mix() -> None:
    """One loop after the other is fine, two at a time are refused."""
    model = Model()
    embedder = BatchEmbedder(model)

    async def run() -> None:
        model.hold()
        task = asyncio.create_task(embedder.embed_text("a"))
        await until(model.entered.is_set)
        with pytest.raises(RuntimeError, match="in use on another event loop"):
            await asyncio.to_thread(lambda: asyncio.run(embedder.embed_text("b")))
        model.released.set()
        await task

    asyncio.run(run())
    assert asyncio.run(embedder.embed_text("a")).shape == (16,)


def test_a_loop_that_ended_early_leaves_nothing_behind() -> None:
    """What was asked on a loop that was interrupted is asked anew on the next one."""
    embedder = BatchEmbedder(Model(), linger_ms=WAIT_S * 1000)

    async def interrupted() -> None:
        await embedder.start_background_processor()
        texts = [asyncio.create_task(embedder.embed_text(text)) for text in ("a", "b")]
        batch = asyncio.create_task(embedder.embed_batch(["c", "d"]))
        await asyncio.sleep(0)
        assert not any(task.done() for task in (*texts, batch))

    asyncio.run(interrupted())
    assert asyncio.run(embedder.embed_batch(["a", "b", "c", "d"])).shape == (4, 16)


def test_vectors_are_shared_safely_and_texts_checked() -> None:
    """A vector of the cache cannot be changed by accident; what is no text is refused."""
    embedder = BatchEmbedder(EXPECTED)
    with pytest.raises(ValueError, match="read-only"):
        asyncio.run(embedder.embed_text("a"))[0] = 1.0
    with pytest.raises(DataError, match="expected texts"):
        asyncio.run(embedder.embed_batch(["a", 3]))  # type: ignore[list-item]
    with pytest.raises(DataError, match="one text"):
        asyncio.run(embedder.embed_batch("text"))
    with pytest.raises(DataError, match="one vector for each of 1 texts"):
        asyncio.run(BatchEmbedder(_Short()).embed_text("a"))


class _Short:
    """A model that loses a text."""

    def encode(self, texts: list[str]) -> Any:
        return np.ones((len(texts) - 1, 4))


_INTERRUPTED = """
import asyncio, threading
from sage.libs.embedding import BatchEmbedder, MockTextEmbedder

class Slow:
    def encode(self, texts):
        print("computing", flush=True)
        go_on.wait(0.2)
        return MockTextEmbedder().embed(texts)

async def main():
    embedder = BatchEmbedder(Slow(), batch_size=1)
    await embedder.start_background_processor()
    await asyncio.gather(*(embedder.embed_text(str(n)) for n in range(10_000)))

go_on = threading.Event()
asyncio.run(main())
"""


def test_ctrl_c_ends_it() -> None:
    """With thousands of texts queued it stops after the batch under way, without a complaint."""
    command = [sys.executable, "-W", "error", "-c", _INTERRUPTED]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "computing\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=WAIT_S)
    assert out.count("computing") <= 2
    assert err.rstrip().endswith("KeyboardInterrupt")
    assert "never retrieved" not in err


def test_who_gives_up_waiting_for_the_stop_cancels_no_text() -> None:
    """``asyncio.wait_for(stop, ...)`` ends the wait; what is queued is embedded all the same."""

    async def main() -> None:
        model = Model()
        model.released.clear()
        embedder = BatchEmbedder(model, linger_ms=0)
        await embedder.start_background_processor()
        vector = asyncio.create_task(embedder.embed_text("a"))
        await asyncio.to_thread(model.entered.wait, WAIT_S)
        stop = asyncio.create_task(embedder.stop_background_processor())
        await asyncio.sleep(0)
        stop.cancel()
        await asyncio.gather(stop, return_exceptions=True)
        model.released.set()
        assert (await vector).shape == EXPECTED.embed(["a"])[0].shape

    asyncio.run(main())
