"""Runs one job in a process of its own, with the fault that it is told to have.

``python fault_child.py SPEC`` prints ``started`` when it is about to run, and then how it ended, as
one line of JSON. See `fault_harness.Spec` for what it is told.
"""

from __future__ import annotations

import errno
import faulthandler
import json
import logging
import os
import signal
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from fault_harness import Spec, counts_of
from fault_jobs import CHANGED, JOBS, Bench
from fault_sinks import FolderSink

from sage.kernel import LocalEnvironment
from sage.kernel.checkpoint import steps
from sage.kernel.testing import check_conservation
from sage.kernel.time import clock


class _Steps:
    """Counts the steps that are reached, and does what it was told at one of them."""

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._lock = threading.Lock()
        self.counts: Counter[str] = Counter()
        self.ahead_s = spec.ahead_s
        self.saving = threading.Event()

    def __call__(self, step: str) -> None:
        spec = self._spec
        with self._lock:
            self.counts[step] += 1
            at = (step, self.counts[step])
        if step == "record" and spec.slow_until is not None and at[1] > 100:
            awaited, nth = spec.slow_until
            if self.counts[awaited] < nth:
                time.sleep(0.02)
        if at == spec.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if at == spec.stop_at:
            os.kill(os.getpid(), signal.SIGSTOP)
        if at == spec.stop_worker_at:
            os.kill(_worker(), signal.SIGSTOP)
        if at == spec.jump_at:
            self.ahead_s += spec.jump_s
        if at == ("record", spec.savepoint_at):
            self.saving.set()
        if at == spec.raise_at or self._fails(*at):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), step)

    def _fails(self, step: str, count: int) -> bool:
        spec = self._spec
        if spec.fail_from is None or spec.fail_from[0] != step:
            return False
        return spec.fail_from[1] <= count < (spec.fail_until or sys.maxsize)


def _worker() -> int:
    """Return the process id of one of the workers."""
    mine = Path(f"/proc/{os.getpid()}/task")
    children = [int(pid) for path in mine.glob("*/children") for pid in path.read_text().split()]
    return max(pid for pid in children if "worker" in Path(f"/proc/{pid}/cmdline").read_text())


def _run(spec: Spec, seen: _Steps) -> dict[str, Any]:
    folder = Path(spec.folder)
    options = {"checkpoint_dir": str(folder), "checkpoint_interval": 0.06} | spec.options
    if spec.jump_at is not None or spec.ahead_s:
        true_time = time.time
        time.time = lambda: true_time() + seen.ahead_s
        clock._EPOCH_S += spec.ahead_s  # as if the process had begun at another time
    env = LocalEnvironment(spec.name, config={"fault_tolerance": options} | spec.engine)
    bench = Bench(
        env,
        lambda name: FolderSink(str(folder / "out" / name)),
        parallelism=spec.parallelism,
        pause_s=spec.pause_s,
        records=spec.records,
    )
    (JOBS | CHANGED)[spec.job](bench)
    print("started", flush=True)
    if spec.savepoint is not None:
        job = env.submit()
        seen.saving.wait()
        job.savepoint(spec.savepoint)
        os.kill(os.getpid(), signal.SIGKILL)
    result = env.execute()
    # How often a broadcast sent each record depends on the parallelism that it had then.
    graph = env.graph() if spec.job != "broadcast" else None
    check_conservation(result.metrics, graph)
    return {
        "status": result.status,
        "counts": counts_of(result.metrics),
        "steps": dict(seen.counts),
        "failed": result.metrics.checkpoints.failed,
    }


def main() -> int:
    """Run what the first argument says; return the exit code."""
    faulthandler.dump_traceback_later(25, exit=True)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    spec = Spec.from_json(sys.argv[1])
    seen = _Steps(spec)
    steps.watch(seen)
    try:
        ended = _run(spec, seen)
    except BaseException as error:
        ended = {"error": type(error).__name__, "told": str(error), "steps": dict(seen.counts)}
        logging.exception("the job failed")
    print(json.dumps(ended | {"pid": os.getpid()}), flush=True)
    return 1 if "error" in ended else 0


if __name__ == "__main__":
    sys.exit(main())
