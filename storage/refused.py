"""The refused of a wave: reprieved when its hold opens, condemned or tried again when it ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import Engine, Interval, TextClause, bindparam, text

from domain.incidents import UNDER_HOLD
from domain.token import ConnectionRef, Status
from storage.alerts import AlertSpec, open_alert, resolve_connections
from storage.engine import autocommit, single, transaction
from storage.groups import MEMBER, Group


@dataclass(frozen=True, slots=True)
class Refused:
    """A refused connection, as far as a decision about it needs it.

    Attributes:
        lifetime: Of its access token; None if unknown or never-ending.
        now: Postgres' time when this was read.
    """

    ref: ConnectionRef
    version: int
    failures: int
    lifetime: timedelta | None
    now: datetime


_REFUSED: Final = f"""
    SELECT t.connection_id, c.user_id, t.provider_id, c.account_id, t.version, t.failures,
           t.expires_at - t.issued_at AS lifetime, clock_timestamp() AS now
      FROM tokens t JOIN connections c ON c.id = t.connection_id
     WHERE {MEMBER} AND t.refused_at > :since
"""  # noqa: S608 - made of our own words
_SENTENCED: Final = text(
    _REFUSED + " AND t.status = 'needs_reauth' AND t.reauth_reason = 'grant_rejected' LIMIT :limit"
)
# Whoever is being presented is judged by that attempt.
_WAITING: Final = text(_REFUSED + " AND t.status = 'active' AND t.presented_at IS NULL LIMIT :limit")
_REPRIEVE: Final = text(f"""
    WITH changed AS (
        UPDATE tokens t
           SET status = 'active', reauth_reason = NULL, alerted = false,
               last_error_code = '{UNDER_HOLD}',
               refresh_due_at = r.at, not_before = r.at, refresh_enqueued_until = NULL
          FROM unnest(CAST(:ids AS uuid[]), CAST(:versions AS bigint[]), CAST(:times AS timestamptz[]))
               AS r (id, version, at)
         WHERE t.connection_id = r.id AND t.version = r.version
           AND t.status = 'needs_reauth' AND t.reauth_reason = 'grant_rejected'
           AND EXISTS (SELECT FROM verdict_holds h WHERE h.id = :hold AND h.ended_at IS NULL)
        RETURNING t.connection_id, t.provider_id, t.version),
    noted AS (
        INSERT INTO activity (connection_id, provider_id, version, kind)
        SELECT connection_id, provider_id, version, 'reprieved' FROM changed)
    SELECT connection_id FROM changed
""")  # noqa: S608 - made of our own words
_CONDEMN: Final = text("""
    WITH changed AS (
        UPDATE tokens t
           SET status = 'needs_reauth', reauth_reason = 'grant_rejected', alerted = true,
               refresh_due_at = NULL, check_due_at = NULL, refresh_enqueued_until = NULL, not_before = NULL
          FROM unnest(CAST(:ids AS uuid[]), CAST(:versions AS bigint[])) AS r (id, version)
         WHERE t.connection_id = r.id AND t.version = r.version
           AND t.status = 'active' AND t.presented_at IS NULL AND t.refused_at IS NOT NULL
        RETURNING t.connection_id, t.provider_id, t.version),
    noted AS (
        INSERT INTO activity (connection_id, provider_id, version, kind, code)
        SELECT connection_id, provider_id, version, 'needs_reauth', :code FROM changed)
    SELECT connection_id FROM changed
""")
_COUNT: Final = text(f"""
    SELECT count(*) FROM tokens t
     WHERE {MEMBER} AND t.refused_at > :since AND t.status = ANY (CAST(:statuses AS text[]))
""")  # noqa: S608 - made of our own words
# Sooner, never later: what comes by itself before that comes as it would have come. In parts, because a wave
# may be as large as its provider, and a statement must end.
_BRING_FORWARD: Final = text(f"""
    WITH chosen AS MATERIALIZED (
        SELECT t.connection_id, clock_timestamp() + random() * CAST(:spread AS interval) AS at
          FROM tokens t
         WHERE {MEMBER} AND t.refused_at > :since AND t.status = ANY (CAST(:statuses AS text[]))
           AND t.connection_id > CAST(:after AS uuid)
         ORDER BY t.connection_id
         LIMIT :limit),
    changed AS (
        UPDATE tokens t
           SET refresh_due_at = least(t.refresh_due_at, r.at),
               not_before = CASE WHEN t.not_before > r.at THEN r.at ELSE t.not_before END,
               refresh_enqueued_until = NULL
          FROM chosen r
         WHERE t.connection_id = r.connection_id AND t.status = ANY (CAST(:statuses AS text[]))
           AND t.refused_at IS NOT NULL AND (t.lease_until IS NULL OR t.lease_until < clock_timestamp()))
    SELECT connection_id FROM chosen ORDER BY connection_id DESC LIMIT 1
""").bindparams(bindparam("spread", type_=Interval))  # noqa: S608 - made of our own words
#: Rows that one statement brings forward.
_PART: Final = 5000


class RefusedStore:
    """Writes what a hold's beginning and end mean for the refused. Raises `ServiceUnavailable`.

    Every write is fenced by version and status, and may be repeated.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._auto = autocommit(engine)

    def sentenced(self, group: Group, *, since: datetime, limit: int) -> list[Refused]:
        """Return those who were declared dead because they were first refused after `since`."""
        return self._read(_SENTENCED, group, since, limit)

    def waiting(self, group: Group, *, since: datetime, limit: int) -> list[Refused]:
        """Return those who were first refused after `since` and wait to be tried again."""
        return self._read(_WAITING, group, since, limit)

    def _read(self, statement: TextClause, group: Group, since: datetime, limit: int) -> list[Refused]:
        parameters = {**group.parameters, "since": since, "limit": limit}
        with single(self._auto) as connection:
            return [
                Refused(
                    ConnectionRef(row.connection_id, row.user_id, row.provider_id, row.account_id),
                    row.version, row.failures, row.lifetime, row.now,
                )
                for row in connection.execute(statement, parameters)
            ]  # fmt: skip

    def reprieve(self, hold_id: UUID, schedule: Mapping[UUID, tuple[int, datetime]]) -> int:
        """Take death sentences back, with their alerts, while the hold is open; returns how many.

        Args:
            hold_id: Of the open hold. Once it has ended, a sentence is one that was passed after it.
            schedule: Connection -> the version that was sentenced, and when it is tried again.
        """
        parameters = {
            "hold": hold_id,
            "ids": list(schedule),
            "versions": [version for version, _ in schedule.values()],
            "times": [at for _, at in schedule.values()],
        }
        with transaction(self._engine) as connection:
            changed = list(connection.execute(_REPRIEVE, parameters).scalars())
            if changed:
                resolve_connections(connection, changed)
            return len(changed)

    def condemn(self, sentences: Sequence[tuple[Refused, AlertSpec]], *, code: str) -> int:
        """Declare the refused dead, each with its alert; returns how many it still concerned.

        Args:
            code: Goes into the activity beside the sentence.
        """
        parameters = {
            "ids": [refused.ref.connection_id for refused, _ in sentences],
            "versions": [refused.version for refused, _ in sentences],
            "code": code,
        }
        alerts = {refused.ref.connection_id: alert for refused, alert in sentences}
        with transaction(self._engine) as connection:
            changed = list(connection.execute(_CONDEMN, parameters).scalars())
            if changed:
                # What is told from here on takes the place of "is being tried again".
                resolve_connections(connection, changed, forecasts=True)
            for connection_id in changed:
                open_alert(connection, alerts[connection_id])
            return len(changed)

    def count(self, group: Group, *, since: datetime, statuses: Sequence[Status]) -> int:
        """Return how many of these statuses were first refused after `since`."""
        parameters = {**group.parameters, "since": since, "statuses": [status.value for status in statuses]}
        with single(self._auto) as connection:
            return int(connection.execute(_COUNT, parameters).scalar_one())

    def bring_forward(
        self, group: Group, *, since: datetime, spread: timedelta, statuses: Sequence[Status]
    ) -> None:
        """Have those who were first refused after `since` tried again, spread over this time.

        Nobody is put off by it, and who is being presented is left alone.
        """
        parameters = {
            **group.parameters,
            "since": since,
            "spread": spread,
            "statuses": [status.value for status in statuses],
        }
        last: UUID | None = UUID(int=0)
        with single(self._auto) as connection:
            while last is not None:
                part = {**parameters, "after": last, "limit": _PART}
                last = connection.execute(_BRING_FORWARD, part).scalar_one_or_none()
