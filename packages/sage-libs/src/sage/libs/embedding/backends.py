"""Which backend computes the default embedder's vectors on this machine, and why."""

from __future__ import annotations

import importlib.util
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from sage.libs.embedding.processor import bf16_instructions, flags

__all__ = ["Choice", "choose_backend"]


class Choice(NamedTuple):
    """A backend, and the reason for it in words."""

    backend: str
    reason: str


def choose_backend(
    *, found: AbstractSet[str] | None = None, has_openvino: bool | None = None
) -> Choice:
    """Return what ``load_embedder(backend="auto")`` takes.

    OpenVINO computes in bfloat16, at twice the speed or more, where the processor can; in float32
    it is no faster than ONNX Runtime, and larger.

    Args:
        found: The processor's flags; None for this one's.
        has_openvino: Whether the extra is installed; None to look.

    Example:
        >>> choose_backend(found={"avx2"}, has_openvino=True)
        Choice(backend='onnx', reason='this CPU has no bfloat16 instructions')
        >>> choose_backend(found={"amx_bf16"}, has_openvino=True)
        Choice(backend='openvino', reason='bfloat16 by amx_bf16')
    """
    instructions = bf16_instructions(flags() if found is None else found)
    if instructions is None:
        return Choice("onnx", "this CPU has no bfloat16 instructions")
    if has_openvino is None:
        has_openvino = importlib.util.find_spec("openvino") is not None
    if not has_openvino:
        hint = "pip install 'isage-libs[openvino]' makes embedding twice as fast on this CPU"
        return Choice("onnx", f"{instructions} is there, OpenVINO is not: {hint}")
    return Choice("openvino", f"bfloat16 by {instructions}")
