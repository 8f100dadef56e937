"""Quantizes a converted model to 8 bits, and measures what that costs.

The weights are rounded per column once, the activations of each text while computing (dynamic
quantization, Jacob et al. 2018). On an AVX2 core that is 1.6 times as fast, with VNNI instructions
more, and the file is a quarter of the size. Its vectors are others: a cosine of about .99 with the
exact ones. So it is asked for by name, as ``MODEL@int8``, under which collections remember it.

Beside the model lies what was measured when it was made: the cosine of the vectors of a fixed
sample of texts with the exact ones.
"""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from sage.common.errors import DataError

__all__ = ["Cosine", "measure", "quantize", "read_cosine"]

# Questions, prose, code, tables; a few words and many. Changed, it measures something else.
_SAMPLE: Final = (
    "water",
    "How do I reset my password?",
    "What is the boiling point of water at high altitude?",
    "Stock markets fell sharply on Monday after the central bank raised its rates.",
    "def area(radius): return 3.14159 * radius ** 2",
    "The committee will not approve the budget until the audit is finished.",
    "The committee will approve the budget even though the audit is not finished.",
    "Photosynthesis turns light, water and carbon dioxide into sugar and oxygen in the leaves of"
    " plants.",
    "ERROR 2031: connection to 10.0.0.7 refused, retrying in 30 seconds (attempt 4 of 5)",
    "Name: Ada Lovelace; born 1815; field: mathematics; known for: the first published program",
    "Patients who were given the vaccine had half as many infections as the control group, but the"
    " difference was not significant among those over seventy.",
    "She walked home along the river, past the mill and the old bridge, and thought of nothing.",
    "A stream processor takes records one by one. Each operator keeps state by key. When a barrier"
    " has passed all inputs of an operator, it writes a snapshot of that state, and a job that"
    " fails begins again at the last complete set of snapshots. Sources are read again from where"
    " they were then, so that every record counts exactly once.",
    "The recipe needs 200 g of flour, two eggs, a pinch of salt and half a litre of milk.",
    "Is it legal to record a telephone call without telling the other person?",
    "Gravity bends light: the position of a star near the edge of the sun shifts by 1.75 arc"
    " seconds, as was seen in 1919.",
)


class Cosine(NamedTuple):
    """Of a sample of vectors with the exact ones of the same texts.

    Attributes:
        mean: Over the sample.
        least: Of the text that suffers most.
    """

    mean: float
    least: float


def quantize(exact: Path) -> bytes:
    """Return the model of ``exact``, an ONNX file, with weights of 8 bits. Takes two seconds."""
    from onnx import TensorProto
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as scratch, _own_log_only():
        target = Path(scratch) / "int8.onnx"
        quantize_dynamic(
            exact,
            target,
            per_channel=True,
            weight_type=QuantType.QInt8,
            # The types behind Attention and BiasGelu, which are not in the standard.
            extra_options={"DefaultTensorType": TensorProto.FLOAT},
        )
        return target.read_bytes()


def measure(exact: Path, lossy: Path, tokenizer: Any) -> Cosine:
    """Compare the vectors that two ONNX files give for the sample.

    Args:
        exact: The converted model.
        lossy: The same, quantized.
        tokenizer: Theirs.
    """
    cosines = (_embedded(exact, tokenizer) * _embedded(lossy, tokenizer)).sum(axis=1)
    return Cosine(round(float(cosines.mean()), 4), round(float(cosines.min()), 4))


def read_cosine(path: Path) -> Cosine:
    """Return what was written beside a quantized model.

    Raises:
        DataError: if it cannot be read.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return Cosine(float(found["mean"]), float(found["least"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"cannot read the cosine in {str(path)!r}: {error}",
            hint="delete that file; it is made again",
            path=str(path),
        ) from error


def _embedded(path: Path, tokenizer: Any) -> npt.NDArray[np.float32]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
    rows = []
    for text in _SAMPLE:
        ids = np.asarray([tokenizer.encode(text).ids], dtype=np.int64)
        feed = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
        rows.append(session.run(["embedding"], feed)[0][0])
    return np.stack(rows)


@contextmanager
def _own_log_only() -> Iterator[None]:
    """Keep the quantizer's advice from setting up logging for the whole process."""
    quiet, root = logging.NullHandler(), logging.getLogger()
    root.addHandler(quiet)
    try:
        yield
    finally:
        root.removeHandler(quiet)
