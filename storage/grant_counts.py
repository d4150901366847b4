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


# An account's connections are counted only where there are enough of them, dead ones included: a look into
# the index of accounts for each. One account after the other, in lateral parts, so that neither table is ever
# read from end to end, however many connected lately.
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
         SELECT * FROM unnest(CAST(:accounts AS text[]))),
    crowded AS MATERIALIZED (
         SELECT a.account_id
           FROM accounts a
          CROSS JOIN LATERAL (
                SELECT count(*) AS counted
                  FROM (SELECT 1
                          FROM connections c
                         WHERE c.provider_id = ANY (CAST(:providers AS text[]))
                           AND c.account_id = a.account_id AND c.account_id <> ''
                         LIMIT :near) AS found) AS of_account
          WHERE of_account.counted >= :near)
    SELECT a.account_id, living.connections, living.oldest_user, living.oldest_at
      FROM crowded a
     CROSS JOIN LATERAL (
           SELECT count(*) AS connections, min(one.connected_at) AS oldest_at,
                  (array_agg(one.user_id ORDER BY one.connected_at, one.id))[1] AS oldest_user
             FROM (SELECT c.id, c.user_id, c.connected_at
                     FROM connections c
                    CROSS JOIN LATERAL (
                          SELECT 1
                            FROM tokens t
                           WHERE t.connection_id = c.id AND t.status IN ('active', 'in_doubt')
                           LIMIT 1) AS lives
                    WHERE c.provider_id = ANY (CAST(:providers AS text[]))
                      AND c.account_id = a.account_id AND c.account_id <> ''
                    LIMIT :most) AS one) AS living
     WHERE living.connections >= :near
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
