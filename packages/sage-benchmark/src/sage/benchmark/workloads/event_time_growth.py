"""Growth of W3: does an event cost the same with more keys, and with more windows open at once?

As in `sage.benchmark.workloads.growth`, a slope is looked for and not a level. What grows in the
memory's latency grows for the hand-written loop, too: it is the difference that tells.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence

from sage.benchmark.measuring import timed
from sage.benchmark.row import Contestant, Figure, Request, Role, Row, Sample
from sage.benchmark.workloads.events import START_S, Event, Outcome
from sage.benchmark.workloads.w3_event_time_sum import SIZE_S

__all__ = ["KEYS_ROW", "WINDOWS_ROW", "crowded", "measure_keys", "measure_windows", "spread_out"]

KEYS = {"1k": 1_000, "100k": 100_000, "1M": 1_000_000, "5M": 5_000_000}
WINDOWS = (1, 10, 100, 1_000)
FEW_KEYS = 10
CLOSED = 5_000  # windows that a run closes, however many are open
SPREAD = 7_919  # a prime: keys and delays come in an order without pattern
STEPS = 10_007  # of the delays

Totals = Callable[[Sequence[Event], float], Outcome]
"""A contestant: W3's, with the bound of the disorder."""


def crowded(size: int, keys: int) -> list[Event]:
    """Return events of one window: of every key at least one, and ``size`` in all or more."""
    count = max(size, keys)
    step_s = SIZE_S / 2 / count
    return [(START_S + n * step_s, n * SPREAD % keys, 1) for n in range(count)]


def spread_out(size: int, windows: int) -> list[Event]:
    """Return ``size`` events of ten keys, each for any of so many windows that are open then."""
    step_s = CLOSED * SIZE_S / size
    delay_s = windows * SIZE_S / STEPS
    return [
        (START_S + n * step_s - n * SPREAD % STEPS * delay_s, n % FEW_KEYS, 1) for n in range(size)
    ]


def measure_keys(contestant: Totals, request: Request) -> Sample:
    """Time sums over 1,000 to 5 M keys that are all in state at once."""
    size = request["size"]
    sample: Sample = {}
    for name, keys in KEYS.items():
        records = crowded(size, min(keys, 5 * size))
        sample[f"ns_{name}"] = _ns(contestant, records, SIZE_S)
        del records
        gc.collect()
    return sample


def measure_windows(contestant: Totals, request: Request) -> Sample:
    """Time sums with 1 to 1,000 windows open for each key."""
    size = request["size"]
    return {
        f"ns_{windows}": _ns(contestant, spread_out(size, windows), windows * SIZE_S)
        for windows in WINDOWS
    }


def _ns(contestant: Totals, records: Sequence[Event], bound_s: float) -> float:
    """Return nanoseconds an event.

    Raises:
        ValueError: if an event is in no result.
    """
    sample, results = timed(
        lambda part: contestant(part, bound_s).results, records, len(records) // 20
    )
    counted = sum(count for _, _, count in results)
    if counted != len(records):
        raise ValueError(f"{len(records)} events went in, {counted} came out")
    return float(sample["ns_per_record"])


_HERE = "sage.benchmark.workloads.event_time_growth"
_W3 = "sage.benchmark.workloads.w3_event_time_sum"

_CONTESTANTS = (
    Contestant(name="by hand", target=f"{_W3}:by_hand", role=Role.LIMIT),
    Contestant(name="SAGE", target=f"{_W3}:sage", role=Role.SAGE, judged=True),
)

KEYS_ROW = Row(
    key="G4",
    title="growth: W3's sums over 1 k to 5 M keys in state, ns an event",
    limit="a dict and a loop",
    measure=f"{_HERE}:measure_keys",
    size=1_000_000,
    quick_size=1_000,
    contestants=_CONTESTANTS,
    figures=tuple(Figure(key=f"ns_{name}", label=f"{name} keys", digits=0) for name in KEYS),
    compares_output=False,
    charted="",
    most_rounds=3,
)

WINDOWS_ROW = Row(
    key="G5",
    title="growth: W3's sums with 1 to 1,000 open windows for each of ten keys, ns an event",
    limit="a dict for each open window and a loop",
    measure=f"{_HERE}:measure_windows",
    size=1_000_000,
    quick_size=10_000,
    contestants=_CONTESTANTS,
    figures=tuple(Figure(key=f"ns_{count}", label=f"{count} open", digits=0) for count in WINDOWS),
    compares_output=False,
    charted="",
    most_rounds=3,
)
