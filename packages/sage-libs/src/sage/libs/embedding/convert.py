"""Converts the weights of a model to ONNX once; afterwards it only finds the file.

    python -m sage.libs.embedding.convert [MODEL]

prints the path of the converted model. Calling it again, or from many processes at once, is
harmless: the file appears whole, by a rename, or not at all.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from sage.common.errors import DataError, MissingExtraError, SageError, StorageError
from sage.common.paths import cache_dir
from sage.libs.embedding.embedder import DEFAULT_MODEL
from sage.libs.embedding.weights import resolve, split_precision

__all__ = ["converted", "main", "measured_cosine", "read_config", "read_pooling"]

# Raised whenever bert_graph.py builds another graph, so that old files are not found any more.
_GRAPH_VERSION: Final = 2
_SAMPLES: Final = 64


def converted(model: str = DEFAULT_MODEL) -> Path:
    """Return the ONNX file of a model, converting it now if that was not done before.

    The first call takes about two seconds for all-MiniLM-L6-v2, later ones a few milliseconds. The
    file is kept under ``$SAGE_HOME/cache/onnx``; deleting it is harmless. Beside that of
    ``MODEL@int8`` lies what `measured_cosine` returns.

    Raises:
        MissingWeightsError: if the weights are nowhere on this machine.
        MissingExtraError: if it has to be converted and the package ``onnx`` is not installed.
        DataError: if the weights are damaged or not those of a BERT-like model.
        StorageError: if the file cannot be written.
    """
    model, precision = split_precision(model)
    directory = resolve(model)
    name = re.sub(r"[^A-Za-z0-9.]+", "-", directory.name if Path(model).is_dir() else model)
    target = cache_dir() / "onnx" / f"{name}-{_fingerprint(directory)}.onnx"
    if not target.is_file():
        _write(_converted_bytes(directory), target)
    return _quantized(target, model) if precision else target


def measured_cosine(model: str) -> float:
    """Return the mean cosine of a model's vectors with the exact ones; 1 but for ``MODEL@int8``.

    It was measured when the model was converted, which is done now if need be.

    Raises:
        DataError: if the file that holds it is damaged; and what `converted` raises.
    """
    if not split_precision(model)[1]:
        return 1.0
    from sage.libs.embedding.int8 import read_cosine

    return read_cosine(converted(model).with_suffix(".json")).mean


def _quantized(exact: Path, model: str) -> Path:
    """Return the file of 8 bits beside the exact one, made and measured now if need be."""
    target = exact.with_suffix(".int8.onnx")
    beside = target.with_suffix(".json")
    if not target.is_file() or not beside.is_file():
        from sage.libs.embedding.int8 import measure, quantize
        from sage.libs.embedding.tokenizer import load_tokenizer

        _write(quantize(exact), target)
        cosine = measure(exact, target, load_tokenizer(model))
        _write(json.dumps(cosine._asdict()).encode(), beside)
    return target


def read_config(directory: Path) -> dict[str, Any]:
    """Return the model's ``config.json``.

    Raises:
        DataError: if it cannot be read.
    """
    return _read_json(directory / "config.json")


def main(arguments: list[str] | None = None) -> int:
    """Convert the model named on the command line, or the default, and print where it is."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        print(converted(*given[:1]))
    except SageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _read_json(path: Path) -> dict[str, Any]:
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {str(path)!r}: {error}", path=str(path)) from error
    if not isinstance(loaded, dict):
        raise DataError(f"{str(path)!r} does not hold a JSON object", path=str(path))
    return loaded


def _fingerprint(directory: Path) -> str:
    """Return a hash of config, size and 64 samples of the weights: 1 ms instead of 100.

    Fine-tuning changes every weight, so samples tell models apart.
    """
    digest = hashlib.blake2b(digest_size=6)
    digest.update(f"graph {_GRAPH_VERSION} {read_pooling(directory)}".encode())
    digest.update((directory / "config.json").read_bytes())
    with (directory / "model.safetensors").open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        digest.update(str(size).encode())
        for sample in range(_SAMPLES):
            file.seek(size * sample // _SAMPLES)
            digest.update(file.read(512))
    return digest.hexdigest()


def read_pooling(directory: Path) -> str:
    """Return how the model makes one vector of its tokens' ones: ``"mean"`` or ``"cls"``.

    Raises:
        DataError: if the file that says so cannot be read.
    """
    path = directory / "1_Pooling" / "config.json"
    if path.is_file() and _read_json(path).get("pooling_mode_cls_token"):
        return "cls"
    return "mean"


def _converted_bytes(directory: Path) -> bytes:
    try:
        import onnx  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingExtraError("onnx", extra="onnx>=1.17,<2") from error
    from sage.libs.embedding.bert_graph import build_bert
    from sage.libs.embedding.safetensors import read_safetensors

    weights = read_safetensors(directory / "model.safetensors")
    model = build_bert(read_config(directory), weights, pooling=read_pooling(directory))
    serialized: bytes = model.SerializeToString()
    return serialized


def _write(data: bytes, target: Path) -> None:
    partial: str | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, partial = tempfile.mkstemp(dir=target.parent, prefix=".", suffix=".partial")
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, target)
    except OSError as error:
        if partial is not None:
            Path(partial).unlink(missing_ok=True)
        raise StorageError(
            f"cannot write the converted model {str(target)!r}: {error.strerror or error}",
            hint="free some space (90 MB), or set SAGE_HOME to another directory",
            path=str(target),
        ) from error


if __name__ == "__main__":
    raise SystemExit(main())
