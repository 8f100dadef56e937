"""Who may import whom: the layers, the siblings, and where third-party frameworks may show up.

The contracts are sentences in ``architecture.toml``; import-linter checks them on the sources of
the checkout, not on what is installed. One rule is checked here, because import-linter rests on it:
a folder without ``__init__.py`` is invisible to it.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sage.tools.process import Outcome, run
from sage.tools.repository import Repository

__all__ = ["ArchitectureReport", "check_architecture"]

CONTRACTS = Path(__file__).with_name("architecture.toml")
PACKAGES_RULE = "Every folder of modules is a package, and the namespace itself is none"
# In a process of its own, since this one has already found `sage` where it is installed.
_LINT = (
    "import sys; from importlinter.cli import lint_imports;"
    "sys.exit(lint_imports(sys.argv[1], no_cache=True, no_logo=True))"
)
_VERDICT = re.compile(r"^(?P<sentence>\S.*\S) (?P<verdict>KEPT|BROKEN)\b", re.MULTILINE)


@dataclass(frozen=True)
class ArchitectureReport:
    """The verdict on each contract.

    Args:
        contracts: For each sentence, whether it is kept.
        outcome: The check as a whole; its output names the imports at fault.
    """

    contracts: dict[str, bool]
    outcome: Outcome

    def to_dict(self) -> dict[str, Any]:
        """Return the report, ready for JSON."""
        return {
            "passed": self.outcome.passed,
            "contracts": self.contracts,
            "output": self.outcome.output,
        }


def check_architecture(repository: Repository) -> ArchitectureReport:
    """Check every contract on the sources of `repository`."""
    started = time.monotonic()
    linted = run(
        "import-linter",
        ["-c", _LINT, str(CONTRACTS)],
        cwd=repository.root,
        # Its tables are cut to the terminal's width; a pipe has none.
        environment={**repository.environment(), "COLUMNS": "160", "NO_COLOR": "1"},
    )
    contracts = {m["sentence"]: m["verdict"] == "KEPT" for m in _VERDICT.finditer(linted.output)}
    faults = misplaced_inits(repository)
    contracts[PACKAGES_RULE] = not faults
    outcome = Outcome(
        name="architecture",
        passed=linted.passed and not faults,
        seconds=round(time.monotonic() - started, 2),
        output="\n".join([linted.output, *faults]),
    )
    return ArchitectureReport(contracts, outcome)


def misplaced_inits(repository: Repository) -> list[str]:
    """Return a line for each ``__init__.py`` that is missing or must not be there."""
    faults = []
    for portion in repository.portions:
        namespace = portion.source / "sage" / "__init__.py"
        if namespace.exists():
            faults.append(f"{_shown(namespace, repository)} hides the other portions: remove it")
        for folder in sorted({path.parent for path in portion.directory.rglob("*.py")}):
            if not (folder / "__init__.py").exists():
                faults.append(f"{_shown(folder, repository)} has modules but no __init__.py")
    return faults


def _shown(path: Path, repository: Repository) -> str:
    return str(path.relative_to(repository.root))
