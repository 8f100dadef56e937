"""When a window says what is in it: by event time, by number of records, by the clock.

A window has three times to speak, as in the Dataflow model: *early*, before its end; *on time*,
when the watermark reaches its end; and *late*, until its allowed lateness is over. A trigger says
what happens in each. Whatever has not been said is said when the window's time is over, so no
record is lost by a trigger.

Example:
    >>> AfterWatermark(early=AfterCount(100))
    AfterWatermark(early=AfterCount(count=100), late=AfterCount(count=1))
"""

from __future__ import annotations

from dataclasses import dataclass

from sage.kernel.errors import GraphError
from sage.kernel.operators.windowing.arguments import check_count, check_seconds

__all__ = ["AfterCount", "AfterProcessingTime", "AfterWatermark", "RepeatedTrigger", "Trigger"]


@dataclass(frozen=True)
class AfterCount:
    """Fires whenever so many records have come since the last firing, and for what is left.

    Args:
        count: How many records.

    Raises:
        GraphError: if it is no whole number of at least 1.

    Example:
        >>> AfterCount(10).count
        10
    """

    count: int

    def __post_init__(self) -> None:
        check_count("AfterCount", "count", self.count)


@dataclass(frozen=True)
class AfterProcessingTime:
    """Fires so long after the first record since the last firing, and for what is left.

    The clock is the job's, so what is in a firing depends on when records arrive.

    Args:
        delay_s: Seconds.

    Raises:
        GraphError: if it is no finite number above 0.

    Example:
        >>> AfterProcessingTime(0.5).delay_s
        0.5
    """

    delay_s: float

    def __post_init__(self) -> None:
        check_seconds("AfterProcessingTime", "delay_s", self.delay_s, above=0)


RepeatedTrigger = AfterCount | AfterProcessingTime


@dataclass(frozen=True)
class AfterWatermark:
    """Fires when the watermark reaches the window's end: the default.

    Args:
        early: Also fires before, whenever this says so.
        late: When records that came later, within the allowed lateness, make it fire again; by
            default each of them does.

    Raises:
        GraphError: if ``early`` or ``late`` is another than the two triggers that repeat.

    Example:
        >>> AfterWatermark(late=AfterProcessingTime(60)).late
        AfterProcessingTime(delay_s=60)
    """

    early: RepeatedTrigger | None = None
    late: RepeatedTrigger | None = AfterCount(1)

    def __post_init__(self) -> None:
        for name in ("early", "late"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, AfterCount | AfterProcessingTime):
                raise GraphError(
                    f"AfterWatermark: {name} wants AfterCount or AfterProcessingTime, "
                    f"got {value!r:.80}",
                    hint=f"{name}=AfterCount(100)",
                )
        if self.late is None:
            object.__setattr__(self, "late", AfterCount(1))


Trigger = AfterWatermark | AfterCount | AfterProcessingTime
