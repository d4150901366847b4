"""Fills the token store by COPY, with tokens that open, and makes them due."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID, uuid4

import psycopg
from pydantic import SecretStr

from storage.keys import KeyRing
from storage.sealing import Sealer
from storage.tokens.rows import token_ref

#: Real ones are about this long: Google's access tokens have some 220 characters, its refresh tokens 103.
ACCESS: Final = "a" * 220
REFRESH: Final = "r" * 100
_COPY_CONNECTIONS: Final = (
    "COPY connections (id, user_id, provider_id, account_id, scope, metadata) FROM STDIN (FORMAT BINARY)"
)
_COPY_TOKENS: Final = (
    "COPY tokens (connection_id, provider_id, grant_id, key_id, access_token, refresh_token, refresh_digest,"
    " spent_digests, issued_at, expires_at, refresh_due_at) FROM STDIN (FORMAT BINARY)"
)
_TOKEN_TYPES: Final = (
    "uuid", "text", "uuid", "text", "bytea", "bytea", "bytea", "bytea[]",
    "timestamptz", "timestamptz", "timestamptz",
)  # fmt: skip


def fill(
    url: str,
    keys: str,
    provider_ids: list[str],
    count: int,
    *,
    lifetime: timedelta,
    due_in: timedelta,
    every: timedelta = timedelta(0),
    reserve: timedelta | None = None,
    spent: int = 0,
) -> list[UUID]:
    """Store so many connections, each with a token that opens, spread over the providers in turn.

    Args:
        due_in: From now until the refresh of the first is due; negative: it is due already.
        every: From one due time to the next.
        reserve: From each one's due time to its expiry; None: all expire a lifetime from now.
        spent: Digests of spent refresh tokens that each carries; in a fleet that rotates: 32.

    Returns:
        The connections' ids, in the order of their providers' turns.
    """
    sealer = Sealer(KeyRing.parse(SecretStr(keys)))
    now = datetime.now(UTC)
    ids = [uuid4() for _ in range(count)]
    with psycopg.connect(url) as connection:
        with connection.cursor().copy(_COPY_CONNECTIONS) as copy:
            copy.set_types(("uuid", "text", "text", "text", "text[]", "jsonb"))
            for number, connection_id in enumerate(ids):
                provider = provider_ids[number % len(provider_ids)]
                copy.write_row((connection_id, f"user-{connection_id}", provider, "", [], "{}"))
        with connection.cursor().copy(_COPY_TOKENS) as copy:
            copy.set_types(_TOKEN_TYPES)
            for row in _rows(ids, provider_ids, sealer, now, lifetime, now + due_in, every, reserve, spent):
                copy.write_row(row)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM (ANALYZE) tokens, connections")
    return ids


def _rows(
    ids: list[UUID],
    provider_ids: list[str],
    sealer: Sealer,
    now: datetime,
    lifetime: timedelta,
    first_due_at: datetime,
    every: timedelta,
    reserve: timedelta | None,
    spent: int,
) -> Iterator[tuple[object, ...]]:
    for number, connection_id in enumerate(ids):
        refresh = SecretStr(f"{REFRESH}{number:012d}")
        due_at = first_due_at + every * number
        expires_at = now + lifetime if reserve is None else due_at + reserve
        yield (
            connection_id,
            provider_ids[number % len(provider_ids)],
            uuid4(),
            sealer.key_id,
            sealer.seal(SecretStr(f"{ACCESS}{number:012d}"), token_ref("access_token", connection_id)),
            sealer.seal(refresh, token_ref("refresh_token", connection_id)),
            sealer.digest(refresh, connection_id),
            [sealer.digest(SecretStr(f"{number}-{place}"), connection_id) for place in range(spent)],
            expires_at - 2 * lifetime if reserve is None else expires_at - lifetime,
            expires_at,
            due_at,
        )


def make_due(url: str, ago: timedelta = timedelta(seconds=60), *, provider: str | None = None) -> None:
    """Make every token due since then, unmarked and in no doubt, and leave no dead rows behind.

    No call may be under way. `provider` None: of all providers.
    """
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "UPDATE tokens SET refresh_due_at = now() - %s, refresh_enqueued_until = NULL, not_before = NULL,"
            " status = 'active', failures = 0, presented_at = NULL, first_presented_at = NULL,"
            " lease_until = NULL, lease_owner = NULL, attempt_id = NULL"
            " WHERE %s::text IS NULL OR provider_id = %s",
            (ago, provider, provider),
        )
        connection.execute("VACUUM (ANALYZE) tokens, activity")
        connection.execute("CHECKPOINT") if _may_checkpoint(connection) else None


def _may_checkpoint(connection: psycopg.Connection[tuple[object, ...]]) -> bool:
    row = connection.execute("SELECT pg_has_role(current_user, 'pg_checkpoint', 'member')").fetchone()
    return bool(row and row[0])
