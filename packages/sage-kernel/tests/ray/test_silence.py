"""Who counts as silent."""

from __future__ import annotations

from sage.kernel.runtime.ray.silence import Silence

A, B = (0, 0), (1, 0)


class FakeClock:
    """Goes on when told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_who_does_not_answer_is_found_after_the_time_and_not_before() -> None:
    """Silence adds up over looks, and an answer ends it."""
    clock = FakeClock()
    silence = Silence(1.0, clock)
    silence.heard(A)
    silence.heard(B)
    for _ in range(3):
        clock.now += 1
        assert silence.longer_than(3) is None
        silence.heard(B)
    clock.now += 1
    assert silence.longer_than(3) == A


def test_a_pause_of_the_driver_itself_is_nobodys_silence() -> None:
    """After an hour in which the driver was stopped, nobody is given up unasked."""
    clock = FakeClock()
    silence = Silence(1.0, clock)
    silence.heard(A)
    clock.now += 3600
    assert silence.longer_than(3) is None


def test_who_has_nothing_more_to_say_is_not_waited_for() -> None:
    """A task that has ended is never silent; without a timeout nobody is."""
    clock = FakeClock()
    silence = Silence(1.0, clock)
    silence.heard(A)
    for _ in range(9):
        clock.now += 1
        assert silence.longer_than(None) is None
    silence.forget(A)
    assert silence.longer_than(3) is None
