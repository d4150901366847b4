"""What is found of a database that may have been restored: as it is, and as it was by the marks outside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from domain.restore import Mark, Present, Sign, signs_of_restore, spent_until
from services.restore.guard import mark_of
from services.restore.marks import OutsideMarks
from storage.deployment import DeploymentStore


@dataclass(frozen=True, slots=True)
class Findings:
    """The database as it is, and what is known of how it was.

    Attributes:
        signs: What gives it away; empty: nothing does.
        marks: By the name of their place, those of other processes included.
        line: Its line when it was found out, before other work went on.
        last_at: When that line was written; None: it has no record.
        until: Refreshes up to then must be expected that the database does not know.
    """

    present: Present
    signs: tuple[str, ...]
    marks: Mapping[str, Mark]
    line: int
    last_at: datetime | None
    until: datetime

    @property
    def restored(self) -> bool:
        """Whether there is anything to answer."""
        return bool(self.signs) or self.present.guarded_since is not None

    @property
    def beyond(self) -> int:
        """The highest line that the database or any mark tells."""
        return max([self.line, *(mark.line for mark in self.marks.values())])

    @property
    def lines_missing(self) -> int:
        """How many lines of activity the highest mark is ahead."""
        return self.beyond - self.line

    @property
    def behind(self) -> timedelta | None:
        """How far the newest mark is ahead in time; None where one of the two times is unknown."""
        newest = max((mark.at for mark in self.marks.values()), default=None)
        if newest is None or self.last_at is None:
            return None
        return max(timedelta(), newest - self.last_at)

    def declared(self) -> Findings:
        """Return them for a database that was restored although nothing shows it.

        Its marks may have been put back with it, so they bound nothing: whatever is due by now counts.
        """
        return replace(self, signs=(*self.signs, Sign.DECLARED), until=self.present.now)


def find(deployment: DeploymentStore, outside: OutsideMarks) -> Findings:
    """Look at the database and the marks; nothing is changed.

    Raises:
        ServiceUnavailable: Postgres is away.
        ConfigurationError: The database role may not ask which server this is.
    """
    marks = outside.read()
    present = deployment.observe()
    told = mark_of(present.found)
    if told is not None and told not in marks.values():
        marks["known to a worker"] = told
    signs: tuple[str, ...] = signs_of_restore(present, marks.values()) if present.holds_tokens else ()
    line, last_at, found_at = present.line, present.last_at, present.now
    if present.guarded_since is not None:
        # The rest of the deployment has worked on since, and added lines of its own.
        before = present.found.get("signs")
        signs = tuple(dict.fromkeys((*(before if isinstance(before, list) else ()), *signs)))
        line = _number(present.found.get("line"), line)
        last_at = _instant(present.found.get("last_at"))
        found_at = _instant(present.found.get("found_at")) or found_at
    return Findings(present, signs, marks, line, last_at, spent_until(found_at, marks.values()))


def _instant(value: object) -> datetime | None:
    return datetime.fromisoformat(value) if isinstance(value, str) else None


def _number(value: object, otherwise: int) -> int:
    return value if isinstance(value, int) else otherwise
