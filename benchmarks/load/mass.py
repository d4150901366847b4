"""Fills the token store with millions of rows that are not due and never opened, made inside Postgres.

Sealing ten million pairs takes longer than everything that is measured with them. So the rows carry sealed
pairs of the real size, one pair for all of them: nothing that looks for what is due reads them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Final
from uuid import UUID, uuid4

import psycopg
from psycopg import sql
from pydantic import SecretStr

from benchmarks.load.store import ACCESS, REFRESH
from storage.keys import KeyRing
from storage.sealing import Sealer
from storage.tokens.rows import token_ref

_Connection = psycopg.Connection[tuple[object, ...]]
_TABLES: Final = ["connections", "tokens"]
_CONNECTIONS: Final = """
    INSERT INTO connections (id, user_id, provider_id)
    SELECT md5(n::text)::uuid, 'user-' || n, (%(providers)s::text[])[1 + n %% %(of)s]
      FROM generate_series(0, %(count)s - 1) AS n
"""
_TOKENS: Final = """
    INSERT INTO tokens (connection_id, provider_id, version, grant_id, key_id, access_token, refresh_token,
                        refresh_digest, spent_digests, issued_at, expires_at, refresh_due_at, check_due_at,
                        committed_attempt_id, last_refreshed_at)
    SELECT md5(n::text)::uuid, (%(providers)s::text[])[1 + n %% %(of)s], 2, gen_random_uuid(), %(key_id)s,
           %(access)s, %(refresh)s, %(digest)s, %(spent)s::bytea[], now(), now() + interval '4 hours',
           now() + %(due_in)s + random() * interval '1 hour',
           now() + %(due_in)s + random() * interval '1 day', gen_random_uuid(), now()
      FROM generate_series(0, %(count)s - 1) AS n
"""
#: Primary keys and unique constraints before what refers to them.
_CONSTRAINTS: Final = """
    SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid)
      FROM pg_constraint
     WHERE contype IN ('p', 'u', 'f')
       AND (conrelid = ANY (%(tables)s::regclass[]) OR confrelid = ANY (%(tables)s::regclass[]))
     ORDER BY contype = 'f'
"""
_INDEXES: Final = """
    SELECT i.indexrelid::regclass::text, pg_get_indexdef(i.indexrelid)
      FROM pg_index i
     WHERE i.indrelid = ANY (%(tables)s::regclass[])
       AND NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conindid = i.indexrelid)
"""


def row_id(number: int) -> UUID:
    """Return the connection id of the row of this number, counted from 0 in the order of the heap."""
    return UUID(hashlib.md5(str(number).encode(), usedforsecurity=False).hexdigest())


def fill_mass(
    url: str, keys: str, provider_ids: Sequence[str], count: int, *, due_in: timedelta, spent: int = 0
) -> None:
    """Store so many connections and tokens, spread over the providers in turn, with every index built.

    Args:
        due_in: Nothing comes due before that.
        spent: Digests of spent refresh tokens that each row carries; in a fleet that rotates: 32.
    """
    sealer, someone = Sealer(KeyRing.parse(SecretStr(keys))), uuid4()
    refresh = SecretStr(f"{REFRESH}{0:012d}")
    parameters = {
        "providers": list(provider_ids),
        "of": len(provider_ids),
        "count": count,
        "key_id": sealer.key_id,
        "access": sealer.seal(SecretStr(f"{ACCESS}{0:012d}"), token_ref("access_token", someone)),
        "refresh": sealer.seal(refresh, token_ref("refresh_token", someone)),
        "digest": sealer.digest(refresh, someone),
        "spent": [sealer.digest(refresh, someone)] * spent,
        "due_in": due_in,
    }
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET maintenance_work_mem = '512MB'")
        with _bare(connection):
            connection.execute(_CONNECTIONS, parameters)
            connection.execute(_TOKENS, parameters)
        connection.execute("VACUUM (ANALYZE) connections, tokens")


@contextmanager
def _bare(connection: _Connection) -> Iterator[None]:
    """Take the tables' indexes and keys away meanwhile: built afterwards at once, they cost a tenth."""
    names = {"tables": _TABLES}
    constraints = [tuple(map(str, row)) for row in connection.execute(_CONSTRAINTS, names)]
    indexes = [tuple(map(str, row)) for row in connection.execute(_INDEXES, names)]
    for table, name, _ in reversed(constraints):
        connection.execute(
            sql.SQL("ALTER TABLE {} DROP CONSTRAINT {}").format(_own(table), sql.Identifier(name))
        )
    for name, _ in indexes:
        connection.execute(sql.SQL("DROP INDEX {}").format(_own(name)))
    yield
    for table, name, definition in constraints:
        connection.execute(
            sql.SQL("ALTER TABLE {} ADD CONSTRAINT {} {}").format(
                _own(table), sql.Identifier(name), _own(definition)
            )
        )
    for _, definition in indexes:
        connection.execute(_own(definition))


def _own(text: str) -> sql.SQL:
    # Postgres' own words about its own schema, quoted by it.
    return sql.SQL(text)
