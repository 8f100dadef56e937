"""A real Chroma server, started once and only if a test asks for it."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

_START = "import sys; from chromadb.cli.cli import app; sys.argv[0] = 'chroma'; app()"


@pytest.fixture(scope="session")
def chroma_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Give the port of a Chroma server on the loopback address."""
    if importlib.util.find_spec("chromadb") is None:
        pytest.skip("chromadb is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    directory = tmp_path_factory.mktemp("chroma-server")
    options = ["--path", str(directory), "--host", "127.0.0.1", "--port", str(port)]
    with (directory / "log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-c", _START, "run", *options],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, "ANONYMIZED_TELEMETRY": "False"},
        )
    try:
        while not _answers(port):
            if server.poll() is not None:
                pytest.fail(f"chroma run ended: {(directory / 'log').read_text()[-2000:]}")
            threading.Event().wait(0.02)
        yield port
    finally:
        server.terminate()
        server.wait(20)


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
