"""Kill -9 loses nothing and doubles nothing, wherever it hits."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fault_harness import Fault, Trial, committed, oracle, run
from fault_jobs import JOBS

IN_A_CHECKPOINT = (
    *("checkpoint.retired", "checkpoint.requested", "task.snapshot", "barrier.injected"),
    *("sink.prepare.before", "sink.prepare.after", "task.write.before"),
    *("storage.state.write.before", "storage.state.fsync.before", "task.write.after"),
    *("task.acknowledged", "manifest.before"),
    *("storage.manifest.write.before", "storage.manifest.fsync.before"),
    *("storage.manifest.rename.before", "storage.manifest.rename.after", "manifest.after"),
    *("sink.commit.before", "sink.commit.after", "storage.retire.before"),
)
_AT_LEAST_ONCE = (("checkpoint_mode", "at_least_once"),)
AT_THE_START = (
    *("storage.probe.write.before", "storage.probe.fsync.before"),
    *("storage.probe.rename.before", "storage.probe.rename.after"),
    *("storage.owner.write.before", "storage.owner.fsync.before"),
    *("storage.owner.rename.before", "storage.owner.rename.after"),
    *("recovery.found", "recovery.restored"),
    *("recovery.commit.before", "recovery.commit.after"),
    *("recovery.abort.before", "recovery.abort.after"),
)


def _shown(trials: list[Trial]) -> Any:
    return pytest.mark.parametrize("trial", trials, ids=str)


def _dealt() -> Iterator[tuple[str, int]]:
    """Deal jobs and their parallelism, so that each job comes before one comes again."""
    draw = random.Random("deal")
    while True:
        jobs = sorted(JOBS)
        draw.shuffle(jobs)
        for job in jobs:
            yield job, draw.choice([1, 2, 3])


_DEAL = _dealt()


def _killed_at(step: str) -> Trial:
    job, parallelism = next(_DEAL)
    return Trial(job, (Fault(kill_at=(step, random.Random(step).randint(2, 6))),), parallelism)


@_shown([_killed_at(step) for step in IN_A_CHECKPOINT])
def test_a_kill_at_a_step_of_a_checkpoint_is_survived(trial: Trial, outcome: Any) -> None:
    """Before and behind each write, fsync, rename, manifest and commit."""
    killed, _ = outcome()
    assert killed.was_killed, "the step was never reached"


def _killed_at_start(step: str) -> Trial:
    job, parallelism = next(_DEAL)
    return Trial(job, (Fault(kill_at=("manifest.after", 4)), Fault(kill_at=(step, 1))), parallelism)


@_shown([_killed_at_start(step) for step in AT_THE_START])
def test_a_kill_during_a_recovery_is_survived(trial: Trial, outcome: Any) -> None:
    """The run that takes over is killed as well, before its first record."""
    first, second, _ = outcome()
    assert first.was_killed
    assert second.was_killed, "the step was never reached"


@_shown(
    [
        Trial(job, (Fault(kill_at=(step, 5)),), 2, engine=(("state_backend", "disk"),))
        for job, step in (
            ("keyed_process", "task.write.before"),
            ("flushed_by_timers", "manifest.after"),
            ("keyed_process", "task.snapshot"),
        )
    ]
)
def test_a_kill_is_survived_with_state_on_disk(trial: Trial, outcome: Any) -> None:
    """Its files are temporary; what counts is in the checkpoint."""
    killed, _ = outcome()
    assert killed.was_killed, "the step was never reached"


@_shown(
    [
        Trial(job, (Fault(kill_at=("record", 150)),), 2, options=_AT_LEAST_ONCE)
        for job in ("stateless", "unordered_calls", "batches")
    ]
)
def test_nothing_is_lost_where_records_may_come_twice(trial: Trial, tmp_path: Path) -> None:
    """With ``at_least_once`` every record of the oracle is there."""
    *_, ended = [run(trial.spec(tmp_path), fault) for fault in (*trial.faults, Fault())]
    assert ended.code == 0, ended.log
    assert not Counter(oracle(trial.job)[0]) - Counter(committed(tmp_path / "out"))


def test_every_step_that_a_run_reaches_is_one_that_it_is_killed_at(tmp_path: Path) -> None:
    """Whoever names a new step proves that a kill there is survived."""
    trial = Trial("several_sinks", parallelism=2)
    run(trial.spec(tmp_path), Fault(kill_at=("manifest.after", 4)))
    ended = run(trial.spec(tmp_path))
    assert set(ended.said["steps"]) == {*IN_A_CHECKPOINT, *AT_THE_START, "record"}


def _drawn_fault(draw: random.Random) -> Fault:
    rescaled = (("parallelism", draw.choice([1, 2, 3])),) if draw.random() < 0.3 else ()
    kind = draw.random()
    if kind < 0.5:
        return Fault(kill_after_s=draw.uniform(0.02, 0.5), change=rescaled)
    at = (draw.choice((*IN_A_CHECKPOINT, *AT_THE_START, "record")), draw.randint(1, 12))
    if kind < 0.85 or at[0] in AT_THE_START:
        return Fault(kill_at=at, change=rescaled, is_sure=False)
    restart = {"restart": {"strategy": "fixed", "delay_s": 0.01}}
    change = (("raise_at", at), ("options", restart), *rescaled)
    return Fault(change=change, is_sure=False)


def drawn(seed: int) -> Trial:
    """Draw a job, how it runs, and what happens to it: up to three times in a row."""
    draw = random.Random(seed)
    engine = {
        "batch_size": draw.choice([1, 3, 64, 1024]),
        "channel_batches": draw.choice([1, 2, 8]),
        "state_backend": draw.choice(["heap", "heap", "disk"]),
    }
    faults = [_drawn_fault(draw) for _ in range(draw.choice([1, 2, 2, 3]))]
    return Trial(
        draw.choice(sorted(JOBS)),
        tuple(faults),
        draw.choice([1, 2, 3]),
        seed=seed,
        engine=tuple(engine.items()),
        options=(("checkpoint_interval", draw.choice([0.02, 0.05, 0.1])),),
    )


@_shown([drawn(seed) for seed in range(20)])
def test_kills_at_random_moments_are_survived(trial: Trial, outcome: Any) -> None:
    """Whatever job, however it runs, whenever it is killed, as often as it is killed."""
    outcome()


@pytest.mark.long
@_shown([drawn(seed) for seed in range(20, 220)])
def test_kills_at_many_random_moments_are_survived(trial: Trial, outcome: Any) -> None:
    """The same for ten times as many seeds."""
    outcome()
