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
_ACCESS: Final = "a" * 220
_REFRESH: Final = "r" * 100
_COPY_CONNECTIONS: Final = (
    "COPY connections (id, user_id, provider_id, account_id, scope, metadata) FROM STDIN (FORMAT BINARY)"
)
_COPY_TOKENS: Final = (
    "COPY tokens (connection_id, provider_id, grant_id, key_id, access_token, refresh_token, refresh_digest,"
    " issued_at, expires_at, refresh_due_at) FROM STDIN (FORMAT BINARY)"
)
_TOKEN_TYPES: Final = (
    "uuid", "text", "uuid", "text", "bytea", "bytea", "bytea", "timestamptz", "timestamptz", "timestamptz",
)  # fmt: skip


def fill(
    url: str, keys: str, provider_ids: list[str], count: int, *, lifetime: timedelta, due_in: timedelta
) -> list[UUID]:
    """Store so many connections, each with a token that opens, spread over the providers in turn.

    Args:
        due_in: From now until the refresh of each is due; negative: it is due already.

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
                copy.write_row((connection_id, f"user-{number}", provider, "", [], "{}"))
        with connection.cursor().copy(_COPY_TOKENS) as copy:
            copy.set_types(_TOKEN_TYPES)
            for row in _rows(ids, provider_ids, sealer, now, lifetime, now + due_in):
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
    due_at: datetime,
) -> Iterator[tuple[object, ...]]:
    for number, connection_id in enumerate(ids):
        refresh = SecretStr(f"{_REFRESH}{number:012d}")
        yield (
            connection_id,
            provider_ids[number % len(provider_ids)],
            uuid4(),
            sealer.key_id,
            sealer.seal(SecretStr(f"{_ACCESS}{number:012d}"), token_ref("access_token", connection_id)),
            sealer.seal(refresh, token_ref("refresh_token", connection_id)),
            sealer.digest(refresh, connection_id),
            now - lifetime,
            now + lifetime,
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
