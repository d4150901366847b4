"""Verdict holds: waves of refusals, one open row a scope, and the counts by which they begin and end.

Nothing here is asked on the way of a refresh that succeeds.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import Engine, Interval, RowMapping, Text, bindparam, func, select, text, update

from domain.incidents import MOST_SUCCESSES_WANTED, UNDER_HOLD, Calm, Ending
from storage.alerts import AlertSpec, open_alert, resolve_cause
from storage.engine import autocommit, single, transaction
from storage.groups import MEMBER, Group
from storage.schema import verdict_holds


@dataclass(frozen=True, slots=True)
class VerdictHold:
    """A wave. `presented` and `refused` are as they were counted when it was opened."""

    id: UUID
    scope: str
    provider_id: str
    tenant: str | None
    presented: int
    refused: int
    opened_at: datetime
    ended_at: datetime | None
    ended_as: Ending | None


@dataclass(frozen=True, slots=True)
class Standing:
    """What a scope's verdict hold says.

    Attributes:
        open: The open one; None: refusals are judged as they come.
        ended_at: When the last one ended; None: there was none.
        now: Postgres' time when this was read.
    """

    open: VerdictHold | None
    ended_at: datetime | None
    ended_as: Ending | None
    now: datetime


@dataclass(frozen=True, slots=True)
class Census:
    """How many of the group's distinct connections were newly refused, and how many presented.

    Attributes:
        presented: 0 where it was not worth counting.
        counted_at: Postgres' time before the counting began.
    """

    refused: int
    presented: int
    counted_at: datetime


@dataclass(frozen=True, slots=True)
class RecentlyRefused:
    """How many newly refused connections a tenant of a provider has."""

    provider_id: str
    tenant: str | None
    refused: int


_FIELDS: Final = tuple(verdict_holds.c[name] for name in VerdictHold.__slots__)
_CLOCK: Final = select(func.clock_timestamp().label("now")).subquery("clock")
_OF_SCOPE: Final = (
    # Joined to the clock, which is there for a scope without any hold too: nearly every one.
    select(*_FIELDS, _CLOCK.c.now)
    .select_from(_CLOCK.outerjoin(verdict_holds, verdict_holds.c.scope == bindparam("of_scope")))
    # The open one first, then the last that ended.
    .order_by(verdict_holds.c.ended_at.desc().nulls_first())
    .limit(2)
)
_LOCK: Final = text("SELECT pg_advisory_xact_lock(hashtextextended('verdict hold ' || :scope, 0))")
# Not in doubt: such a row was refused while a hold was open, and a lost rotation may explain it.
_REFUSED: Final = text(f"""
    SELECT count(*), statement_timestamp()
      FROM tokens t
     WHERE {MEMBER}
       AND t.refused_at > statement_timestamp() - :window
       AND t.refused_at
           > coalesce((SELECT max(ended_at) FROM verdict_holds WHERE scope = :scope), '-infinity')
       AND t.status <> 'in_doubt'
""").bindparams(bindparam("window", type_=Interval))  # noqa: S608 - made of our own words
#: Lines that tell of a presentation which the provider judged, or may have judged. A failure that says
#: nothing of the grant (an outage, a rate) is none: it would only thin the wave out. They come in the order
#: of time, so that the BRIN index finds the last minutes without reading the rest.
_JUDGED: Final = f"""
        a.at > statement_timestamp() - :window
    AND a.provider_id = ANY (CAST(:providers AS text[])) AND a.attempt_id IS NOT NULL
    AND a.kind IN ('refreshed', 'in_doubt', 'needs_reauth', '{UNDER_HOLD}')
"""
_PRESENTED_WHOLE: Final = text(
    f"SELECT count(DISTINCT a.connection_id) FROM activity a WHERE {_JUDGED}"  # noqa: S608 - our own words
).bindparams(bindparam("window", type_=Interval))
# Rows of tokens are only joined where they tell whose grant it is.
_PRESENTED_TENANT: Final = text(f"""
    SELECT count(DISTINCT a.connection_id)
      FROM activity a JOIN tokens t ON t.connection_id = a.connection_id
     WHERE {_JUDGED} AND {MEMBER}
""").bindparams(bindparam("window", type_=Interval))  # noqa: S608 - made of our own words
_RECENTLY: Final = text("""
    SELECT provider_id, tenant, count(*) FROM tokens
     WHERE provider_id = ANY (CAST(:providers AS text[])) AND refused_at > statement_timestamp() - :window
     GROUP BY provider_id, tenant
""").bindparams(bindparam("window", type_=Interval))
_CALM: Final = text(f"""
    WITH lines AS MATERIALIZED (
        SELECT a.connection_id, a.kind, a.at, a.at > statement_timestamp() - :quiet AS lately,
               t.refused_at, t.last_refreshed_at
          FROM activity a JOIN tokens t ON t.connection_id = a.connection_id
         WHERE {_JUDGED} AND {MEMBER}),
    refused AS MATERIALIZED (
        SELECT greatest(max(t.refused_at), :opened_at) AS last_at,
               count(*) FILTER (WHERE t.refused_at > statement_timestamp() - :quiet) AS lately
          FROM tokens t
         WHERE {MEMBER} AND t.refused_at > :opened_at - :window AND t.status <> 'in_doubt')
    SELECT count(DISTINCT connection_id) FILTER (WHERE lately) AS presented,
           (SELECT lately FROM refused) AS newly_refused,
           count(DISTINCT connection_id) FILTER (
               WHERE lately AND kind IN ('needs_reauth', '{UNDER_HOLD}')) AS refused,
           count(DISTINCT connection_id) FILTER (
               WHERE kind IN ('needs_reauth', '{UNDER_HOLD}')
                 AND refused_at IS NULL AND last_refreshed_at > at) AS come_back,
           (SELECT count(*) FROM (
                SELECT FROM tokens t
                 WHERE {MEMBER} AND t.refused_at IS NULL
                   AND t.last_refreshed_at > (SELECT last_at FROM refused)
                 LIMIT :enough) AS well) AS succeeded,
           (SELECT count(*) FROM (
                SELECT FROM tokens t
                 WHERE {MEMBER} AND t.status = 'active' AND t.refreshable AND t.refused_at IS NULL
                 LIMIT :enough) AS living) AS others,
           (SELECT count(*) FROM (
                SELECT FROM tokens t
                 WHERE {MEMBER} AND t.refused_at > :opened_at - :window AND t.status <> 'disconnected'
                 LIMIT 1) AS unjudged) AS waiting
      FROM lines
""").bindparams(bindparam("window", type_=Interval), bindparam("quiet", type_=Interval))  # noqa: S608 - made of our own words
_OPEN: Final = text("""
    INSERT INTO verdict_holds (id, scope, provider_id, tenant, presented, refused)
    SELECT :id, :scope, :provider_id, :tenant, :presented, :refused
     WHERE NOT EXISTS (SELECT FROM verdict_holds WHERE scope = :scope AND ended_at > :counted_at)
        ON CONFLICT DO NOTHING
    RETURNING id
""").bindparams(bindparam("tenant", type_=Text))


def _hold(row: RowMapping) -> VerdictHold:
    values = {name: row[name] for name in VerdictHold.__slots__}
    values["ended_as"] = None if row["ended_as"] is None else Ending(str(row["ended_as"]))
    return VerdictHold(**values)


class IncidentStore:
    """Counts, opens and ends verdict holds. Raises `ServiceUnavailable`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._auto = autocommit(engine)

    def standing(self, scope: str) -> Standing:
        """Return whether a hold is open in the scope, and how the last one ended."""
        with single(self._auto) as connection:
            rows = connection.execute(_OF_SCOPE, {"of_scope": scope}).mappings().all()
        holds = [_hold(row) for row in rows if row["id"] is not None]
        open_one = next((hold for hold in holds if hold.ended_at is None), None)
        ended = next((hold for hold in holds if hold.ended_at is not None), None)
        return Standing(
            open_one,
            None if ended is None else ended.ended_at,
            None if ended is None else ended.ended_as,
            rows[0]["now"],
        )

    def census(self, group: Group, *, window: timedelta, worth: int) -> Census:
        """Count the newly refused since the scope's last hold, and who was presented, within the window.

        Args:
            worth: With fewer newly refused than this, the presented are not counted.
        """
        parameters = {**group.parameters, "window": window, "scope": group.scope}
        with single(self._auto) as connection:
            refused, at = connection.execute(_REFUSED, parameters).one()
            if refused < worth:
                return Census(refused, 0, at)
            counting = _PRESENTED_TENANT if group.tenanted else _PRESENTED_WHOLE
            return Census(refused, connection.execute(counting, parameters).scalar_one(), at)

    def recently_refused(self, provider_ids: list[str], *, window: timedelta) -> list[RecentlyRefused]:
        """Return where connections were newly refused within the window, and how many."""
        with single(self._auto) as connection:
            rows = connection.execute(_RECENTLY, {"providers": provider_ids, "window": window})
            return [RecentlyRefused(*row) for row in rows]

    def open(self, hold_id: UUID, group: Group, census: Census, alert: AlertSpec) -> bool:
        """Open a hold, with its alert in the same transaction; False if it may not be opened any more.

        One is open already, or one has ended since the census was taken: what was counted is judged then.
        """
        parameters = {
            "id": hold_id,
            "scope": group.scope,
            "provider_id": group.provider_id,
            "tenant": group.tenant,
            "presented": max(census.presented, census.refused),
            "refused": census.refused,
            "counted_at": census.counted_at,
        }
        with transaction(self._engine) as connection:
            # Against an end at the same moment, which this statement's snapshot would not show.
            connection.execute(_LOCK, {"scope": group.scope})
            if connection.execute(_OPEN, parameters).one_or_none() is None:
                return False
            open_alert(connection, alert)
            return True

    def end(self, hold: VerdictHold, ending: Ending, *, cause: str) -> bool:
        """End an open hold and resolve its alert; False if somebody else has ended it."""
        change = (
            update(verdict_holds)
            .where(verdict_holds.c.id == hold.id, verdict_holds.c.ended_at.is_(None))
            .values(ended_at=func.clock_timestamp(), ended_as=ending.value)
        )
        with transaction(self._engine) as connection:
            connection.execute(_LOCK, {"scope": hold.scope})
            if connection.execute(change).rowcount == 0:
                return False
            resolve_cause(connection, cause)
            return True

    def find(self, hold_id: UUID) -> VerdictHold | None:
        """Return one hold, open or ended; None if there is no such hold."""
        with single(self._auto) as connection:
            row = connection.execute(select(*_FIELDS).where(verdict_holds.c.id == hold_id)).mappings().first()
        return None if row is None else _hold(row)

    def list(self, *, ended: bool = False, limit: int = 1000) -> list[VerdictHold]:
        """Return the open holds, with `ended` also the ended ones, the newest first."""
        statement = select(*_FIELDS).order_by(verdict_holds.c.opened_at.desc()).limit(limit)
        if not ended:
            statement = statement.where(verdict_holds.c.ended_at.is_(None))
        with single(self._auto) as connection:
            return [_hold(row) for row in connection.execute(statement).mappings()]

    def calm(self, group: Group, hold: VerdictHold, *, window: timedelta, quiet: timedelta) -> Calm:
        """Count how a group with an open hold is doing."""
        parameters = {
            **group.parameters,
            "window": window,
            "quiet": quiet,
            "opened_at": hold.opened_at,
            "enough": MOST_SUCCESSES_WANTED,
        }
        with single(self._auto) as connection:
            return Calm(**connection.execute(_CALM, parameters).mappings().one())
