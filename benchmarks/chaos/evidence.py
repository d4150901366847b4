"""What both sides know after a campaign, as plain values that the judge reads. Instants are Unix time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from benchmarks.chaos.record import Deed, Kill, Span


@dataclass(frozen=True)
class Presentation:
    """The provider's word on one presentation (`simulator.grants.Presentation`)."""

    grant_id: str
    started_at: float
    ended_at: float
    generation: int
    result: str
    concurrent: bool
    answered: bool
    fault: str | None = None


@dataclass(frozen=True)
class Life:
    """The provider's word on a grant at the end. `dead_reason` None: it lives."""

    grant_id: str
    dead_reason: str | None
    died_at: float | None


@dataclass(frozen=True)
class Send:
    """A worker's word that it is about to present.

    Attributes:
        worker: The process' name over all its lives.
        lease_until: When its lease ends.
    """

    attempt_id: str
    connection_id: str
    worker: str
    at: float
    lease_until: float


@dataclass(frozen=True)
class Said:
    """Another event of a worker's about an attempt, by name; `code` where it has one."""

    event: str
    attempt_id: str | None
    connection_id: str | None
    worker: str
    at: float
    code: str | None = None


@dataclass(frozen=True)
class Line:
    """A line of the activity record: what was committed."""

    at: float
    connection_id: str
    kind: str
    attempt_id: str | None
    version: int | None
    code: str | None = None


@dataclass(frozen=True)
class Row:
    """A connection with its token at the end."""

    connection_id: str
    provider: str
    user: str
    status: str
    version: int
    reauth_reason: str | None = None
    expires_at: float | None = None
    refresh_due_at: float | None = None
    failures: int = 0


@dataclass(frozen=True)
class Holding:
    """A grant in our hands; `until` None: it is the connection's current one.

    Attributes:
        how: ``imported`` or ``reconnected``.
        ended_how: ``revoked``, ``replaced``, ``disconnected``; None: by nobody.
    """

    grant_id: str
    connection_id: str
    provider: str
    since: float
    until: float | None = None
    how: str = "imported"
    ended_how: str | None = None


@dataclass(frozen=True)
class Alert:
    """An alert as it is at the end."""

    cause: str
    kind: str
    status: str
    connection_id: str | None
    provider: str | None
    reason: str | None
    opened_at: float
    resolved_at: float | None = None
    openings: int = 1


@dataclass(frozen=True)
class Facts:
    """What the arithmetic needs, in seconds.

    Attributes:
        needed: The shortest window in which a killed worker's presentation can be repeated in time.
        least_lifetime: Of an access token.
    """

    deadline: float = 15.0
    lease: float = 40.0
    needed: float = 100.0
    replay_window: float = 240.0
    least_lifetime: float = 60.0


@dataclass
class Evidence:
    """Everything the judge reads."""

    presentations: list[Presentation] = field(default_factory=list)
    lives: list[Life] = field(default_factory=list)
    sends: list[Send] = field(default_factory=list)
    said: list[Said] = field(default_factory=list)
    activity: list[Line] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    holdings: list[Holding] = field(default_factory=list)
    alerts: list[Alert] = field(default_factory=list)
    kills: list[Kill] = field(default_factory=list)
    stops: list[Span] = field(default_factory=list)
    outages: list[Span] = field(default_factory=list)
    deeds: list[Deed] = field(default_factory=list)
    facts: Facts = field(default_factory=Facts)
    began: float = 0.0
    ended: float = 0.0
    looked_at: float = 0.0
    recovered: bool = True

    def provider_of(self) -> Mapping[str, str]:
        """Return grant → provider id."""
        return {holding.grant_id: holding.provider for holding in self.holdings}
