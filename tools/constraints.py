"""Write constraints.txt: one exact version for each third-party package that `isage[dev]` needs.

Names no host, no hash and no path, so that it holds on any index. PyTorch is not in it: it is only
installed when asked for, in the build that fits the machine.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from uv_settings import as_uv_variables, pip_settings

ROOT = Path(__file__).resolve().parent.parent
NEVER = ("torch", "sentence-transformers")
HEADER = "# Versions the project is tested with; `make constraints` writes this file.\n"


def resolve() -> list[str]:
    """Return the `name==version` lines of everything a developer installs, uv itself included."""
    wanted = ["uv", "-e ./packages/sage[dev]"]
    wanted += [f"-e ./packages/{path.name}" for path in sorted((ROOT / "packages").glob("sage-*"))]
    uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    options = ["--universal", "--python-version", "3.11", "--no-header", "--no-annotate"]
    resolved = subprocess.run(
        [uv, "pip", "compile", "--quiet", "--upgrade", *options, "-"],
        cwd=ROOT,
        env=as_uv_variables(pip_settings()) | os.environ,
        input="\n".join(wanted),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    return [line for line in resolved.splitlines() if "==" in line]


def main() -> None:
    """Write the file, refusing what must never be pinned."""
    lines = resolve()
    names = {line.partition("==")[0] for line in lines}
    if forbidden := names.intersection(NEVER):
        sys.exit(
            f"refused: {', '.join(sorted(forbidden))} would be installed without being asked for"
        )
    (ROOT / "constraints.txt").write_text(HEADER + "\n".join(lines) + "\n")
    print(f"constraints.txt: {len(lines)} packages")


if __name__ == "__main__":
    main()
