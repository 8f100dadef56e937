"""What cannot run on Ray is refused before anything starts."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sage.kernel.api.remote_environment import RemoteEnvironment
from sage.kernel.errors import FunctionError, GraphError
from sage.kernel.runtime.ray.placement import memory_bytes
from sage.kernel.runtime.ray.results import ResultSink


def test_a_sink_that_closes_over_a_list_is_refused() -> None:
    """The copy of the list in the actor would fill and nobody would see it."""
    got: list[int] = []
    env = RemoteEnvironment("refused")
    env.from_collection([1]).sink(got.append)
    with pytest.raises(FunctionError, match=r"on Ray.*append(.|\n)*collect\(\)"):
        env.execute()


GLOBAL: dict[int, bool] = {}


def sinks_into_containers() -> list[Callable[[int], Any]]:
    got: list[int] = []
    seen: set[int] = set()

    def stores(record: int) -> None:
        GLOBAL[record] = True

    return [lambda record: got.append(record), seen.add, lambda r: seen.add(r), stores]


@pytest.mark.parametrize("sink", sinks_into_containers())
def test_a_sink_that_fills_a_container_is_refused(sink: Callable[[int], Any]) -> None:
    """The same, one call deeper, for other containers, and for global ones."""
    env = RemoteEnvironment("refused")
    env.from_collection([1]).sink(sink)
    with pytest.raises(FunctionError, match=r"(got|set|seen|GLOBAL)(.|\n)*collect\(\)"):
        env.execute()


def test_a_function_that_cannot_be_pickled_is_named() -> None:
    """The operator is named, and what to do."""
    lock = threading.Lock()

    def guarded(record: int) -> int:
        with lock:
            return record

    env = RemoteEnvironment("refused")
    with pytest.raises(FunctionError, match=r"'guarded'(.|\n)*open\(\)"):
        env.from_collection([1]).map(guarded).collect()


def test_a_loop_is_refused() -> None:
    """What goes round is counted in one process."""
    numbers = RemoteEnvironment("refused").from_collection([1])
    with pytest.raises(GraphError, match="part of a loop"):
        numbers.iterate(lambda s: s.map(lambda n: n * 2), until=lambda n: n > 8).collect()


def test_serving_is_refused() -> None:
    """Callers and pipeline share a process."""
    env = RemoteEnvironment("refused")
    with pytest.raises(GraphError, match="serves requests"):
        env.serve(env.from_collection([]).map(abs))


@pytest.mark.parametrize(
    ("given", "wanted"), [("8GB", 8 << 30), ("1.5 GiB", 3 << 29), (1024, 1024), ("64kb", 1 << 16)]
)
def test_memory_is_read_with_units(given: Any, wanted: int) -> None:
    """Sizes are bytes, or texts with a unit."""
    assert memory_bytes(given) == wanted


@pytest.mark.parametrize("resources", [{"memory": "lots"}, {"num_cpus": -1}, {"num_gpus": "one"}])
def test_resources_that_are_no_amount_are_refused(resources: dict[str, Any]) -> None:
    """The operator and the resource are named when the job is made."""
    numbers = RemoteEnvironment("refused").from_collection([1])
    with pytest.raises(GraphError, match="sized"):
        numbers.map(abs, name="sized", resources=resources).collect()


def test_a_result_sink_holds_a_bounded_number_of_records() -> None:
    """Whoever writes waits for the driver, so that memory stays bounded."""
    sink = ResultSink()
    most = sink.MOST
    written = []

    def write() -> None:
        for record in range(2 * most):
            sink.write(record)
            written.append(record)
        sink.close()

    writer = threading.Thread(target=write)
    writer.start()
    got: list[int] = []
    is_last = False
    while not is_last:
        chunk, is_last = sink.fetch()
        got += chunk
        assert len(written) - len(got) <= most + 1
    writer.join()
    assert got == list(range(2 * most))


def test_without_ray_the_error_says_what_to_install() -> None:
    """Building and explaining need no Ray; running says which extra has it."""
    script = (
        "import sys; sys.modules['ray'] = None\n"
        "from sage.kernel.api.remote_environment import RemoteEnvironment\n"
        "env = RemoteEnvironment('none')\n"
        "numbers = env.from_collection([1]).map(abs)\n"
        "env.explain()\n"
        "try:\n"
        "    numbers.collect()\n"
        "except Exception as error:\n"
        "    print(type(error).__name__, error)\n"
    )
    shown = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout
    assert "MissingExtraError" in shown
    assert "isage-kernel[ray]" in shown


def test_a_script_is_not_imported_by_its_actors_and_leaves_nothing(tmp_path: Path) -> None:
    """Functions of the main script travel by value; closing ends what was started."""
    script = tmp_path / "script.py"
    script.write_text(
        "import os\n"
        "with open('imported', 'a') as log:\n"
        "    log.write('x')\n"
        "from dataclasses import dataclass\n"
        "from sage.kernel.api.remote_environment import RemoteEnvironment\n"
        "@dataclass\n"
        "class Found:\n"
        "    pid: int\n"
        "def find(record):\n"
        "    return Found(os.getpid())\n"
        "with RemoteEnvironment('script', {'ray': {'num_cpus': 1}}) as env:\n"
        "    [found] = env.from_collection([0]).map(find).collect()\n"
        "assert isinstance(found, Found) and found.pid != os.getpid()\n"
        "import ray, threading\n"
        "assert not ray.is_initialized()\n"
        "for _ in range(500):\n"
        "    try:\n"
        "        os.kill(found.pid, 0)\n"
        "    except ProcessLookupError:\n"
        "        break\n"
        "    threading.Event().wait(0.02)\n"
        "else:\n"
        "    raise AssertionError('the actor is still there')\n"
    )
    run = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "imported").read_text() == "x"
