"""Print pip's configured package sources as `export UV_...` lines for a shell.

uv reads none of pip's settings, so a machine whose pip is configured for a mirror or a directory
of wheels would install from somewhere else once uv is used. `quickstart.sh` evaluates what this
prints. A `UV_...` variable that is set already wins.
"""

from __future__ import annotations

import ast
import os
import shlex
import subprocess
import sys


def pip_settings() -> dict[str, str]:
    """Return pip's settings by key; environment over `install` section over `global`, as in pip."""
    listing = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    ).stdout
    found: dict[str, str] = {}
    for section in ("global", "install", ":env:"):
        for line in listing.splitlines():
            name, _, value = line.partition("=")
            if name.startswith(f"{section}."):
                found[name.removeprefix(f"{section}.")] = ast.literal_eval(value)
    for name, value in os.environ.items():  # where the interpreter has no pip to ask
        if name.startswith("PIP_") and value:
            found[name.removeprefix("PIP_").lower().replace("_", "-")] = value
    return found


def as_uv_variables(pip: dict[str, str]) -> dict[str, str]:
    """Translate pip's settings into uv's environment variables."""
    variables: dict[str, str] = {}
    if links := pip.get("find-links"):
        variables["UV_FIND_LINKS"] = ",".join(links.split())
    if index := pip.get("index-url"):
        variables["UV_DEFAULT_INDEX"] = index
    if extra := pip.get("extra-index-url"):
        variables["UV_INDEX"] = " ".join(extra.split())
        # pip looks for the best version in all of its indexes, uv stops at the first that has any.
        variables["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    if certificate := pip.get("cert"):
        variables["SSL_CERT_FILE"] = certificate
    if pip.get("no-index", "").lower() in {"1", "true", "yes", "on"}:
        variables["UV_NO_INDEX"] = "1"
    return variables


if __name__ == "__main__":
    for variable, value in as_uv_variables(pip_settings()).items():
        if variable not in os.environ:
            print(f"export {variable}={shlex.quote(value)}")
