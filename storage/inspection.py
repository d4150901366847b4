"""What an operator may want to know of a database, beyond single connections."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Engine, func, not_, or_, select, text

from domain.errors import KeyMissing, SealBroken
from storage.engine import autocommit, reachable, single
from storage.schema import connections, tokens
from storage.sealing import Sealer
from storage.tokens.rows import token_ref


def server_version(engine: Engine) -> int:
    """Return Postgres' major version.

    Raises:
        ServiceUnavailable: Postgres does not answer.
    """
    with reachable(), engine.connect() as connection:
        version = connection.dialect.server_version_info
    if version is None:
        raise AssertionError("unreachable: a connected dialect knows its server's version")
    return int(version[0])


def key_ids_in_use(engine: Engine) -> dict[str, int]:
    """Return how many tokens are sealed with each key. Reads the whole table.

    Raises:
        ServiceUnavailable: Postgres does not answer, or not in time.
    """
    return _counts(engine, tokens.c.key_id)


def connections_by_provider(engine: Engine) -> dict[str, int]:
    """Return how many connections each provider has. Reads the whole table.

    Raises:
        ServiceUnavailable: Postgres does not answer, or not in time.
    """
    return _counts(engine, tokens.c.provider_id)


def database_time(engine: Engine) -> datetime:
    """Return Postgres' clock, the only wall clock.

    Raises:
        ServiceUnavailable: Postgres does not answer.
    """
    with single(autocommit(engine)) as connection:
        now: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
    return now


#: A loose index scan: one look per provider into the partial indexes that the scheduler uses, however many
#: rows there are. `{column}` is one of two names of ours.
_NEXT_PROVIDER = """
    WITH RECURSIVE used AS (
        (SELECT provider_id FROM tokens WHERE {column} IS NOT NULL ORDER BY provider_id LIMIT 1)
        UNION ALL
        SELECT (SELECT provider_id FROM tokens WHERE {column} IS NOT NULL AND provider_id > used.provider_id
                ORDER BY provider_id LIMIT 1)
          FROM used WHERE used.provider_id IS NOT NULL
    )
    SELECT provider_id FROM used WHERE provider_id IS NOT NULL
"""


def providers_in_use(engine: Engine) -> frozenset[str]:
    """Return the providers that have connections with anything scheduled.

    Raises:
        ServiceUnavailable: Postgres does not answer.
    """
    found: set[str] = set()
    with single(autocommit(engine)) as connection:
        for column in ("refresh_due_at", "check_due_at"):
            found.update(connection.execute(text(_NEXT_PROVIDER.format(column=column))).scalars())
    return frozenset(found)


def tenant_in_use(engine: Engine, provider_id: str, tenant: str) -> bool:
    """Say whether a tenant of a provider has connections with anything scheduled.

    Reads the provider's rows until it finds one; there is no index for it, and few ask.

    Raises:
        ServiceUnavailable: Postgres does not answer, or not in time.
    """
    found = select(tokens.c.connection_id).where(
        tokens.c.provider_id == provider_id,
        tokens.c.tenant == tenant,
        or_(tokens.c.refresh_due_at.is_not(None), tokens.c.check_due_at.is_not(None)),
    )
    with single(autocommit(engine)) as connection:
        return connection.execute(found.limit(1)).first() is not None


def openable(engine: Engine, sealer: Sealer, key_id: str) -> bool:
    """Try one token that is sealed with the key: another key of the same id would not open it.

    Raises:
        ServiceUnavailable: Postgres does not answer.
    """
    statement = (
        select(tokens.c.connection_id, tokens.c.access_token)
        .where(tokens.c.key_id == key_id, tokens.c.access_token.is_not(None))
        .limit(1)
    )
    with single(autocommit(engine)) as connection:
        row = connection.execute(statement).one_or_none()
    if row is None:
        return True
    try:
        sealer.open(row.access_token, token_ref("access_token", row.connection_id))
    except KeyMissing:
        return True  # With a kept refresh token the column names that one's key.
    except SealBroken:
        return False
    return True


def has_users_outside(engine: Engine, prefix: str) -> bool:
    """Say whether any connection belongs to a user whose id does not begin with `prefix`.

    Raises:
        ServiceUnavailable: Postgres does not answer.
    """
    others = select(connections.c.id).where(not_(connections.c.user_id.startswith(prefix, autoescape=True)))
    with single(autocommit(engine)) as connection:
        return connection.execute(others.limit(1)).first() is not None


def _counts(engine: Engine, column: object) -> dict[str, int]:
    with single(autocommit(engine)) as connection:
        rows = connection.execute(select(column, func.count()).group_by(column))  # type: ignore[call-overload]  # a column, whichever
        return {str(value): int(count) for value, count in rows}
