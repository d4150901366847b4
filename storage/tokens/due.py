"""What is due: marked for the queues, most urgent first, at a cost that follows the number due."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal
from uuid import UUID

from sqlalchemy import Interval, TextClause, bindparam, text

from domain.incidents import UNDER_HOLD
from storage.engine import single
from storage.tokens.base import StoreBase

Work = Literal["refresh", "check"]
#: (provider, tenant) -> how many of its tokens may be marked; tenant None: the grants of no tenant.
HeldTenants = Mapping[tuple[str, str | None], int]
NO_TENANTS: Final[HeldTenants] = {}
#: Nobody is put behind others by more than this for having more time until expiry.
PATIENCE: Final = timedelta(hours=1)
#: What is not known to expire soon, or has failed, is as urgent as an hourly token with little reserve.
_ORDINARY: Final = timedelta(minutes=10)
#: Kinds of activity that tell that an attempt has ended, whatever it came to.
ENDED: Final[dict[Work, list[str]]] = {
    "refresh": ["refreshed", "refresh_failed", "in_doubt", "needs_reauth", UNDER_HOLD],
    "check": ["checked"],
}
#: The pace is that of so long a past, within so many of the newest lines of activity.
_LATELY: Final = timedelta(seconds=3)
_MOST_LINES: Final = 5000


@dataclass(frozen=True, slots=True)
class DueToken:
    """A token that was marked.

    Attributes:
        lateness: How long it had been due by then.
        tenant: Which of the provider's tenants the grant belongs to; None: none.
    """

    connection_id: UUID
    provider_id: str
    due_at: datetime
    lateness: timedelta
    tenant: str | None = None


#: By when a token should have been refreshed: its expiry, where that comes soon. A retry had its turn when it
#: was due first; its expiry, which may be long past, must not bring it before those that can be served. A
#: doubt's time is exact: the window in which it may be presented again passes. Checks keep no token alive.
_URGENCY: Final[dict[Work, str]] = {
    "refresh": f"""
        CASE WHEN t.status = 'in_doubt' THEN t.refresh_due_at
             WHEN t.failures > 0 OR t.expires_at IS NULL
                  THEN t.refresh_due_at + interval '{_ORDINARY.total_seconds():g} seconds'
             ELSE least(t.expires_at, t.refresh_due_at + interval '{PATIENCE.total_seconds():g} seconds')
        END""",
    "check": "t.check_due_at",
}


def _mark(work: Work) -> TextClause:
    """Return the statement that marks what is due.

    `statement_timestamp()` is stable within the statement and so can be an index condition, which
    `clock_timestamp()` cannot; it starts with the statement and is never ahead of the clock. A row under a
    live lease is being worked on and is not marked again. NO KEY UPDATE is the lock that the update takes
    anyway; a stronger one would skip rows that a foreign key reads.
    The update finds its rows by an array, and not by a join, so that it never scans the table.

    Each provider's walk is in the order of due times; over the providers the most urgent come first.

    A tenant that is held back is stepped over in its provider's walk, and has one of its own where it has
    room. In `held`, and only there, the grants of no tenant are those of the empty one.
    """
    due, mark, urgency = f"{work}_due_at", f"{work}_enqueued_until", _URGENCY[work]
    return text(
        f"""
        WITH due AS MATERIALIZED (
            SELECT found.connection_id
              FROM unnest(CAST(:providers AS text[]), CAST(:tenants AS text[]), CAST(:rooms AS integer[]))
                   AS p (provider_id, tenant, room)
             CROSS JOIN LATERAL (
                   SELECT t.connection_id, {urgency} AS urgent_at
                     FROM tokens t
                    WHERE t.provider_id = p.provider_id
                      AND CASE WHEN p.tenant IS NOT NULL
                               THEN coalesce(t.tenant, '') = p.tenant
                               ELSE t.provider_id || '|' || coalesce(t.tenant, '')
                                    <> ALL (CAST(:held AS text[])) END
                      AND t.{due} IS NOT NULL
                      AND t.{due} <= statement_timestamp()
                      AND (t.{mark} IS NULL OR t.{mark} < statement_timestamp())
                      AND (t.lease_until IS NULL OR t.lease_until < statement_timestamp())
                    ORDER BY t.{due}
                    LIMIT p.room
                      FOR NO KEY UPDATE SKIP LOCKED) AS found
             ORDER BY found.urgent_at
             LIMIT :total)
        UPDATE tokens t
           SET {mark} = statement_timestamp() + :mark
         WHERE t.connection_id = ANY (ARRAY(SELECT connection_id FROM due))
        RETURNING t.connection_id, t.provider_id, t.{due}, statement_timestamp() - t.{due}, t.tenant,
                  {urgency}
        """  # noqa: S608 - made of two literal words
    ).bindparams(bindparam("mark", type_=Interval))


_MARK: Final[dict[Work, TextClause]] = {"refresh": _mark("refresh"), "check": _mark("check")}
_UNMARK: Final[dict[Work, TextClause]] = {
    "refresh": text(
        "UPDATE tokens SET refresh_enqueued_until = NULL WHERE connection_id = ANY(CAST(:ids AS uuid[]))"
    ),
    "check": text(
        "UPDATE tokens SET check_enqueued_until = NULL WHERE connection_id = ANY(CAST(:ids AS uuid[]))"
    ),
}


_PUT_OFF: Final[dict[Work, TextClause]] = {
    work: text(
        f"UPDATE tokens SET {work}_enqueued_until = clock_timestamp() + :wait"  # noqa: S608 - one of two words
        " WHERE connection_id = :connection_id"
    ).bindparams(bindparam("wait", type_=Interval))
    for work in _MARK
}
#: The newest lines by their id: a bounded walk, whatever the table's size.
_PACE: Final = text("""
    WITH lines AS MATERIALIZED (SELECT kind, at FROM activity ORDER BY id DESC LIMIT :most_lines)
    SELECT count(*) FILTER (WHERE kind = ANY (CAST(:kinds AS text[]))), statement_timestamp() - min(at)
      FROM lines
     WHERE at > statement_timestamp() - :lately
""").bindparams(bindparam("lately", type_=Interval))


class Due(StoreBase):
    """The part of the token store that the scheduler uses."""

    def mark_due_refreshes(
        self, limits: Mapping[str, int], *, total: int, mark: timedelta, held: HeldTenants = NO_TENANTS
    ) -> list[DueToken]:
        """Mark tokens whose refresh, retry or recovery is due, and return them, the most urgent first.

        Of one provider those are the longest due. Of several, whose expiry is nearest comes first, and nobody
        is put behind by more than `PATIENCE` for having time.

        Two callers at once get different tokens. A marked token is not returned again for `mark`, unless an
        attempt ends before; marks only spare the queues, and no correctness rests on them.

        Args:
            limits: How many tokens of each provider may be marked; providers that are not named get none.
            total: How many in all.
            held: Tenants that are held back, and how many tokens of each may be marked all the same; they
                have no part in their providers' limits.
        """
        return self._mark("refresh", limits, total, mark, held)

    def mark_due_checks(
        self, limits: Mapping[str, int], *, total: int, mark: timedelta, held: HeldTenants = NO_TENANTS
    ) -> list[DueToken]:
        """Mark tokens whose health check is due; as `mark_due_refreshes`."""
        return self._mark("check", limits, total, mark, held)

    def pace(self, work: Work) -> float:
        """Return how many attempts of all workers have ended a second, over the last few seconds."""
        parameters = {"most_lines": _MOST_LINES, "lately": _LATELY, "kinds": ENDED[work]}
        with single(self._auto) as connection:
            ended, span = connection.execute(_PACE, parameters).one()
        return 0.0 if span is None else float(ended / max(1.0, span.total_seconds()))

    def unmark(self, connection_ids: Sequence[UUID], work: Work = "refresh") -> None:
        """Take marks back, of what could not be published."""
        with single(self._auto) as connection:
            connection.execute(_UNMARK[work], {"ids": list(connection_ids)})

    def put_off(self, connection_id: UUID, wait: timedelta, work: Work = "refresh") -> None:
        """Have a token not marked again for so long: its due time, and with it its turn, stays as it is."""
        with single(self._auto) as connection:
            connection.execute(_PUT_OFF[work], {"connection_id": connection_id, "wait": wait})

    def _mark(
        self, work: Work, limits: Mapping[str, int], total: int, mark: timedelta, held: HeldTenants
    ) -> list[DueToken]:
        rooms: list[tuple[str, str | None, int]] = [
            *((provider, None, room) for provider, room in limits.items() if room > 0),
            *((provider, tenant or "", room) for (provider, tenant), room in held.items() if room > 0),
        ]
        if not rooms or total <= 0:
            return []
        providers, tenants, numbers = zip(*rooms, strict=True)
        parameters = {
            "providers": list(providers),
            "tenants": list(tenants),
            "rooms": list(numbers),
            "held": [f"{provider}|{tenant or ''}" for provider, tenant in held],
            "total": total,
            "mark": mark,
        }
        with single(self._auto) as connection:
            marked = sorted(connection.execute(_MARK[work], parameters), key=lambda row: row[-1])
        return [DueToken(*row[:-1]) for row in marked]
