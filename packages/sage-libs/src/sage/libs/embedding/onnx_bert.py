"""BERT-like embedders on ONNX Runtime: no torch, 0.3 s to load, a batch on each core."""

from __future__ import annotations

import functools
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sage.common.config import Annotated, Meta, configurable
from sage.common.errors import DataError
from sage.libs.embedding.bert_embedder import BertEmbedder, Output
from sage.libs.embedding.convert import converted, measured_cosine
from sage.libs.embedding.embedder import DEFAULT_MODEL
from sage.libs.embedding.weights import split_precision

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["OnnxEmbedder"]

_opening = threading.Lock()


@configurable
class OnnxEmbedder(BertEmbedder):
    """Embeds texts with a sentence-transformers model of the BERT family, on the CPU.

    A text of more than ``max_tokens`` tokens is **truncated**: what follows does not influence its
    vector. Chunk long texts first (`sage.libs.documents.chunker`).

    Texts are sorted by length and put into batches of about ``batch_tokens`` tokens, so that little
    is computed for padding; the result is in the order of the input. A call uses all the cores that
    the process may run on. All embedders of one model in a process share one session, which has no
    threads of its own: threads may use it at once, and children made by ``fork`` too. Copies and
    pickles of an embedder find that session again.

    ``MODEL@int8`` computes with 8 bits: faster, and lossy. It is another model to a collection;
    ``cosine`` says how far its vectors are from the exact ones. It computes text by text, whatever
    ``batch_tokens`` says.

    Args:
        model: A model id or a directory, see `sage.libs.embedding.weights.resolve`, with ``@int8``
            behind it or not.
        max_tokens: Longest text that is read whole, in tokens with the two special ones.
        batch_tokens: Most tokens to compute at once on a core, padding included.

    Raises:
        MissingWeightsError: at construction, if the weights are nowhere on this machine.

    Example::

        embedder = OnnxEmbedder()
        vectors = embedder.embed(["Water boils at 100 °C."])  # float32 [1, 384]
    """

    backend = "onnx"

    def __init__(
        self,
        *,
        model: str = DEFAULT_MODEL,
        max_tokens: Annotated[int, Meta(ge=3, le=512)] = 256,
        batch_tokens: Annotated[int, Meta(ge=1)] = 512,
    ) -> None:
        # Activations are rounded by the largest one of the batch. Each text alone, so that the
        # vector of a text does not depend on its neighbours.
        super().__init__(model, max_tokens, 1 if split_precision(model)[1] else batch_tokens)
        self._session: Any = None

    @property
    def cosine(self) -> float:
        """Mean cosine with the exact vectors, measured at conversion; 1 but for int8."""
        return measured_cosine(self.model)

    def __repr__(self) -> str:
        lossy = f", lossy: cosine {self.cosine}" if split_precision(self.model)[1] else ""
        return f"{type(self).__name__}(model={self.model!r}{lossy})"

    def _compute(self, output: Output, ids: Any, mask: Any) -> npt.NDArray[np.float32]:
        session = self._session or self._opened()
        computed: list[npt.NDArray[np.float32]] = session.run(
            [output], {"input_ids": ids, "attention_mask": mask}
        )
        return computed[0]

    def _opened(self) -> Any:
        with _opening:
            self._session = _session(converted(self.model))
        return self._session


@functools.lru_cache(maxsize=4)
def _session(path: Path) -> Any:
    """Return the process's one session of a converted model."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # whoever calls brings the thread
    options.inter_op_num_threads = 1
    options.enable_mem_pattern = False  # shapes differ from batch to batch
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
    except Exception as error:  # the library's exceptions share no public base class
        raise DataError(
            f"cannot load the converted model {str(path)!r}: {error}",
            hint="delete that file; it is made again",
            path=str(path),
        ) from error
