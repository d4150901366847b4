"""How many refreshes are due, overdue and done, by provider: bounded counts, whatever the tables' size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Engine, Interval, bindparam, text

from domain.capacity import LOOKED_BACK
from storage.engine import autocommit, single
from storage.inspection import database_time
from storage.tokens.due import ENDED, NO_TENANTS, HeldTenants

#: No more overdue tokens of a provider are counted than this, and of many providers no more in all than so
#: many: a tenth of a second, where everything is late.
MOST_OVERDUE: Final = 10_000
MOST_IN_ALL: Final = 50_000
#: What comes due is counted for so long ahead, and no more of a provider than so many.
AHEAD: Final = timedelta(seconds=60)
MOST_COMING: Final = 2_000
#: What was done is counted for so long back, within so many of the newest lines of activity.
BACK: Final = LOOKED_BACK
MOST_LINES: Final = 10_000
#: A shorter time than this tells no rate, unless as many as are counted at most fell into it: …
SHORTEST: Final = timedelta(seconds=5)
#: … those tell one, but for a heap at one instant.
_INSTANT: Final = timedelta(seconds=0.1)
#: Part of a provider's tokens that has less reserve than the one that is told: odd ones, imported late.
_ODD: Final = 0.05


@dataclass(frozen=True, slots=True)
class ProviderLoad:
    """One provider's refreshes. Instants and counts are None or 0 where there is nothing.

    Attributes:
        overdue: How many are due, unleased and not held off, of the longest due, `MOST_OVERDUE` at most.
        exact: There are no more than those.
        oldest, newest: When the first and the last of the counted were due.
        expired: How many of the counted have expired since they were due.
        due_per_second: How many become due a second, soon.
        done_per_second: How many attempts ended a second, lately.
        reserve: From due time to expiry, of those with little; None: nothing is known to expire.
        presenting: The processes that hold leases of due tokens at this moment.
    """

    provider_id: str
    overdue: int
    exact: bool
    oldest: datetime | None
    newest: datetime | None
    expired: int
    due_per_second: float
    done_per_second: float
    reserve: timedelta | None
    presenting: tuple[str, ...]


#: One provider's refreshes in the order of their due times, those of held tenants left out.
_MINE: Final = """
                     FROM tokens t
                    WHERE t.provider_id = p.provider_id
                      AND t.provider_id || '|' || coalesce(t.tenant, '') <> ALL (CAST(:held AS text[]))
                      AND t.refresh_due_at IS NOT NULL
"""
_RESERVE: Final = f"""
                      percentile_disc({_ODD}) WITHIN GROUP (ORDER BY reserve)
                          FILTER (WHERE reserve > interval '0' AND failures = 0)
"""
# `statement_timestamp()` as in `storage.tokens.due`. Both inner selects walk a provider's part of the due
# index and stop. The row of a lease that lives is being worked on; its due time has stayed as it was.
_DUE: Final = text(f"""
        SELECT statement_timestamp() AS at, p.provider_id,
               o.found, o.overdue, o.oldest, o.newest, o.expired, o.presenting, s.coming, s.last,
               coalesce(s.reserve, o.reserve) AS reserve
          FROM unnest(CAST(:providers AS text[])) AS p (provider_id)
         CROSS JOIN LATERAL (
               SELECT count(*) AS found, count(*) FILTER (WHERE NOT leased) AS overdue,
                      min(due) FILTER (WHERE NOT leased) AS oldest,
                      max(due) FILTER (WHERE NOT leased) AS newest,
                      count(*) FILTER (WHERE NOT leased AND expired) AS expired,
                      array_agg(DISTINCT owner) FILTER (WHERE leased) AS presenting,
                      {_RESERVE} AS reserve
                 FROM (
                   SELECT t.refresh_due_at AS due, t.failures, t.expires_at - t.refresh_due_at AS reserve,
                          coalesce(t.lease_until > statement_timestamp(), false) AS leased,
                          t.lease_owner AS owner,
                          coalesce(t.expires_at <= statement_timestamp()
                                   AND t.expires_at > t.refresh_due_at, false) AS expired
                   {_MINE}
                      AND t.refresh_due_at <= statement_timestamp()
                      AND (t.not_before IS NULL OR t.not_before <= statement_timestamp())
                    ORDER BY t.refresh_due_at
                    LIMIT :most_overdue) AS found) AS o
         CROSS JOIN LATERAL (
               SELECT count(*) AS coming, max(due) AS last, {_RESERVE} AS reserve
                 FROM (
                   SELECT t.refresh_due_at AS due, t.failures, t.expires_at - t.refresh_due_at AS reserve
                   {_MINE}
                      AND t.refresh_due_at > statement_timestamp()
                      AND t.refresh_due_at <= statement_timestamp() + :ahead
                    ORDER BY t.refresh_due_at
                    LIMIT :most_coming) AS found) AS s
""").bindparams(bindparam("ahead", type_=Interval))  # noqa: S608 - made of our own words
# The newest lines by their id, which is the order of time within a few lines.
_ENDED: Final = text("""
    WITH lines AS MATERIALIZED (
         SELECT provider_id, kind, at FROM activity ORDER BY id DESC LIMIT :most_lines),
    lately AS MATERIALIZED (SELECT * FROM lines WHERE at > statement_timestamp() - :back)
    SELECT provider_id, count(*),
           (SELECT statement_timestamp() - min(at) FROM lately), (SELECT count(*) FROM lately)
      FROM lately
     WHERE kind = ANY (CAST(:kinds AS text[]))
     GROUP BY provider_id
""").bindparams(bindparam("back", type_=Interval))
_LATELY: Final = {"most_lines": MOST_LINES, "back": BACK, "kinds": ENDED["refresh"]}


class LoadStore:
    """Reads the load, in two statements. Raises `ServiceUnavailable`."""

    def __init__(self, engine: Engine) -> None:
        self._auto = autocommit(engine)

    def read(
        self, provider_ids: Sequence[str], *, held: HeldTenants = NO_TENANTS
    ) -> tuple[datetime, list[ProviderLoad]]:
        """Return Postgres' time, and the load of each of these providers.

        Args:
            held: Tenants that are held back; what they have due counts for nothing.
        """
        if not provider_ids:
            return database_time(self._auto), []
        most_overdue = max(1, min(MOST_OVERDUE, MOST_IN_ALL // len(provider_ids)))
        parameters = {
            "providers": list(provider_ids),
            "held": [f"{provider}|{tenant or ''}" for provider, tenant in held],
            "most_overdue": most_overdue,
            "most_coming": MOST_COMING,
            "ahead": AHEAD,
        }
        with single(self._auto) as connection:
            ended = connection.execute(_ENDED, _LATELY).all()
            rows = connection.execute(_DUE, parameters).all()
        done = {
            provider_id: _rate(count, span, cut=lines >= MOST_LINES)
            for provider_id, count, span, lines in ended
        }
        return rows[0].at, [
            ProviderLoad(
                provider_id=row.provider_id,
                overdue=row.overdue,
                exact=row.found < most_overdue,
                oldest=row.oldest,
                newest=row.newest,
                expired=row.expired,
                due_per_second=_rate(row.coming, row.last - row.at, cut=True)
                if row.coming >= MOST_COMING
                else _rate(row.coming, AHEAD, cut=False),
                done_per_second=done.get(row.provider_id, 0.0),
                reserve=row.reserve,
                presenting=tuple(row.presenting or ()),
            )
            for row in rows
        ]


def _rate(count: int, span: timedelta, *, cut: bool) -> float:
    """Return how many a second; `cut`: counting ended because there were so many, at the end of this time."""
    return count / max(span, _INSTANT if cut else SHORTEST).total_seconds()
