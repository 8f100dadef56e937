"""Starts a worker process, and tells how one ended."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys

from sage.kernel.errors import GraphError

__all__ = ["how_it_ended", "launch"]

_BOOT = """\
import signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
sys.path[:] = {path!r}
from sage.kernel.runtime.process.worker import main
main({fd})
"""


def launch() -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Start a worker; return it with the parent's end of the socket between the two.

    It is a fresh interpreter with this one's module path, which never imports the main script. On
    Linux it dies with the thread that calls this, which must live as long as the worker is needed.

    Raises:
        GraphError: on a system without POSIX processes.
    """
    if os.name != "posix":
        raise GraphError("executor='process' needs a POSIX system", hint="use executor='thread'")
    ours, theirs = socket.socketpair()
    boot = _BOOT.format(path=[str(entry) for entry in sys.path], fd=theirs.fileno())
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", boot],
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            process_group=0,  # Ctrl-C in the terminal goes to the parent, which decides
        )
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    return process, ours


def how_it_ended(returncode: int) -> str:
    """Say in words what an exit status means."""
    if returncode >= 0:
        return f"exited with code {returncode}"
    try:
        name = signal.Signals(-returncode).name
    except ValueError:
        name = f"signal {-returncode}"
    why = " (often too little memory)" if name == "SIGKILL" else ""
    return f"was killed by {name}{why}"
