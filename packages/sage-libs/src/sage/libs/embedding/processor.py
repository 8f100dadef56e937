"""What the processor offers: cores that this process may use, and instructions."""

from __future__ import annotations

import os
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Final

__all__ = ["bf16_instructions", "cores", "flags"]

# Either multiplies bfloat16 at twice the speed of float32 or more.
_BF16: Final = ("amx_bf16", "avx512_bf16")


def cores() -> int:
    """Return how many cores this process may run on, asked anew: it can change at any time."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """Return the feature flags of the first CPU; empty where the system does not say."""
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return frozenset()
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            return frozenset(value.split())
    return frozenset()


def bf16_instructions(found: AbstractSet[str]) -> str | None:
    """Return the instructions of a processor that multiply bfloat16, or None if it has none.

    Args:
        found: Its feature flags, as Linux spells them.

    Example:
        >>> bf16_instructions({"avx2", "avx512f", "avx512_bf16"})
        'avx512_bf16'
        >>> bf16_instructions({"avx2", "avx512f"}) is None
        True
    """
    return next((name for name in _BF16 if name in found), None)
