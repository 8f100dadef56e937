"""The journal on Ray: what an actor had paid for, whichever actor comes after it has."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from sage.kernel.api.environment import Environment
from sage.kernel.testing.recovery import CommittingSink, Once

COUNT, CONCURRENCY, SUBTASKS = 400, 8, 2


def test_the_loss_of_an_actor_repeats_only_the_calls_in_flight(
    remote: Callable[..., Environment], tmp_path: Path
) -> None:
    """Results that were journalled by any actor are taken by any other, and nothing is lost."""
    sink, ended = CommittingSink(tmp_path / "results"), tmp_path / "ended.txt"
    once = Once(tmp_path / "happened", lambda: os.kill(os.getpid(), signal.SIGKILL))

    async def ask(n: int) -> str:
        if n == COUNT // 2:
            once()
        with ended.open("a") as log:
            log.write(f"{n}\n")
        return f"answer {n}"

    tolerance = {
        "checkpoint_dir": tmp_path / "checkpoints",
        "checkpoint_interval": 3600,
        "restart": {"strategy": "fixed", "max_attempts": 3, "delay_s": 0.01},
    }
    env = remote(fault_tolerance=tolerance, batch_size=16)
    numbers = env.from_collection(range(COUNT), name="numbers").rebalance()
    options = {"concurrency": CONCURRENCY, "parallelism": SUBTASKS, "name": "ask"}
    numbers.map_async(ask, journal=True, **options).sink(sink, parallelism=1)  # type: ignore[call-overload]
    result = env.execute()
    assert once.has_happened
    assert sorted(sink.committed()) == sorted(f"answer {n}" for n in range(COUNT))
    calls = Counter(map(int, ended.read_text().split()))
    assert set(calls) == set(range(COUNT))
    # In each actor one call may have ended that was not written down yet.
    assert calls.total() <= COUNT + SUBTASKS
    assert result.metrics["ask"].custom["journal_hits"] > COUNT // 8
