"""The OpenVINO embedder, where the extra is installed."""

from __future__ import annotations

import subprocess
import sys

import pytest

from sage.common.errors import ConfigError
from sage.libs.embedding import OnnxEmbedder, OpenVinoEmbedder, load_embedder
from sage.libs.embedding.processor import bf16_instructions, flags
from sage.libs.embedding.testing import check_embedder, check_same_vectors

pytest.importorskip("openvino", reason="needs isage-libs[openvino]")


def test_conformance() -> None:
    """It does what every embedder must do, with the vectors of the ONNX embedder."""
    embedder = load_embedder(backend="openvino")
    assert embedder.backend == "openvino"
    check_embedder(embedder)
    check_same_vectors(embedder, OnnxEmbedder())


@pytest.mark.skipif(bf16_instructions(flags()) is not None, reason="this CPU has bfloat16")
def test_never_pretends() -> None:
    """bf16 is refused where the processor would only emulate it, and not chosen by itself."""
    assert OpenVinoEmbedder().precision == "f32"
    with pytest.raises(ConfigError, match="no bfloat16 instructions"):
        OpenVinoEmbedder(precision="bf16")


def test_sends_nothing() -> None:
    """Importing OpenVINO through the embedder opens no connection and loads no telemetry."""
    code = (
        "import sys\n"
        "calls = []\n"
        "sys.addaudithook(lambda event, _: calls.append(event)"
        " if event in ('socket.connect', 'socket.getaddrinfo', 'subprocess.Popen') else None)\n"
        "from sage.libs.embedding import OpenVinoEmbedder\n"
        "OpenVinoEmbedder().embed(['a'])\n"
        "assert 'openvino' in sys.modules and not calls, calls\n"
        "assert not any(name.startswith('openvino_telemetry') for name in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
