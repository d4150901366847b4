"""How long grants live: bounded looks for those that may die soon, whatever the tables' size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ARRAY, Engine, Interval, Row, bindparam, func, select, text

from domain.lifetimes import LEAST_STUCK, Life
from domain.token import ConnectionRef
from storage.engine import autocommit, single
from storage.inspection import database_time
from storage.schema import connections, tokens

#: No more of one provider are found in each of the four ways than this, those that end first.
MOST: Final = 1000
#: What should have ended longer ago than this is not looked for any more: whoever said so was wrong.
LONG_OVER: Final = timedelta(days=31)
#: The same of grants whose beginning is all that is looked at. Those that died lie there as well, to be
#: stepped over each time; one that lives on is refreshed, or found for not being.
WHOLE_OVER: Final = timedelta(days=2)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to look for at one provider.

    Attributes:
        whole: Grants end so long after they began; None: they do not.
    """

    provider_id: str
    whole: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Lived:
    """A connection, how long its grant lives, and why it failed last (None: it has not)."""

    ref: ConnectionRef
    life: Life
    last_error_code: str | None


_LIVING: Final = "t.status IN ('active', 'in_doubt')"
# `statement_timestamp()` as in `storage.tokens.due`. Each of the four walks a provider's part of one index,
# from its beginning, and stops: what dies whatever is done, whose grant began long ago, who fails, who is
# overdue.
_CANDIDATES: Final = text(f"""
    SELECT DISTINCT found.connection_id
      FROM unnest(CAST(:providers AS text[]), CAST(:wholes AS interval[])) AS p (provider_id, whole)
     CROSS JOIN LATERAL (
           (SELECT t.connection_id
              FROM tokens t
             WHERE t.provider_id = p.provider_id AND {_LIVING}
               AND t.dies_at IS NOT NULL
               AND t.dies_at >= statement_timestamp() - :long_over
               AND t.dies_at <= statement_timestamp() + :ahead
             ORDER BY t.dies_at
             LIMIT :most)
            UNION ALL
           (SELECT t.connection_id
              FROM connections c JOIN tokens t ON t.connection_id = c.id
             WHERE c.provider_id = p.provider_id AND {_LIVING}
               AND c.connected_at >= statement_timestamp() - p.whole - :whole_over
               AND c.connected_at <= statement_timestamp() - p.whole + :ahead
             ORDER BY c.connected_at
             LIMIT :most)
            UNION ALL
           (SELECT t.connection_id
              FROM tokens t
             WHERE t.provider_id = p.provider_id
               AND t.failures > 0 AND t.refresh_due_at IS NOT NULL
             ORDER BY t.issued_at
             LIMIT :most)
            UNION ALL
           (SELECT t.connection_id
              FROM tokens t
             WHERE t.provider_id = p.provider_id
               AND t.refresh_due_at IS NOT NULL
               AND t.refresh_due_at <= statement_timestamp() - :stuck_after
             ORDER BY t.refresh_due_at
             LIMIT :most)) AS found
""").bindparams(  # noqa: S608 - made of our own words
    bindparam("wholes", type_=ARRAY(Interval)),
    *(bindparam(name, type_=Interval) for name in ("ahead", "long_over", "whole_over", "stuck_after")),
)
_LIFE: Final = tuple(Life.__slots__)
_LIVES: Final = (
    select(
        func.clock_timestamp().label("now"),
        connections.c.id,
        connections.c.user_id,
        connections.c.provider_id,
        connections.c.account_id,
        tokens.c.last_error_code,
        *((connections if name == "connected_at" else tokens).c[name] for name in _LIFE),
    )
    .join(tokens, tokens.c.connection_id == connections.c.id)
    .where(
        connections.c.id.in_(bindparam("ids", expanding=True)), tokens.c.status.in_(("active", "in_doubt"))
    )
    .order_by(connections.c.id)
)


class LifeStore:
    """Reads how long grants live. Raises `ServiceUnavailable`."""

    def __init__(self, engine: Engine) -> None:
        self._auto = autocommit(engine)

    def now(self) -> datetime:
        """Return Postgres' time."""
        return database_time(self._auto)

    def candidates(self, wanted: Sequence[Wanted], *, ahead: timedelta) -> list[UUID]:
        """Return the living connections that may end within `ahead`, of a provider those that end first."""
        parameters = {
            "providers": [each.provider_id for each in wanted],
            "wholes": [each.whole for each in wanted],
            "ahead": ahead,
            "long_over": LONG_OVER,
            "whole_over": WHOLE_OVER,
            "stuck_after": LEAST_STUCK,
            "most": MOST,
        }
        with single(self._auto) as connection:
            return list(connection.execute(_CANDIDATES, parameters).scalars())

    def lives(self, connection_ids: Sequence[UUID]) -> list[tuple[datetime, Lived]]:
        """Return those of these connections that live, each with the database's time."""
        found: list[tuple[datetime, Lived]] = []
        with single(self._auto) as connection:
            for start in range(0, len(connection_ids), MOST):
                part = {"ids": list(connection_ids[start : start + MOST])}
                found += [(row.now, _lived(row)) for row in connection.execute(_LIVES, part)]
        return found


def _lived(row: Row[Any]) -> Lived:
    ref = ConnectionRef(row.id, row.user_id, row.provider_id, row.account_id)
    return Lived(ref, Life(**{name: getattr(row, name) for name in _LIFE}), row.last_error_code)
