"""One Ray cluster for all tests here; they are skipped where Ray is not installed."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sage.kernel.api.remote_environment import RemoteEnvironment

pytest.importorskip("ray", reason="Ray is not installed: pip install 'isage-kernel[ray]'")


@pytest.fixture(scope="session")
def cluster() -> Iterator[RemoteEnvironment]:
    """An environment that holds Ray and its idle actors until the last test has run."""
    with RemoteEnvironment("cluster", {"ray": {"num_cpus": 2}}) as env:
        env.from_collection([0]).collect()
        yield env


@pytest.fixture
def remote(cluster: RemoteEnvironment) -> Iterator[Callable[..., RemoteEnvironment]]:
    """Makes environments that use the cluster, and closes them."""
    made: list[RemoteEnvironment] = []

    def make(**config: Any) -> RemoteEnvironment:
        made.append(RemoteEnvironment("remote", config))
        return made[-1]

    yield make
    for env in made:
        env.close()


class Door:
    """A door between the test and an actor: whoever passes waits until the test opens it."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self._held: int | None = None

    def wait(self) -> None:
        """Wait, in the actor. Opening a pipe blocks until its other end is opened too."""
        os.close(os.open(self.path, os.O_RDONLY))

    def open(self) -> None:
        """Let through, in the test, who waits or comes."""
        self._held = os.open(self.path, os.O_RDWR)

    def remove(self) -> None:
        """Close the file, in the test."""
        if self._held is not None:
            os.close(self._held)


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    """A closed door."""
    os.mkfifo(tmp_path / "door")
    door = Door(tmp_path / "door")
    yield door
    door.remove()


@pytest.fixture
def eventually() -> Callable[[Callable[[], Any]], Any]:
    """Asks until the answer is yes, and fails after a while."""

    def ask(question: Callable[[], Any]) -> Any:
        until = time.monotonic() + 90
        while not (answer := question()):
            assert time.monotonic() < until, "it never happened"
            threading.Event().wait(0.02)
        return answer

    return ask
