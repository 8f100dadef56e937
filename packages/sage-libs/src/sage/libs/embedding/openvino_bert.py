"""The same models on OpenVINO, in bfloat16 where the processor multiplies it in hardware.

In float32 it is as fast as ONNX Runtime (83 GFLOP/s on an AVX2 core), so it is chosen by itself
only for bfloat16. Importing OpenVINO imports its maker's telemetry, which may report over the
network; here that package is hidden meanwhile, and nothing is sent.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sage.common.config import Annotated, Meta, configurable
from sage.common.errors import ConfigError, DataError, MissingExtraError, Problem
from sage.libs.embedding.bert_embedder import BertEmbedder, Output
from sage.libs.embedding.convert import converted
from sage.libs.embedding.embedder import DEFAULT_MODEL
from sage.libs.embedding.processor import bf16_instructions, cores, flags
from sage.libs.embedding.weights import split_precision

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["OpenVinoEmbedder"]

_opening = threading.Lock()
_importing = threading.Lock()


@configurable
class OpenVinoEmbedder(BertEmbedder):
    """Embeds as `OnnxEmbedder` does, under the same model id, with OpenVINO.

    Its vectors have a cosine of .9999 or more with those of `OnnxEmbedder`, so that a collection
    takes both. OpenVINO has threads of its own, which a child made by ``fork`` has not: it compiles
    the model anew, in a quarter of a second.

    Args:
        model: A model id or a directory, see `sage.libs.embedding.weights.resolve`.
        max_tokens: Longest text that is read whole, in tokens with the two special ones.
        batch_tokens: Most tokens to compute at once on a core, padding included.
        precision: What is multiplied: ``"bf16"``, ``"f32"``, or ``"auto"`` for bf16 where the
            processor has instructions for it.

    Raises:
        MissingExtraError: at construction, if OpenVINO is not installed.
        MissingWeightsError: at construction, if the weights are nowhere on this machine.
        ConfigError: if bf16 is asked for and the processor has no instructions for it, or the
            model is ``MODEL@int8``.

    Example::

        embedder = OpenVinoEmbedder()
        vectors = embedder.embed(["Water boils at 100 °C."])  # float32 [1, 384]
    """

    backend = "openvino"

    def __init__(
        self,
        *,
        model: str = DEFAULT_MODEL,
        max_tokens: Annotated[int, Meta(ge=3, le=512)] = 256,
        batch_tokens: Annotated[int, Meta(ge=1)] = 512,
        precision: Literal["auto", "f32", "bf16"] = "auto",
    ) -> None:
        if importlib.util.find_spec("openvino") is None:
            raise MissingExtraError("openvino", extra="isage-libs[openvino]")
        if split_precision(model)[1]:
            problem = Problem("$.model", f"{model!r} is computed by the backend 'onnx' alone")
            raise ConfigError("OpenVinoEmbedder", [problem])
        super().__init__(model, max_tokens, batch_tokens)
        self.precision = _possible(precision)
        self._network: _Network | None = None

    def _options(self) -> dict[str, Any]:
        return super()._options() | {"precision": self.precision}

    def _compute(self, output: Output, ids: Any, mask: Any) -> npt.NDArray[np.float32]:
        network = self._network
        if network is None or network.process != os.getpid():
            network = self._opened()
        return network.run(output, ids, mask)

    def _opened(self) -> _Network:
        with _opening:
            self._network = _network(converted(self.model), self.precision, os.getpid())
        return self._network


class _Network:
    """A compiled model and its idle requests: a request serves one thread at a time."""

    def __init__(self, compiled: Any, process: int) -> None:
        self.process = process
        self._compiled = compiled
        self._idle: list[Any] = []

    def run(self, output: Output, ids: Any, mask: Any) -> npt.NDArray[np.float32]:
        try:
            request = self._idle.pop()
        except IndexError:
            request = self._compiled.create_infer_request()
        request.infer({"input_ids": ids, "attention_mask": mask}, share_inputs=True)
        computed: npt.NDArray[np.float32] = request.get_tensor(output).data.copy()
        # Not after an error or Ctrl-C: it may still be computing.
        self._idle.append(request)
        return computed


def _possible(precision: Literal["auto", "f32", "bf16"]) -> Literal["f32", "bf16"]:
    instructions = bf16_instructions(flags())
    if precision == "auto":
        return "bf16" if instructions else "f32"
    if precision == "bf16" and instructions is None:
        problem = Problem("$.precision", "this CPU has no bfloat16 instructions; use 'auto'")
        raise ConfigError("OpenVinoEmbedder", [problem])
    return precision


@functools.lru_cache(maxsize=4)
def _network(path: Path, precision: str, process: int) -> _Network:
    """Return the process's one network of a converted model."""
    options = {
        "INFERENCE_PRECISION_HINT": precision,
        "PERFORMANCE_HINT": "THROUGHPUT",
        # As many batches at once as there are cores, each on one.
        "NUM_STREAMS": cores(),
        "INFERENCE_NUM_THREADS": cores(),
        "ENABLE_CPU_PINNING": False,
    }
    try:
        core = _import_openvino().Core()
        compiled = core.compile_model(core.read_model(str(path)), "CPU", options)
        return _Network(compiled, process)
    except RuntimeError as error:
        raise DataError(
            f"cannot load the converted model {str(path)!r}: {error}",
            hint="delete that file; it is made again",
            path=str(path),
        ) from error


def _import_openvino() -> Any:
    """Import OpenVINO without its telemetry, which falls back to a stub when it is not there."""
    with _importing:
        hidden = "openvino_telemetry"
        if "openvino" not in sys.modules and hidden not in sys.modules:
            sys.modules[hidden] = None  # type: ignore[assignment]  # importing it fails
            try:
                import openvino
            finally:
                del sys.modules[hidden]
        import openvino

        return openvino
