"""State that is larger than memory: on disk it takes no more memory than its caches."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

# Counts every key once and a quarter of them again in another order; takes a snapshot; reports.
CHILD = """
import json, sys
from sage.common.core.state import ValueState
from sage.kernel.state.heap_backend import HeapBackend
from sage.kernel.state.keyed_state import KeyedState
from sage.kernel.state.sqlite_backend import SqliteBackend

kind, folder, keys, text, cache = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])

def peak():
    with open("/proc/self/status") as status:
        [kib] = [line.split()[1] for line in status if line.startswith("VmHWM")]
    return int(kib) * 1024

disk = SqliteBackend(folder, cache_bytes=cache, page_cache_bytes=cache)
state = KeyedState(disk if kind == "disk" else HeapBackend())
seen = state.handle(ValueState("seen", default=(0, "")))
before = peak()
again = [n * 7919 % keys for n in range(keys // 4)]
for part in (range(keys), again):
    for key in part:
        state.current_key = key
        count, _ = seen.get()
        seen.set((count + 1, "x" * text))
entries = sum(len(entry.value) > text for entry in state.snapshot())
twice = 0
for key in again[::101]:
    state.current_key = key
    twice += seen.get()[0] == 2
print(json.dumps({
    "entries": entries, "twice": twice, "probed": len(again[::101]),
    "growth": peak() - before, "peak": peak(), "stored": state.backend.size_bytes(),
}))
state.close()
disk.close()
"""

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="reads a process's peak memory from /proc"
)


def run(kind: str, folder: Path, keys: int, text: int, cache: int) -> dict[str, Any]:
    """Run the child and return its report; 7919 is a prime that divides no number of keys here."""
    arguments = [kind, str(folder), str(keys), str(text), str(cache)]
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def test_state_on_disk_takes_the_memory_of_its_caches(tmp_path: Path) -> None:
    """200,000 keys take several times less memory on disk than on the heap, and none is lost."""
    heap = run("heap", tmp_path, 200_000, 200, 4 << 20)
    disk = run("disk", tmp_path, 200_000, 200, 4 << 20)
    for report in (heap, disk):
        assert report["entries"] == 200_000
        assert report["twice"] == report["probed"]
    assert disk["growth"] < 20 << 20
    assert heap["growth"] > 3 * disk["growth"]


@pytest.mark.slow
@pytest.mark.long
def test_five_million_keys_fit_into_500_mb(tmp_path: Path) -> None:
    """5,000,000 keys of 250 bytes each, more than 1 GB of values, stay under 500 MB."""
    report = run("disk", tmp_path, 5_000_000, 250, 64 << 20)
    assert report["entries"] == 5_000_000
    assert report["twice"] == report["probed"]
    assert report["stored"] > 1_000_000_000
    assert report["peak"] < 500 << 20
