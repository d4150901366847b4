"""Siblings: living connections that a revocation would end too, because they share client and account.

Google revokes all grants of one user to one client together. Which providers share a client is known to the
caller; who shares an account is answered here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from sqlalchemy import Connection, text


@dataclass(frozen=True, slots=True)
class Kin:
    """The providers at which one client has one revocation endpoint.

    Attributes:
        scope: Names client and endpoint; holds no secret.
        provider_ids: All of them, the one in question included.
    """

    scope: str
    provider_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Holder:
    """Whose grant is in question. `account_id` is "" where it is not known."""

    user_id: str
    account_id: str


_LIVING: Final = """
    SELECT c.id
      FROM connections c
      JOIN tokens t ON t.connection_id = c.id
     WHERE c.provider_id = ANY(CAST(:kin AS text[]))
       AND t.status <> 'disconnected'
       AND c.id IS DISTINCT FROM CAST(:except AS uuid)
       AND {whose}
     ORDER BY c.id
     LIMIT 100
"""
#: The same account, or the same user where nothing tells his accounts apart. Two statements, or Postgres
#: would plan for the half of a table that has no account.
_SAME_ACCOUNT: Final = "c.account_id <> '' AND c.account_id = :account"
_UNTOLD: Final = "c.user_id = :user AND c.account_id = ''"
_OF_ACCOUNT: Final = text(_LIVING.format(whose=f"(({_SAME_ACCOUNT}) OR ({_UNTOLD}))"))
_OF_USER: Final = text(_LIVING.format(whose="c.user_id = :user"))
_LOCK: Final = text("SELECT pg_advisory_xact_lock(hashtextextended(:scope, 0))")


def living_siblings(
    connection: Connection, kin: Kin, holder: Holder, *, besides: UUID | None = None
) -> tuple[UUID, ...]:
    """Return the living connections that share client and account, at most a hundred.

    Args:
        besides: Left out: the connection that is being ended; None leaves out none.
    """
    parameters = {"kin": list(kin.provider_ids), "except": besides, "user": holder.user_id}
    statement = _OF_USER
    if holder.account_id:
        statement, parameters["account"] = _OF_ACCOUNT, holder.account_id
    found: Sequence[UUID] = connection.execute(statement, parameters).scalars().all()
    return tuple(found)


def one_at_a_time(connection: Connection, kin: Kin) -> None:
    """Wait until no other transaction ends a connection of these providers, until this one has ended.

    Two siblings that are disconnected at the same moment would otherwise each take the other for living, and
    nobody would revoke.
    """
    connection.execute(_LOCK, {"scope": f"evergrant:revoke:{kin.scope}"})
