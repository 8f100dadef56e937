"""A real Redis server, for this session alone: in a folder of its own, nothing kept."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def _redis_url() -> Iterator[str]:
    pytest.importorskip("redis", reason="isage-libs[redis] is not installed")
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("there is no redis-server here (Debian: apt-get install redis-server)")
    # Not tmp_path: the name of a socket must be short.
    with tempfile.TemporaryDirectory(prefix="redis-") as folder:
        socket = Path(folder, "socket")
        options = ["--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", folder]
        with subprocess.Popen([program, *options], stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            said = []
            for line in server.stdout:
                said.append(line)
                if "eady to accept connections" in line:
                    break
            else:
                pytest.fail("redis-server has ended:\n" + "".join(said))
            try:
                yield f"unix://{socket}"
            finally:
                server.terminate()


@pytest.fixture
def redis_url(_redis_url: str) -> str:
    """The URL of a server without any keys."""
    import redis

    with redis.Redis.from_url(_redis_url) as client:
        client.flushall()
    return _redis_url


@pytest.fixture
def redis_client(redis_url: str) -> Iterator[Any]:
    """A client of that server."""
    import redis

    with redis.Redis.from_url(redis_url) as client:
        yield client
