"""What the doctor says of one thing that was looked at."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How a finding ends the examination: only FAIL makes the exit status 1."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        subject: A setting, server, key, schema or process.
        found: What is the case, without any secret.
        mend: What to do; "" where nothing is to be done.
    """

    subject: str
    severity: Severity
    found: str
    mend: str = ""

    def as_row(self) -> dict[str, object]:
        """Return the fields as `--json` lists them."""
        return {
            "subject": self.subject,
            "severity": self.severity,
            "found": self.found,
            "mend": self.mend,
        }


def ok(subject: str, found: str) -> Finding:
    """All is well with the subject."""
    return Finding(subject, Severity.OK, found)


def warn(subject: str, found: str, mend: str) -> Finding:
    """It works, but somebody should know."""
    return Finding(subject, Severity.WARN, found, mend)


def fail(subject: str, found: str, mend: str) -> Finding:
    """It cannot work like this."""
    return Finding(subject, Severity.FAIL, found, mend)
