"""What a check reports."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Finding", "Status", "failed", "fine", "noted"]


class Status(StrEnum):
    """How bad it is: nothing to do, works with limits, does not work."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report.

    Attributes:
        status: How bad it is.
        subject: What was looked at.
        detail: What was found.
        advice: What to do about it; empty if there is nothing to do.
    """

    status: Status
    subject: str
    detail: str
    advice: str = ""

    def to_dict(self) -> dict[str, str]:
        """Return the finding as ``--json`` prints it."""
        return {
            "status": self.status.value,
            "subject": self.subject,
            "detail": self.detail,
            "advice": self.advice,
        }


def fine(subject: str, detail: str) -> Finding:
    """Report that there is nothing to do."""
    return Finding(Status.OK, subject, detail)


def noted(subject: str, detail: str, advice: str = "") -> Finding:
    """Report something that works with limits, or that only some users need."""
    return Finding(Status.WARN, subject, detail, advice)


def failed(subject: str, detail: str, advice: str) -> Finding:
    """Report something that does not work."""
    return Finding(Status.FAIL, subject, detail, advice)
