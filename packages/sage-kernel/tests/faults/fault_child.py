"""Runs one job in a process of its own, with the fault that it is told to have.

``python fault_child.py SPEC`` prints ``started`` when it is about to run, and then how it ended, as
one line of JSON. See `fault_harness.Spec` for what it is told.
"""

from __future__ import annotations

import faulthandler
import json
import logging
import os
import signal
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

from fault_harness import Spec, counts_of
from fault_jobs import JOBS, Bench
from fault_sinks import FolderSink

from sage.kernel import LocalEnvironment
from sage.kernel.checkpoint import steps
from sage.kernel.testing import check_conservation


class _Steps:
    """Counts the steps that are reached, and does something at one of them."""

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._lock = threading.Lock()
        self.counts: Counter[str] = Counter()

    def __call__(self, step: str) -> None:
        with self._lock:
            self.counts[step] += 1
            at = (step, self.counts[step])
        if at == self._spec.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if at == self._spec.stop_at:
            os.kill(os.getpid(), signal.SIGSTOP)


def _run(spec: Spec, seen: _Steps) -> dict[str, Any]:
    folder = Path(spec.folder)
    options = {"checkpoint_dir": str(folder), "checkpoint_interval": 0.04} | spec.options
    env = LocalEnvironment(spec.name, config={"fault_tolerance": options} | spec.engine)
    bench = Bench(
        env,
        lambda name: FolderSink(str(folder / "out" / name)),
        parallelism=spec.parallelism,
        pause_s=spec.pause_s,
        records=spec.records,
    )
    JOBS[spec.job](bench)
    print("started", flush=True)
    result = env.execute()
    check_conservation(result.metrics, env.graph())
    run = env._job._run if env._job is not None else None
    return {
        "status": result.status,
        "counts": counts_of(result.metrics),
        "steps": dict(seen.counts),
        "attempts": getattr(run, "attempts", 0),
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
    print(json.dumps(ended), flush=True)
    return 1 if "error" in ended else 0


if __name__ == "__main__":
    sys.exit(main())
