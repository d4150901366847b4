"""Drains by fleets of workers that stand before the first message is set free."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import psutil
import psycopg
import redis

from benchmarks.load import store
from benchmarks.load.deployment import Deployment, stop
from benchmarks.load.ledger import Ledger
from benchmarks.load.waits import Waits
from benchmarks.load.waves import Piece, Waves
from benchmarks.throughput.drain import watch
from tasks.names import REFRESH
from workers.embedded.layout import DataFolder

PROVIDER: Final = "bench"
#: So long is a drain measured at most; one that must reach every token has longer.
_MOST_SECONDS: Final = 12.0
_WHOLE_SECONDS: Final = 90.0
_LINES: Final = """
    INSERT INTO activity (at, connection_id, provider_id, kind, attempt_id, version, detail)
    SELECT now() - (%(count)s - n) * interval '3 milliseconds', stored.ids[1 + n %% cardinality(stored.ids)],
           %(provider)s, 'refreshed', gen_random_uuid(), 1, '{"late_seconds": 0.123}'
      FROM (SELECT array_agg(id ORDER BY id) AS ids FROM connections) AS stored,
           generate_series(1, %(count)s) AS n
"""


@dataclass(frozen=True, slots=True)
class Fleet:
    """Workers that drain together; `environment` None: the deployment's own."""

    workers: int
    threads: int
    environment: Mapping[str, str] | None = None


class Drains:
    """One filled deployment, drained again and again."""

    def __init__(self, deployment: Deployment, *, messages: int, stored: int, lines: int) -> None:
        self.deployment = deployment
        self._messages = messages
        self._url = deployment.servers.postgres.url
        self._compression = "off"
        self._restart()
        token_url, self._endpoint = deployment.endpoint()
        deployment.define({PROVIDER: token_url}, lifetime=3600, more="max_concurrency = 200")
        deployment.migrate()
        self._ids = store.fill(
            self._url, deployment.keys, [PROVIDER], stored,
            lifetime=timedelta(hours=1), due_in=timedelta(hours=1),
        )  # fmt: skip
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute(_LINES, {"count": lines, "provider": PROVIDER})
            connection.execute("VACUUM (ANALYZE) activity")
        self._redis = redis.Redis.from_url(deployment.servers.redis.url)
        self.ledger = Ledger(self._url, self._redis)

    def drawn(self) -> list[UUID]:
        """Draw the tokens of one drain."""
        return random.sample(self._ids, min(self._messages, len(self._ids)))

    def compress(self, how: str) -> None:
        """Have whole pages compressed in the WAL, from the next cold drain on."""
        self._compression = how

    def _restart(self) -> None:
        """Restart Postgres, which ends in a checkpoint: each page is written whole at its next change."""
        server = self.deployment.servers.postgres
        server.stop()
        local = DataFolder(self.deployment.folder / "servers").postgres / "local.conf"
        local.write_text(
            f"track_wal_io_timing = on\nwal_compression = {self._compression}\n", encoding="utf-8"
        )
        local.chmod(0o644)
        server.start()

    def drain(self, fleet: Fleet, *, ids: Sequence[UUID] | None = None, cold: bool = False) -> dict[str, Any]:
        """Publish, start the workers, set the messages free, and measure until most of them are gone.

        Args:
            ids: Of the tokens; None: they are drawn. Those that are named are refreshed nearly all.
            cold: Right after a checkpoint, so that each page that is changed is written whole.
        """
        chosen = self.drawn() if ids is None else ids
        waves = Waves(self.deployment)
        waves.publish([Piece(connection_id, PROVIDER) for connection_id in chosen])
        waves.close()
        if cold:
            self._restart()
        # Workers take seconds to start: the first would have emptied the queue before the last one stands.
        aside = f"{REFRESH}.aside"
        self._redis.rename(REFRESH, aside)
        before = self.ledger.look()
        workers = [
            self.deployment.worker(
                f"bulk-{number}", "refresh,health", fleet.threads, environment=fleet.environment
            )
            for number in range(fleet.workers)
        ]
        groups = {
            "workers": [psutil.Process(worker.pid) for worker in workers],
            "postgres": self.deployment.server_processes("postgres"),
            "redis": self.deployment.server_processes("redis"),
            "endpoint": [psutil.Process(self._endpoint.pid)],
        }
        at_most = _MOST_SECONDS if ids is None else _WHOLE_SECONDS
        try:
            with Waits(self._url) as waits:
                self._redis.rename(aside, REFRESH)
                drained = watch(
                    self._redis, REFRESH, len(chosen), groups, at_most=at_most, done=self.deployment.refreshed
                )
        finally:
            for worker in workers:
                stop(worker)
        costs = self.ledger.each(before, self.ledger.look())
        self._redis.flushdb()
        return {**drained.as_json(), **costs, "waits": waits.as_json()}
