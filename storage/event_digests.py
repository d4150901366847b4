"""Digests by which a refresh token is found that a provider names by its hash, without opening any row.

They are an index and no proof: whoever finds a row by one opens that row, and compares. So one that is out of
date does no harm, and one that is missing is made anew by the next sweep.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Final
from uuid import UUID

from pydantic import SecretStr
from sqlalchemy import Connection, Delete, Engine, bindparam, delete, func, select, text
from sqlalchemy.dialects.postgresql import insert as upsert

from domain.errors import SealBroken
from domain.events import credential_hash
from storage.elections import agreed_sealer
from storage.engine import autocommit, single, transaction
from storage.schema import event_digests, tokens
from storage.sealing import Sealer
from storage.tokens.rows import token_ref

#: Rows opened and written together.
PAGE: Final = 500
#: Before every id that occurs (RFC 9562 §5.9).
BEFORE_ALL: Final = UUID(int=0)

_MADE_OF: Final = select(
    tokens.c.connection_id, tokens.c.grant_id, tokens.c.refresh_token, tokens.c.refresh_digest
).where(tokens.c.connection_id == func.any(bindparam("ids")))
_INSERT: Final = upsert(event_digests)
_WRITE: Final = _INSERT.on_conflict_do_update(
    index_elements=[event_digests.c.connection_id],
    set_={name: _INSERT.excluded[name] for name in ("grant_id", "key_id", "digest", "refresh_digest")},
)
# A part of the table in the order of its key, so that a sweep costs the same however many rows there are.
_PART: Final = text("""
    WITH part AS (
        SELECT connection_id, provider_id, refresh_digest FROM tokens
         WHERE connection_id > CAST(:after AS uuid) ORDER BY connection_id LIMIT :limit),
    judged AS (
        SELECT p.connection_id,
               coalesce(p.provider_id = ANY(CAST(:providers AS text[])) AND p.refresh_digest IS NOT NULL
                        AND p.refresh_digest IS DISTINCT FROM d.refresh_digest, false) AS lacking,
               d.connection_id IS NOT NULL
                   AND NOT (p.refresh_digest IS NOT NULL AND p.provider_id = ANY(CAST(:providers AS text[])))
                   AS needless
          FROM part p LEFT JOIN event_digests d USING (connection_id))
    SELECT connection_id, lacking, needless, CAST(NULL AS bigint) AS rows
      FROM judged WHERE lacking OR needless
    UNION ALL
    (SELECT connection_id, false, false, (SELECT count(*) FROM part) FROM part
      ORDER BY connection_id DESC LIMIT 1)
""")


@dataclass(frozen=True, slots=True)
class Part:
    """What a part of the table lacks.

    Attributes:
        last: The last connection of the part; None: the end of the table was reached before it.
        lacking: Connections whose digest is missing or out of date.
        needless: Connections that have one and need none any more.
    """

    last: UUID | None
    lacking: tuple[UUID, ...]
    needless: tuple[UUID, ...]


class EventDigestStore:
    """Writes digests and finds those that lack. Raises `ServiceUnavailable`; everything may be repeated."""

    def __init__(self, engine: Engine, sealer: Sealer) -> None:
        self._engine = engine
        self._auto = autocommit(engine)
        self._sealer = sealer

    def write(self, connection_ids: Sequence[UUID]) -> int:
        """Make the digests of these connections' refresh tokens as they are now; returns how many there are.

        A connection without a refresh token has none, nor has one whose token cannot be opened.
        """
        done = 0
        for first in range(0, len(connection_ids), PAGE):
            with transaction(self._engine) as connection:
                sealer = agreed_sealer(connection, self._sealer)
                done += write_digests(connection, sealer, connection_ids[first : first + PAGE])
        return done

    def look(self, providers: Sequence[str], *, after: UUID, limit: int) -> Part:
        """Return what the next `limit` connections after this one lack.

        Args:
            providers: Those that name refresh tokens by their hash.
        """
        parameters = {"providers": list(providers), "after": after, "limit": limit}
        with single(self._auto) as connection:
            rows = connection.execute(_PART, parameters).all()
        return Part(
            next((row.connection_id for row in rows if row.rows == limit), None),
            tuple(row.connection_id for row in rows if row.lacking),
            tuple(row.connection_id for row in rows if row.needless),
        )

    def forget(self, connection_ids: Sequence[UUID]) -> None:
        """Take away the digests of these connections."""
        with single(self._auto) as connection:
            connection.execute(_forgetting(connection_ids))


def write_digests(connection: Connection, sealer: Sealer, ids: Sequence[UUID]) -> int:
    """Make the digests of these connections within the caller's transaction, under the sealer's key.

    One without a refresh token that can be opened loses its digest. Returns how many there are now.
    """
    rows: list[dict[str, Any]] = []
    for row in connection.execute(_MADE_OF, {"ids": list(ids)}):
        if row.refresh_token is None:
            continue
        try:
            refresh: SecretStr = sealer.open(row.refresh_token, token_ref("refresh_token", row.connection_id))
        except SealBroken:
            continue  # Whoever needs the token says so; without it there is nothing to find it by.
        rows.append(
            {
                "connection_id": row.connection_id,
                "grant_id": row.grant_id,
                "key_id": sealer.key_id,
                "digest": sealer.event_digest(credential_hash(refresh.get_secret_value())),
                "refresh_digest": row.refresh_digest,
            }
        )
    made = {row["connection_id"] for row in rows}
    if rows:
        connection.execute(_WRITE, sorted(rows, key=itemgetter("connection_id")))
    if gone := [connection_id for connection_id in ids if connection_id not in made]:
        connection.execute(_forgetting(gone))
    return len(rows)


def _forgetting(connection_ids: Sequence[UUID]) -> Delete:
    return delete(event_digests).where(event_digests.c.connection_id.in_(connection_ids))
