"""Alerts: one unresolved row a cause, counted; every change people should hear of goes to the outbox with it.

The module's functions take a connection, so that an alert shares the transaction of what it tells about.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal
from uuid import UUID, uuid4

from sqlalchemy import (
    CTE,
    ColumnElement,
    Connection,
    Engine,
    Update,
    case,
    func,
    insert,
    literal,
    literal_column,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert

from storage.engine import transaction
from storage.schema import alert_events, alerts

Severity = Literal["info", "warning", "critical"]
AlertStatus = Literal["open", "acknowledged", "resolved"]
#: A person gave less than was asked for, or nothing to renew it by. Only another consent, or the connection's
#: end, resolves these.
SCOPE_SHORTFALL: Final = "scope_shortfall"
NOT_RENEWABLE: Final = "not_renewable"
_BY_CONSENT: Final = (SCOPE_SHORTFALL, NOT_RENEWABLE)
#: The kind of the alert that tells when a grant will die. A refresh that succeeds need not move that time:
#: whoever looks for what will die resolves it.
WILL_DIE: Final = "will_die"


@dataclass(frozen=True, slots=True)
class AlertSpec:
    """An incident to tell people about.

    Attributes:
        cause: Identifies the incident: the same cause never has two unresolved alerts.
        kind: A stable lower-case word, such as ``needs_reauth``.
        title: One sentence that says what is wrong.
        help: What the reader should do.
        detail: JSON values, never a secret.
    """

    cause: str
    kind: str
    severity: Severity
    title: str
    help: str
    provider_id: str | None = None
    connection_id: UUID | None = None
    detail: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert as it is stored. `count` is how often its cause was seen while it was unresolved."""

    id: UUID
    cause: str
    kind: str
    severity: Severity
    status: AlertStatus
    count: int
    first_seen_at: datetime
    last_seen_at: datetime
    acknowledged_at: datetime | None
    resolved_at: datetime | None
    provider_id: str | None
    connection_id: UUID | None
    title: str
    help: str
    detail: Mapping[str, object]


_FIELDS: Final = tuple(alerts.c[name] for name in Alert.__slots__)
#: What an event tells, as the alert was at that moment.
_TOLD: Final = (
    *("id", "cause", "kind", "severity", "status", "count", "title", "help"),
    *("provider_id", "connection_id", "first_seen_at", "last_seen_at", "detail"),
)


def _telling(event: str, changed: CTE, *conditions: ColumnElement[bool]) -> CTE:
    """Return the insert of one outbox event for each of the changed alerts."""
    pairs: list[ColumnElement[object]] = []
    for name in _TOLD:
        pairs += [literal_column(f"'{name}'"), changed.c[name]]
    payload = func.jsonb_build_object(*pairs)
    told = select(changed.c.id, literal(event), payload).where(*conditions)
    return insert(alert_events).from_select(["alert_id", "event", "payload"], told).cte("told")


def open_alert(connection: Connection, spec: AlertSpec) -> bool:
    """Open the cause's alert, or count it if it is unresolved; True if it was opened now.

    Only opening is an event: repetition counts and tells nobody again.
    """
    seen = (
        upsert(alerts)
        .values(
            id=uuid4(),
            cause=spec.cause,
            kind=spec.kind,
            severity=spec.severity,
            title=spec.title,
            help=spec.help,
            provider_id=spec.provider_id,
            connection_id=spec.connection_id,
            detail=dict(spec.detail),
        )
        .on_conflict_do_update(
            index_elements=[alerts.c.cause],
            index_where=alerts.c.status != literal_column("'resolved'"),
            set_={"count": alerts.c.count + 1, "last_seen_at": func.clock_timestamp()},
        )
        .returning(*_FIELDS)
        .cte("seen")
    )
    told = _telling("opened", seen, seen.c.count == 1)
    count: int = connection.execute(select(seen.c.count).add_cte(told)).scalar_one()
    return count == 1


def renew_alert(connection: Connection, spec: AlertSpec) -> bool:
    """Count the cause's unresolved alert and give it new words, detail and severity; False if there is none.

    For incidents whose figures change while they last. What has been critical stays so until it is resolved;
    people hear of it again only where it becomes so.
    """
    before = (
        select(alerts.c.id, alerts.c.severity)
        .where(alerts.c.cause == spec.cause, alerts.c.status != literal_column("'resolved'"))
        .with_for_update()
        .cte("before")
    )
    changed = (
        update(alerts)
        .where(alerts.c.id == before.c.id)
        .values(
            severity=case(
                (before.c.severity == literal_column("'critical'"), before.c.severity), else_=spec.severity
            ),
            title=spec.title,
            help=spec.help,
            detail=dict(spec.detail),
            count=alerts.c.count + 1,
            last_seen_at=func.clock_timestamp(),
        )
        .returning(*_FIELDS, before.c.severity.label("was"))
        .cte("changed")
    )
    told = _telling("opened", changed, changed.c.severity == "critical", changed.c.was != "critical")
    return connection.execute(select(changed.c.id).add_cte(told)).one_or_none() is not None


def _change(connection: Connection, event: str, change: Update) -> int:
    changed = change.returning(*_FIELDS).cte("changed")
    told = _telling(event, changed)
    return connection.execute(select(func.count()).select_from(changed).add_cte(told)).scalar_one()


def _resolve(connection: Connection, *which: ColumnElement[bool]) -> int:
    change = (
        update(alerts)
        .where(alerts.c.status != "resolved", *which)
        .values(status="resolved", resolved_at=func.clock_timestamp())
    )
    return _change(connection, "resolved", change)


def resolve_cause(connection: Connection, cause: str) -> bool:
    """Resolve the cause's alert; False if none is unresolved."""
    return _resolve(connection, alerts.c.cause == cause) > 0


def resolve_connections(
    connection: Connection,
    connection_ids: Sequence[UUID],
    *,
    consented: bool = False,
    forecasts: bool = False,
) -> int:
    """Resolve the unresolved alerts about these connections that are over; returns how many there were.

    Args:
        consented: A person has connected anew, or ended it: that ends them all.
        forecasts: Those that tell when a grant will die as well, because it is dead.
    """
    which: list[ColumnElement[bool]] = [alerts.c.connection_id.in_(connection_ids)]
    if not consented:
        which.append(alerts.c.kind.not_in(_BY_CONSENT if forecasts else (*_BY_CONSENT, WILL_DIE)))
    return _resolve(connection, *which)


class AlertStore:
    """What people do with alerts; each call is one transaction. Raises `ServiceUnavailable`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def open(self, spec: AlertSpec, *, renew: bool = False) -> bool:
        """Open the cause's alert, or count it if it is unresolved; True if it was opened now.

        Args:
            renew: An unresolved one gets the new words as well; as `renew_alert`.
        """
        with transaction(self._engine) as connection:
            if renew and renew_alert(connection, spec):
                return False
            return open_alert(connection, spec)

    def renew(self, spec: AlertSpec) -> bool:
        """Give the cause's unresolved alert new words; as `renew_alert`."""
        with transaction(self._engine) as connection:
            return renew_alert(connection, spec)

    def acknowledge(self, alert_id: UUID) -> bool:
        """Mark an open alert as taken; False if it is not open (unknown, taken already, or resolved)."""
        change = (
            update(alerts)
            .where(alerts.c.id == alert_id, alerts.c.status == "open")
            .values(status="acknowledged", acknowledged_at=func.clock_timestamp())
        )
        with transaction(self._engine) as connection:
            return _change(connection, "acknowledged", change) > 0

    def resolve(self, cause: str) -> bool:
        """Resolve the cause's alert; False if none is unresolved."""
        with transaction(self._engine) as connection:
            return resolve_cause(connection, cause)

    def find(self, alert_id: UUID) -> Alert | None:
        """Return one alert, whatever its status; None if there is no such alert."""
        with transaction(self._engine) as connection:
            row = connection.execute(select(*_FIELDS).where(alerts.c.id == alert_id)).one_or_none()
            return None if row is None else Alert(*row)

    def list(
        self, *, statuses: Sequence[AlertStatus] = (), kind: str | None = None, limit: int = 1000
    ) -> list[Alert]:
        """Return alerts of these statuses (none named: of all) and kind (None: any), the last seen first."""
        statement = select(*_FIELDS).order_by(alerts.c.last_seen_at.desc(), alerts.c.id).limit(limit)
        if statuses:
            statement = statement.where(alerts.c.status.in_(statuses))
        if kind is not None:
            statement = statement.where(alerts.c.kind == kind)
        with transaction(self._engine) as connection:
            return [Alert(*row) for row in connection.execute(statement)]

    def counts(self) -> dict[str, int]:
        """Return how many alerts each status has; a status without any is absent."""
        statement = select(alerts.c.status, func.count()).group_by(alerts.c.status)
        with transaction(self._engine) as connection:
            return {status: number for status, number in connection.execute(statement)}  # noqa: C416 - a Row is no tuple to mypy
