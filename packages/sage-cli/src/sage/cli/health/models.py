"""The weights of the embedder, their conversion, and ONNX Runtime."""

from __future__ import annotations

from collections.abc import Iterator

from sage.cli.health.finding import Finding, failed, fine, noted
from sage.common.errors import SageError
from sage.common.paths import cache_dir

__all__ = ["runtime", "weights"]


def runtime() -> Iterator[Finding]:
    """Check that ONNX Runtime loads, and say what it can compute on."""
    try:
        import onnxruntime
    except ImportError as error:
        yield failed("onnxruntime", str(error), "pip install 'isage[core]'")
        return
    providers = ", ".join(
        name.removesuffix("ExecutionProvider") for name in onnxruntime.get_available_providers()
    )
    yield fine("onnxruntime", f"{onnxruntime.__version__}, computes on {providers}")


def weights() -> Iterator[Finding]:
    """Check that the default embedding model is on this machine and converted to ONNX."""
    from sage.libs.embedding import DEFAULT_MODEL
    from sage.libs.embedding.convert import measured_cosine
    from sage.libs.embedding.weights import resolve

    try:
        directory = resolve(DEFAULT_MODEL)
    except SageError as error:
        yield failed("weights", error.message, error.hint or "")
        return
    yield fine("weights", f"{DEFAULT_MODEL} in {directory}")
    name = DEFAULT_MODEL.rpartition("/")[2]
    files = sorted((cache_dir() / "onnx").glob(f"*{name}*.onnx"), key=lambda f: f.stat().st_mtime)
    exact = [file for file in files if not file.name.endswith(".int8.onnx")]
    if exact:
        yield fine("converted", str(exact[-1]))
    else:
        yield noted(
            "converted", "not converted to ONNX yet", "nothing: the first use does it, in seconds"
        )
    if exact and exact[-1].with_suffix(".int8.onnx") in files:
        cosine = measured_cosine(f"{DEFAULT_MODEL}@int8")
        yield fine("int8", f"{DEFAULT_MODEL}@int8 is lossy: cosine {cosine} with the exact vectors")
