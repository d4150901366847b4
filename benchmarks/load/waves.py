"""Work for workers, a piece at a time: tokens that are made due, and published as the scheduler would."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

import psycopg
from pydantic import SecretStr

from benchmarks.load.deployment import Deployment
from services.scheduling import Work
from services.settings import Settings
from services.wiring import Servers
from storage.tokens.due import DueToken
from tasks.bulk import BulkQueue
from workers.celery_app import make_app

#: What an attempt may have left is taken away, a sentence included: the user has connected anew, as it were.
_MAKE_DUE: Final = """
    UPDATE tokens t
       SET refresh_due_at = now() - interval '60 seconds', refresh_enqueued_until = NULL, not_before = NULL,
           status = 'active', failures = 0, reauth_reason = NULL, refused_at = NULL, tenant = given.tenant
      FROM unnest(%s::uuid[], %s::text[]) AS given (id, tenant)
     WHERE t.connection_id = given.id AND t.lease_until IS NULL
"""


class Piece(NamedTuple):
    """One token that is to be refreshed."""

    connection_id: UUID
    provider_id: str
    tenant: str | None = None


class Waves:
    """Publishes refreshes of one deployment with the product's own code."""

    def __init__(self, deployment: Deployment) -> None:
        servers = deployment.servers
        self._postgres = psycopg.connect(servers.postgres.url, autocommit=True)
        redis_url = SecretStr(servers.redis.url)
        app = make_app(
            Settings(log_level="warning"),
            Servers(SecretStr(servers.postgres.url), redis_url, SecretStr(deployment.keys)),
        )
        self._queue = BulkQueue(app, Work.REFRESH)

    def publish(self, pieces: Sequence[Piece]) -> None:
        """Make the tokens due, each in the tenant that is named, and publish a message for each."""
        ids = [piece.connection_id for piece in pieces]
        self._postgres.execute(_MAKE_DUE, (ids, [piece.tenant for piece in pieces]))
        now, late = datetime.now(UTC), timedelta(seconds=60)
        self._queue.publish(
            [
                DueToken(piece.connection_id, piece.provider_id, now - late, late, piece.tenant)
                for piece in pieces
            ]
        )

    def close(self) -> None:
        """Close the connection to Postgres."""
        self._postgres.close()
