"""How the whole fleet of tokens is doing, for status displays."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Engine, text

from storage.engine import autocommit, single


@dataclass(frozen=True, slots=True)
class ProviderStatistics:
    """One provider's tokens.

    Attributes:
        by_status: A status without tokens is absent.
        due: Refreshes, retries and recoveries whose time has come.
        overdue: Those of them that have waited longer than the `overdue_after` that was asked for.
        expired: Active tokens whose access token has expired: what must not happen.
        failing: Active tokens whose last attempt failed.
        oldest_lateness: How long the most overdue of them has been due; zero if nothing is due.
    """

    provider_id: str
    by_status: dict[str, int]
    due: int
    overdue: int
    expired: int
    failing: int
    checks_due: int
    oldest_lateness: timedelta


@dataclass(frozen=True, slots=True)
class FleetStatistics:
    """All providers' tokens at one moment of Postgres' clock."""

    at: datetime
    providers: tuple[ProviderStatistics, ...]

    @property
    def by_status(self) -> dict[str, int]:
        """Tokens of all providers by status."""
        totals: Counter[str] = Counter()
        for provider in self.providers:
            totals.update(provider.by_status)
        return dict(totals)

    @property
    def due(self) -> int:
        """Refreshes due at all providers."""
        return sum(provider.due for provider in self.providers)

    @property
    def overdue(self) -> int:
        """Refreshes overdue at all providers."""
        return sum(provider.overdue for provider in self.providers)

    @property
    def expired(self) -> int:
        """Active tokens that have expired, at all providers."""
        return sum(provider.expired for provider in self.providers)

    @property
    def oldest_lateness(self) -> timedelta:
        """The longest that anything has been due."""
        return max((provider.oldest_lateness for provider in self.providers), default=timedelta())


# One pass over the table (about 0.2 s a million rows): for people's displays, not for the hot path.
_STATISTICS: Final = text("""
    SELECT provider_id, status, statement_timestamp() AS at, count(*) AS tokens,
           count(*) FILTER (WHERE refresh_due_at <= statement_timestamp()) AS due,
           count(*) FILTER (WHERE refresh_due_at <= statement_timestamp() - CAST(:overdue AS interval))
               AS overdue,
           count(*) FILTER (WHERE status = 'active' AND expires_at <= statement_timestamp()) AS expired,
           count(*) FILTER (WHERE status = 'active' AND failures > 0) AS failing,
           count(*) FILTER (WHERE check_due_at <= statement_timestamp()) AS checks_due,
           greatest(statement_timestamp() - min(refresh_due_at), interval '0') AS lateness
      FROM tokens
     GROUP BY provider_id, status
     ORDER BY provider_id, status
""")
_NOW: Final = text("SELECT statement_timestamp()")


def fleet_statistics(engine: Engine, *, overdue_after: timedelta = timedelta(seconds=10)) -> FleetStatistics:
    """Count all tokens by provider and status, and what of them is due, overdue and expired.

    Raises:
        ServiceUnavailable: Postgres does not answer.
    """
    with single(autocommit(engine)) as connection:
        rows = connection.execute(_STATISTICS, {"overdue": overdue_after}).all()
        at = rows[0].at if rows else connection.execute(_NOW).scalar_one()
    providers = []
    for provider_id in dict.fromkeys(row.provider_id for row in rows):
        own = [row for row in rows if row.provider_id == provider_id]
        providers.append(
            ProviderStatistics(
                provider_id=provider_id,
                by_status={row.status: row.tokens for row in own},
                due=sum(row.due for row in own),
                overdue=sum(row.overdue for row in own),
                expired=sum(row.expired for row in own),
                failing=sum(row.failing for row in own),
                checks_due=sum(row.checks_due for row in own),
                # A status whose tokens never come due says nothing.
                oldest_lateness=max((row.lateness for row in own if row.lateness), default=timedelta()),
            )
        )
    return FleetStatistics(at, tuple(providers))
