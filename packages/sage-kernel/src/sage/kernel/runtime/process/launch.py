"""Starts a worker process, and tells how one ended."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys

from sage.kernel.errors import GraphError

__all__ = ["check_platform", "how_it_ended", "launch"]

# The package's own ``__init__`` imports all that users build pipelines with, which is over half
# of a worker's start. Here it runs when something asks the package for one of its names.
_BOOT = """\
import importlib.util, signal, sys, types
signal.signal(signal.SIGINT, signal.SIG_IGN)
sys.path[:] = {path!r}

class Late(types.ModuleType):
    def __getattr__(self, name):
        if name.startswith("__") and name != "__all__":
            raise AttributeError(name)
        self.__class__ = types.ModuleType
        self.__spec__.loader.exec_module(self)
        return getattr(self, name)

kernel = Late("sage.kernel")
kernel.__spec__ = spec = importlib.util.find_spec("sage.kernel")
kernel.__path__, kernel.__file__ = spec.submodule_search_locations, spec.origin
sys.modules["sage.kernel"] = sys.modules["sage"].kernel = kernel
from sage.kernel.runtime.process.worker import main
main({fd})
"""


def check_platform() -> None:
    """Raise where workers cannot be started.

    Raises:
        GraphError: on a system without POSIX processes.
    """
    if os.name != "posix":
        raise GraphError("executor='process' needs a POSIX system", hint="use executor='thread'")


def launch() -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Start a worker; return it with the parent's end of the socket between the two.

    It is a fresh interpreter with this one's module path, which never imports the main script. On
    Linux it dies with the thread that calls this, which must live as long as the worker is needed.
    """
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
