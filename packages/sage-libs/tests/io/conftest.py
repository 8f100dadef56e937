"""Real servers, for this session alone: each in a folder of its own, nothing kept."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _server_user() -> str | None:
    """Return who the server runs as: it refuses to run as root."""
    if os.getuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            pwd.getpwnam(name)
        except KeyError:
            continue
        return name
    pytest.skip("PostgreSQL does not run as root, and there is no other user")


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A PostgreSQL server of its own, at a free port of this machine and in a new folder."""
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    initdb, pg_ctl = shutil.which("initdb"), shutil.which("pg_ctl")
    if initdb is None or pg_ctl is None:
        pytest.skip("PostgreSQL is not installed here (Debian: apt-get install postgresql)")
    user, port = _server_user(), _free_port()
    # Not below pytest's folder, which only the user of the tests may enter.
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    control = [pg_ctl, "-D", str(folder / "data"), "-w"]
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"

    def ran(*command: str) -> bool:
        # Into a file, not a pipe: the server would hold the other end of it.
        with (folder / "output.txt").open("a") as output:
            done = subprocess.run(command, user=user, cwd=folder, stdout=output, stderr=output)
        return done.returncode == 0

    try:
        if user is not None:
            shutil.chown(folder, user)
        made = ran(initdb, "-D", str(folder / "data"), "-U", "sage", "-A", "trust", "--no-sync")
        if not made or not ran(*control, "-l", str(folder / "log.txt"), "-o", options, "start"):
            said = (folder / "output.txt").read_text()
            pytest.skip(f"no PostgreSQL server could be started: {said[-300:]}")
        try:
            yield f"postgresql://sage@127.0.0.1:{port}/postgres"
        finally:
            ran(*control, "-m", "fast", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty SQL database, once of each kind."""
    if request.param == "sqlite":
        return str(tmp_path / "data.db")
    import psycopg

    url = str(request.getfixturevalue("postgres_url"))
    schema = f"s{secrets.token_hex(4)}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {schema}")
    return f"{url}?options=-csearch_path%3D{schema}"
