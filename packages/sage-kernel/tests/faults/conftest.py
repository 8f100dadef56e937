"""Runs trials ahead of their tests, two at a time: children mostly wait for their slow sources."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for the fault_* modules, here and in children
pytest.register_assert_rewrite("fault_harness")

AT_ONCE = 2


@pytest.fixture(scope="session")
def _trials(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[Any]]]:
    """Start the trials of all tests that were chosen, in their order."""
    with ThreadPoolExecutor(AT_ONCE, "trial") as pool:
        started: dict[str, Future[Any]] = {}
        for item in request.session.items:
            callspec = getattr(item, "callspec", None)
            trial = callspec.params.get("trial") if callspec is not None else None
            if trial is not None:
                folder = tmp_path_factory.mktemp("trial")
                started[item.nodeid] = pool.submit(trial.run, folder)
        yield started
        pool.shutdown(wait=True, cancel_futures=True)


@pytest.fixture
def outcome(request: pytest.FixtureRequest, _trials: dict[str, Future[Any]]) -> Callable[[], Any]:
    """Wait for the trial of this test; raises what went wrong in it."""
    return _trials[request.node.nodeid].result
