"""Is this the database that it was? Decided from what it says of itself and from marks kept outside of it.

A database restored from an older backup holds refresh tokens that have been spent since; presenting them can
kill living grants (RFC 9700 §4.14.2). Its *line* is how many lines of activity it has seen, counted on over
every state that was given up; a mark outside remembers the highest.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from domain.policy import recovery_at
from domain.provider import GrantKind, ProviderFacts, Rotation
from domain.token import TokenState

#: Between a commit and its mark lies a second; between two marks of an idle deployment fifteen; and a caller
#: may have asked a little ahead.
MARK_LAG: Final = timedelta(minutes=1)
#: An accepted database goes on this many lines after the highest mark known: room for what a process had seen
#: that could not write its mark any more.
STRIDE: Final = 1000


@dataclass(frozen=True, slots=True)
class Identity:
    """Which database this is, as far as Postgres can tell.

    Attributes:
        system: The cluster's system identifier: another one after `initdb`, and so after `pg_upgrade`.
        timeline: Another one after a promotion and after a recovery to a point in time.
        database: The database's oid: another one after a dump was restored into a new database.
    """

    system: str
    timeline: int
    database: int

    def __str__(self) -> str:
        return f"{self.system}/{self.timeline}/{self.database}"

    @classmethod
    def parse(cls, text: str) -> Identity:
        """Return what `str` wrote. Raises ValueError where it did not."""
        system, timeline, database = text.split("/")
        return cls(system, int(timeline), int(database))


@dataclass(frozen=True, slots=True)
class Mark:
    """How far a database had come: `lsn` is durable WAL in bytes, `at` Postgres' clock. Nothing secret.

    `offset` is by how much its lines had been moved on. It grows with every state that was given up, so it
    tells which of them a position belongs to: a server that was put back writes the same positions again.
    """

    identity: Identity
    line: int
    lsn: int
    at: datetime
    offset: int = 0

    def to_json(self) -> str:
        """Return the mark as it is kept outside."""
        values = {"identity": str(self.identity), "line": self.line, "lsn": self.lsn, "offset": self.offset}
        return json.dumps({**values, "at": self.at.isoformat()})

    @classmethod
    def from_json(cls, text: str) -> Mark:
        """Return what `to_json` wrote. Raises ValueError where it did not."""
        try:
            given = json.loads(text)
            at = datetime.fromisoformat(given["at"])
            offset = int(given.get("offset", 0))
            mark = cls(Identity.parse(given["identity"]), int(given["line"]), int(given["lsn"]), at, offset)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a mark: {type(error).__name__}") from error
        if at.tzinfo is None:
            raise ValueError("not a mark: its time has no offset")
        return mark


def higher(one: Mark | None, other: Mark) -> Mark:
    """Return the maximum of two marks; of two databases it is the one that had come further."""
    if one is None:
        return other
    if one.identity == other.identity:
        line, at, offset = max(one.line, other.line), max(one.at, other.at), max(one.offset, other.offset)
        # Positions of a state that was given up say nothing about the one that took its place.
        lsn = max(mark.lsn for mark in (one, other) if mark.offset == offset)
        return Mark(one.identity, line, lsn, at, offset)
    return max(one, other, key=lambda mark: (mark.line, mark.at))


@dataclass(frozen=True, slots=True)
class Present:
    """What the database says of itself at one moment.

    Attributes:
        has_row: It has the row that says the following; one that is being restored may not have it yet.
        accepted: The identity under which it was last known to be right; None before the first start.
        line: Its last line of activity, counted on over states that were given up.
        last_at: When that line was written; None: there is none.
        lsn: How far its WAL is written; `durable` how far it is on the disk.
        holds_tokens: There is something that could be presented.
        guarded_since: Somebody found it restored and nobody has answered yet; None: not so.
        found: What he found then.
        offset: By how much `line` has been moved on over the states that were given up.
    """

    identity: Identity
    has_row: bool
    accepted: Identity | None
    line: int
    last_at: datetime | None
    lsn: int
    durable: int
    holds_tokens: bool
    guarded_since: datetime | None
    found: Mapping[str, object]
    now: datetime
    offset: int = 0

    @property
    def mark(self) -> Mark:
        """The mark that this database leaves outside."""
        return Mark(self.identity, self.line, self.durable, self.now, self.offset)


class Sign(StrEnum):
    """What gives a restored database away."""

    OTHER_IDENTITY = "other_identity"
    LINES_MISSING = "lines_missing"
    WAL_MISSING = "wal_missing"
    DECLARED = "declared"


@dataclass(frozen=True, slots=True)
class Trusted:
    """It goes on where it left off."""


@dataclass(frozen=True, slots=True)
class Adopt:
    """It is new: it is taken as it is, from this line on."""

    line: int


@dataclass(frozen=True, slots=True)
class Unsettled:
    """It holds nothing that could be spent, and is not new: perhaps it is being restored this moment.

    Nothing is accepted and nobody is told; what it will hold is judged when it holds something.
    """


@dataclass(frozen=True, slots=True)
class Restored:
    """It does not go on where it left off."""

    signs: tuple[Sign, ...]


@dataclass(frozen=True, slots=True)
class Guarded:
    """Somebody has found it restored, and nobody has answered yet."""


Judgement = Trusted | Adopt | Unsettled | Restored | Guarded


def judge(present: Present, marks: Sequence[Mark]) -> Judgement:
    """Say whether the database is the one that it was.

    Args:
        marks: Read *before* the database was looked at, or its own next commit would be ahead of it.
    """
    if present.guarded_since is not None:
        return Guarded()
    if not present.holds_tokens and present.has_row and present.accepted is None:
        # Fresh from its migration. Marks of a predecessor are left behind by its own count.
        return Adopt(max([present.line, *(mark.line for mark in marks)]))
    signs = signs_of_restore(present, marks)
    if not present.holds_tokens:
        return Unsettled() if signs else Trusted()
    if signs:
        return Restored(signs)
    return Adopt(present.line) if present.accepted is None else Trusted()


def signs_of_restore(present: Present, marks: Iterable[Mark]) -> tuple[Sign, ...]:
    """Return what speaks against the database, whatever was found before."""
    seen = list(marks)
    signs = []
    if not present.has_row or present.accepted not in {None, present.identity}:
        signs.append(Sign.OTHER_IDENTITY)
    if any(mark.line > present.line for mark in seen):
        signs.append(Sign.LINES_MISSING)
    if any(
        mark.identity == present.identity and mark.offset >= present.offset and mark.lsn > present.lsn
        for mark in seen
    ):
        signs.append(Sign.WAL_MISSING)
    return tuple(signs)


def withheld(facts: ProviderFacts) -> bool:
    """Say whether the provider's refresh tokens stay unpresented while the database may be an old one.

    A window "until the successor is used" is no excuse: of a backup's tokens the successors have been used.
    """
    return (
        facts.grant is GrantKind.REFRESH_TOKEN
        and facts.rotation is not Rotation.NONE
        and facts.replay_window != "unlimited"
    )


def spent_until(found_at: datetime, marks: Iterable[Mark]) -> datetime:
    """Return the instant up to which refreshes must be expected that the database does not know.

    Args:
        found_at: When it was looked at; the bound where no mark tells a better one.
    """
    newest = max((mark.at for mark in marks), default=None)
    return found_at if newest is None else min(found_at, newest + MARK_LAG)


def recovery_after_restore(token: TokenState, facts: ProviderFacts, *, now: datetime) -> datetime:
    """Return when a token that has probably been spent since the backup may be presented, once.

    As after any unanswered presentation; a window without a length is none here (see `withheld`).
    """
    if isinstance(facts.replay_window, str):
        facts = ProviderFacts(facts.provider_id, facts.grant, facts.rotation, timedelta())
    return recovery_at(token, facts, presented_at=token.presented_at or now, now=now)
