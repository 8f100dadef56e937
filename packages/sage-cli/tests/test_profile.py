"""``sage run FILE --profile``."""

from __future__ import annotations

import cProfile
import pstats
import threading

import pytest

from sage.cli import profiling
from sage.cli.profiling import profiled
from sage.cli.thread_profiler import ThreadProfiler

SCRIPT = """
from sage.kernel import LocalEnvironment

def doubled(n):
    return 2 * n

def modulo(n):
    return n % 7

env = LocalEnvironment()
stream = env.from_collection(range(300)).map(doubled)
{behind}
"""


def functions_in(path) -> dict[str, int]:
    """Return how often each function was called, by name."""
    return {name: calls[1] for (_, _, name), calls in pstats.Stats(str(path)).stats.items()}


@pytest.mark.parametrize(
    "behind",
    [
        "stream.map(modulo).for_each(str)\nenv.execute()",
        "stream.rebalance().map(modulo, parallelism=2).for_each(str)\nenv.execute()",
        "stream.rebalance().map(modulo, parallelism=2).for_each(str)\nenv.submit()",
    ],
    ids=["one task", "several tasks", "submitted"],
)
def test_users_functions_are_in_the_profile(sage, tmp_path, behind):
    """Functions are counted in every task's thread, also of a job that nobody waited for."""
    script, out = tmp_path / "job.py", tmp_path / "out.pstats"
    script.write_text(SCRIPT.format(behind=behind), encoding="utf-8")
    outcome = sage("run", script, "--profile-to", out)
    assert outcome.code == 0
    assert outcome.out == ""
    assert "20 functions by their own time" in outcome.err
    own = outcome.err.partition("functions of your files")[2]
    assert "doubled" in own
    assert "modulo" in own
    calls = functions_in(out)
    assert (calls["doubled"], calls["modulo"]) == (300, 300)


def test_profile_alone_names_the_file_after_the_script(sage, tmp_path, monkeypatch):
    """Without a name the statistics go to ``FILE.pstats`` in the current directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "job.py").write_text("print(sum(range(9)))\n", encoding="utf-8")
    outcome = sage("run", "job.py", "--profile")
    assert outcome.out == "36\n"
    assert (tmp_path / "job.pstats").exists()


def test_a_script_that_fails_is_profiled_until_then(sage, tmp_path):
    """The error is shown as ever, and the profile of what ran is written."""
    script, out = tmp_path / "job.py", tmp_path / "out.pstats"
    script.write_text("def fails():\n    1 / 0\nfails()\n", encoding="utf-8")
    outcome = sage("run", script, "--profile-to", out)
    assert outcome.code == 1
    assert "ZeroDivisionError" in outcome.err
    assert functions_in(out)["fails"] == 1


def test_a_profiler_around_execute_sees_the_users_functions():
    """A job of a single task runs in the calling thread, calling what it would else inline."""
    from sage.kernel import LocalEnvironment

    def tripled(n):
        return 3 * n

    env = LocalEnvironment()
    env.from_collection(range(200)).map(tripled).for_each(str)
    with cProfile.Profile() as profile:
        env.execute()
    calls = {name: c[1] for (_, _, name), c in pstats.Stats(profile).stats.items()}
    assert calls["tripled"] == 200


@pytest.mark.parametrize("one_for_each_thread", [True, False])
def test_threads_are_profiled_side_by_side(monkeypatch, one_for_each_thread):
    """Calls in several threads at once are counted right, by either profiler."""
    monkeypatch.setattr(profiling, "_ONE_FOR_EACH_THREAD", one_for_each_thread)
    both = threading.Barrier(3)

    def inner():
        return 1

    def outer():
        both.wait(30)
        for _ in range(100):
            inner()

    with profiled() as profile:
        threads = [threading.Thread(target=outer) for _ in range(2)]
        for thread in threads:
            thread.start()
        outer()
        for thread in threads:
            thread.join()
    calls = {name: c[1] for (_, _, name), c in profile.stats.stats.items()}
    assert (calls["outer"], calls["inner"]) == (3, 300)
    assert threading.getprofile() is None


def test_the_thread_profiler_counts_a_recursion_once_in_the_total():
    """The total of a function that calls itself is the time of its outermost call."""
    profiler = ThreadProfiler()

    def down(n):
        return down(n - 1) if n else 0

    def work():
        profiler.enable()
        down(50)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    [(outermost, calls, own_s, total_s, _)] = [
        row for (_, _, name), row in profiler.stats.items() if name == "down"
    ]
    assert (outermost, calls) == (1, 51)
    assert own_s <= total_s
