"""A job that is killed and goes on where it was: every count is written once.

It prints:

    run 1 ended with -9, run 2 with 0
    3000 lines, 3000 of them different
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from sage.kernel import LocalEnvironment
from sage.libs.io.sink import FileSink


def dies_once(number):
    """Kill this process at the first sight of 2000."""
    if number == 2000 and not Path("died").exists():
        Path("died").touch()
        os.kill(os.getpid(), 9)
    return number


if sys.argv[-1] == "count":
    survives = {"checkpoint_dir": "checkpoints", "checkpoint_interval": 0.01}
    env = LocalEnvironment("counting", config={"fault_tolerance": survives, "batch_size": 10})
    by_rest = env.from_collection(range(3000)).map(dies_once).key_by(lambda n: n % 3, uid="rest")
    by_rest.count(uid="count").sink(FileSink, file_path="counts", uid="counts")
    env.execute()
else:
    with tempfile.TemporaryDirectory() as here:
        again = [sys.executable, str(Path(__file__).resolve()), "count"]
        first, then = (subprocess.run(again, cwd=here, capture_output=True) for _ in range(2))
        print(f"run 1 ended with {first.returncode}, run 2 with {then.returncode}")
        lines = "".join(part.read_text() for part in Path(here, "counts").iterdir()).split()
        print(f"{len(lines)} lines, {len(set(lines))} of them different")
