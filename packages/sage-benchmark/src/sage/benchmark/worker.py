"""One contestant, once, in a process of its own.

It is started as ``python -m sage.benchmark.worker REQUEST RESULT``. The request is JSON
(`sage.benchmark.row.Request`); the result is written to a file, because peers print what they like.
It imports nothing of SAGE's engine itself, so that a peer can run in another interpreter that has
only the peer; and little at all, because one row counts the start-up.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from typing import Any

__all__ = ["load", "main"]


def load(target: str) -> Any:
    """Return what ``module:name`` names.

    Example:
        >>> load("math:floor")(2.5)
        2
    """
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)


def main(request_text: str, result_path: str) -> None:
    """Run what the request asks for and write the sample to ``result_path``."""
    request = json.loads(request_text)
    sample = load(request["measure"])(load(request["contestant"]), request)
    with open(result_path, "w") as file:
        json.dump(sample, file)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads and clusters of peers may keep a finished interpreter alive for seconds.
    os._exit(0)
