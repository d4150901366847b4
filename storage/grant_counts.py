"""How many live grants an account has: counted where a connection was made lately, and where it was near."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Engine, Interval, bindparam, text

from storage.engine import autocommit, single

#: A count only grows where somebody connects: accounts connected within this time are counted …
LATELY: Final = timedelta(days=2)
#: … and no more of one provider than so many of the newest connections.
MOST: Final = 5000


@dataclass(frozen=True, slots=True)
class AccountCount:
    """The living connections of one account.

    Attributes:
        oldest_user: Whose connection is the oldest of them.
        oldest_at: When that one was made.
    """

    account_id: str
    connections: int
    oldest_user: str
    oldest_at: datetime


_COUNTS: Final = text("""
    WITH accounts AS MATERIALIZED (
         SELECT recent.account_id
           FROM unnest(CAST(:providers AS text[])) AS p (provider_id)
          CROSS JOIN LATERAL (
                SELECT c.account_id
                  FROM connections c
                 WHERE c.provider_id = p.provider_id
                   AND c.connected_at > statement_timestamp() - :lately
                 ORDER BY c.connected_at DESC
                 LIMIT :most) AS recent
          WHERE recent.account_id <> ''
          UNION
         SELECT * FROM unnest(CAST(:accounts AS text[])))
    SELECT a.account_id, count(*) AS connections,
           (array_agg(c.user_id ORDER BY c.connected_at, c.id))[1] AS oldest_user,
           min(c.connected_at) AS oldest_at
      FROM accounts a
      JOIN connections c ON c.account_id = a.account_id AND c.account_id <> ''
                        AND c.provider_id = ANY (CAST(:providers AS text[]))
      JOIN tokens t ON t.connection_id = c.id AND t.status IN ('active', 'in_doubt')
     GROUP BY a.account_id
    HAVING count(*) >= :near
     ORDER BY a.account_id
""").bindparams(bindparam("lately", type_=Interval))


class GrantCounts:
    """Counts grants. Raises `ServiceUnavailable`."""

    def __init__(self, engine: Engine) -> None:
        self._auto = autocommit(engine)

    def near(self, provider_ids: Sequence[str], *, near: int, accounts: Sequence[str]) -> list[AccountCount]:
        """Return the accounts that have at least `near` living connections at these providers together.

        Looked at are those that somebody connected lately, and `accounts`. Connections that name no account
        cannot be told apart, and are not counted.
        """
        parameters = {
            "providers": list(provider_ids),
            "accounts": list(accounts),
            "near": near,
            "lately": LATELY,
            "most": MOST,
        }
        with single(self._auto) as connection:
            return [AccountCount(*row) for row in connection.execute(_COUNTS, parameters)]
