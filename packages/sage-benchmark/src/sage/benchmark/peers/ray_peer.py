"""Ray Data: distributed datasets of rows; the cluster is this machine."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from sage.benchmark.workloads.w1_stateless import STEPS as W1_STEPS
from sage.benchmark.workloads.w2_word_count import word_of

__all__ = ["w1", "w2"]


def _dataset(records: Sequence[Any]) -> Any:
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    if not ray.is_initialized():  # happens in the warm-up, before the clock starts
        ray.init(
            num_cpus=os.cpu_count(),
            include_dashboard=False,
            log_to_driver=False,
            configure_logging=False,
        )
        ray.data.DataContext.get_current().enable_progress_bars = False
    return ray.data.from_items(list(records))


def w1(records: Sequence[int]) -> list[int]:
    """``map`` and ``filter`` over rows."""
    dataset = _dataset(records)
    for verb, function in W1_STEPS:
        if verb == "map":
            dataset = dataset.map(_mapping(function))
        else:
            dataset = dataset.filter(_choosing(function))
    return [row["item"] for row in dataset.iter_rows()]


def w2(records: Sequence[str]) -> list[tuple[str, int]]:
    """``groupby().count()``: one final count a word."""
    dataset = _dataset(records).map(_mapping(word_of)).groupby("item").count()
    return [(row["item"], row["count()"]) for row in dataset.iter_rows()]


def _mapping(function: Any) -> Any:
    def mapped(row: dict[str, Any]) -> dict[str, Any]:
        return {"item": function(row["item"])}

    return mapped


def _choosing(function: Any) -> Any:
    def chosen(row: dict[str, Any]) -> bool:
        return bool(function(row["item"]))

    return chosen
