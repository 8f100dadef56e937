"""How a backend is chosen from what the processor has."""

from __future__ import annotations

from pathlib import Path

import pytest

from sage.libs.embedding import load_embedder
from sage.libs.embedding.backends import choose_backend
from sage.libs.embedding.processor import bf16_instructions, flags

ZEN3 = "fpu sse2 avx avx2 fma"
ZEN4 = "fpu sse2 avx avx2 fma avx512f avx512_vnni avx512_bf16"
SAPPHIRE_RAPIDS = ZEN4 + " amx_bf16 amx_tile amx_int8"


@pytest.mark.parametrize(
    ("line", "expected"),
    [(ZEN3, None), (ZEN4, "avx512_bf16"), (SAPPHIRE_RAPIDS, "amx_bf16"), ("", None)],
)
def test_bf16_is_read_from_the_flags(tmp_path: Path, line: str, expected: str | None) -> None:
    """Only a processor that multiplies bfloat16 is said to, whatever else it has."""
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor\t: 0\nflags\t\t: {line}\n\nprocessor\t: 1\nflags\t: bogus\n")
    assert bf16_instructions(flags(cpuinfo)) == expected
    assert flags(tmp_path / "nothing") == frozenset()


def test_openvino_is_chosen_for_bf16_alone() -> None:
    """It needs both the instructions and the extra; the reason says what is missing."""
    fast, slow = frozenset(ZEN4.split()), frozenset(ZEN3.split())
    assert choose_backend(found=fast, has_openvino=True).backend == "openvino"
    assert choose_backend(found=slow, has_openvino=True).backend == "onnx"
    assert "isage-libs[openvino]" in choose_backend(found=fast, has_openvino=False).reason


def test_auto_is_what_is_chosen() -> None:
    """The default embedder is the chosen backend's, and the same object as asked for by name."""
    chosen = choose_backend().backend
    assert load_embedder().backend == chosen
    assert load_embedder() is load_embedder(backend=chosen)
