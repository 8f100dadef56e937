"""CPU features that make embedding faster."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from pathlib import Path

from sage.cli.health.finding import Finding, fine

__all__ = ["cpu_flags", "processor"]

_INTERESTING = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "asimd")


def cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
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


def processor() -> Iterator[Finding]:
    """Say how many cores there are and which vector instructions they have."""
    flags = cpu_flags()
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    shown = ", ".join(flag for flag in _INTERESTING if flag in flags) or "no known extensions"
    yield fine("cpu", f"{platform.machine()}, {usable} cores, {shown}")
    if {"avx512_bf16", "amx_bf16"} & flags:
        yield fine("bf16", "on this CPU; the ONNX embedder computes in fp32 all the same")
    else:
        yield fine("bf16", "not on this CPU; embedding computes in fp32")
