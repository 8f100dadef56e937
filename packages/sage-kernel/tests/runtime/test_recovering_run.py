"""A job that survives ends when it is told to, at whatever moment of its attempts that is."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sage.common.core.functions import MapFunction
from sage.kernel import LocalEnvironment
from sage.kernel.api.job import Job
from sage.kernel.checkpoint import steps
from sage.kernel.errors import JobCancelledError

PATIENCE_S = 20


AtStep = Callable[[str, Callable[[], Any]], None]


@pytest.fixture
def at_step() -> Iterator[AtStep]:
    """Has something done when a step is reached from now on, once."""

    def do(step: str, action: Callable[[], Any]) -> None:
        def watch(name: str) -> None:
            if name == step:
                steps.watch(None)
                action()

        steps.watch(watch)

    yield do
    steps.watch(None)


class Fails(MapFunction[int, int]):
    """Raises in the first attempt, when the test lets it."""

    def __init__(self, gate: threading.Event) -> None:
        self.gate = gate

    def map(self, record: int) -> int:
        assert self.context is not None
        if self.context.attempt == 0:
            assert self.gate.wait(PATIENCE_S)
            raise RuntimeError("not yet")
        return record


def submitted(folder: Path) -> tuple[Job, threading.Event, list[int]]:
    """Submit a job that fails once when it is let, and is started again."""
    restart = {"strategy": "fixed", "max_attempts": 3, "delay_s": 0}
    env = LocalEnvironment(
        "job", config={"fault_tolerance": {"checkpoint_dir": folder, "restart": restart}}
    )
    gate, results = threading.Event(), list[int]()
    env.from_collection(range(3)).map(Fails, gate).for_each(results.append)
    return env.submit(), gate, results


def test_cancelled_while_it_is_started_again_it_ends(tmp_path: Path, at_step: AtStep) -> None:
    """An attempt that was made and is not wanted any more is not waited for."""
    job, gate, results = submitted(tmp_path)
    at_step("recovery.found", job.cancel)
    gate.set()
    with pytest.raises(JobCancelledError):
        job.wait(PATIENCE_S)
    assert results == []
    job, gate, results = submitted(tmp_path)  # nobody owns it any more
    gate.set()
    assert job.wait(PATIENCE_S).status == "finished"
    assert results == [0, 1, 2]


def test_stopped_while_it_is_started_again_it_stops_at_a_checkpoint(
    tmp_path: Path, at_step: AtStep
) -> None:
    """The attempt that follows is asked to stop as soon as it runs."""
    job, gate, before = submitted(tmp_path)
    at_step("recovery.found", job.drain)
    gate.set()
    assert job.wait(PATIENCE_S).status == "finished"
    again, gate, results = submitted(tmp_path)
    gate.set()
    again.wait(PATIENCE_S)
    assert before + results == [0, 1, 2]
