"""Dead letters are fed in again where they failed, through what follows, into the same sinks."""

from __future__ import annotations

import pytest

from sage.kernel import LocalEnvironment, TumblingWindow
from sage.kernel.errors import GraphError, JobError
from sage.kernel.testing import Gate


class Mended:
    """Raises at multiples of three until it is mended."""

    def __init__(self) -> None:
        self.done = False

    def __call__(self, n: int) -> int:
        if n % 3 == 0 and not self.done:
            raise ValueError(f"not {n}")
        return n


def test_replayed_records_go_through_what_follows() -> None:
    """After the cause is mended, the records that were set aside reach the sink."""
    function, got = Mended(), list[int]()
    env = LocalEnvironment()
    env.from_collection(range(7)).map(function, on_error="dead_letter").map(lambda n: n * 10).sink(
        got.append
    )
    job = env.submit()
    job.wait(30)
    assert [letter.record for letter in job.dead_letters()] == [0, 3, 6]
    function.done = True
    [result] = job.replay_dead_letters()
    assert result.status == "finished"
    assert sorted(got) == [n * 10 for n in range(7)]
    assert list(job.dead_letters()) == []


def test_what_fails_again_is_a_dead_letter_again() -> None:
    """A replay that meets the same error loses nothing."""
    env = LocalEnvironment()
    env.from_collection([1, 3]).map(Mended(), on_error="dead_letter").sink(lambda n: None)
    job = env.submit()
    job.wait(30)
    job.replay_dead_letters()
    assert [letter.record for letter in job.dead_letters()] == [3]


def test_a_keyed_operator_gets_the_key_again() -> None:
    """Records that failed behind key_by are keyed anew."""
    failing = [True]

    def add(a: int, b: int) -> int:
        if failing[0]:
            raise ValueError("not now")
        return a + b

    env, got = LocalEnvironment(), list[int]()
    keyed = env.from_collection([1, 2, 3]).key_by(lambda n: n % 2)
    keyed.reduce(add, on_error="dead_letter").sink(got.append)
    job = env.submit()
    job.wait(30)
    assert [letter.record for letter in job.dead_letters()] == [3]
    failing[0] = False
    job.replay_dead_letters()
    assert got == [1, 2, 3]  # state starts empty in a replay, so 3 is the first of its key


def test_a_running_job_cannot_replay() -> None:
    """Replay waits for the end of the job, and says so."""
    gate = Gate()
    env = LocalEnvironment()
    env.from_collection([1]).map(lambda n: gate.wait() or n).sink(lambda n: None)
    job = env.submit()
    gate.wait_for_arrival()
    with pytest.raises(JobError, match="wait"):
        job.replay_dead_letters()
    gate.open()
    job.wait(30)


def test_an_operator_with_several_inputs_is_refused_by_name() -> None:
    """A dead letter does not say by which input it came, so nothing is guessed."""
    env = LocalEnvironment()
    left, right = env.from_collection([3]), env.from_collection([4])
    function = Mended()
    left.connect(right).map(function, function, name="both", on_error="dead_letter").sink(
        lambda n: None
    )
    job = env.submit()
    job.wait(30)
    with pytest.raises(GraphError, match="both"):
        job.replay_dead_letters()
    assert [letter.record for letter in job.dead_letters()] == [3]


class Failing:
    """Raises at some records until it is mended."""

    def __init__(self, *bad: int) -> None:
        self.bad = set(bad)

    def __call__(self, a: int, b: int) -> int:
        if b in self.bad:
            raise ValueError(f"not {b}")
        return a + b


def test_an_operator_that_needs_timestamps_gets_them_again() -> None:
    """A replay begins at assign_timestamps, and no other branch sees the records twice."""
    function, got, other = Failing(3, 24), list[int](), list[int]()
    env = LocalEnvironment()
    timed = env.from_collection([1, 2, 3, 23, 24]).assign_timestamps(lambda n: n)
    timed.sink(other.append)
    sums = (
        timed.key_by(lambda n: 0)
        .window(TumblingWindow(10))
        .reduce(function, on_error="dead_letter")
    )
    sums.sink(got.append)
    job = env.submit()
    job.wait(30)
    assert got == [3, 23]
    assert [letter.record for letter in job.dead_letters()] == [3, 24]
    function.bad.clear()
    job.replay_dead_letters()
    assert got[2:] == [3, 24]
    assert other == [1, 2, 3, 23, 24]
    assert list(job.dead_letters()) == []


def test_a_map_before_a_window_is_replayed_with_time() -> None:
    """What needs no time itself begins again where time is known, if one behind needs it."""
    function, got = Mended(), list[int]()
    env = LocalEnvironment()
    timed = env.from_collection([1, 3, 14]).assign_timestamps(lambda n: n)
    mapped = timed.map(function, on_error="dead_letter")
    mapped.window(TumblingWindow(10)).reduce(max).sink(got.append)
    job = env.submit()
    job.wait(30)
    function.done = True
    job.replay_dead_letters()
    assert got == [1, 14, 3]


def test_timestamps_that_are_no_more_known_are_not_guessed() -> None:
    """Where records were changed since, the replay is refused, and the letters stay."""
    function, env = Mended(), LocalEnvironment()
    timed = env.from_collection([1, 3]).assign_timestamps(lambda n: n)
    mapped = timed.map(lambda n: n * 3).map(function, name="later", on_error="dead_letter")
    mapped.window(TumblingWindow(10)).reduce(max).sink(lambda n: None)
    job = env.submit()
    job.wait(30)
    with pytest.raises(GraphError, match=r"'later' cannot be replayed: .* needs times") as told:
        job.replay_dead_letters()
    assert "right before 'later'" in str(told.value)
    assert len(list(job.dead_letters())) == 2


def test_a_fold_without_keys_can_be_replayed() -> None:
    """The only key is given again."""
    function, got = Failing(2), list[int]()
    env = LocalEnvironment()
    env.from_collection([1, 2, 3]).reduce(function, on_error="dead_letter").sink(got.append)
    job = env.submit()
    job.wait(30)
    function.bad.clear()
    job.replay_dead_letters()
    assert got == [1, 4, 2]
