"""One filled database with a scheduler of its own: made due, ticked, measured, put back."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from typing import Final, LiteralString
from uuid import UUID

import psutil
import psycopg
import redis
from celery import Celery
from psycopg import sql
from pydantic import SecretStr

from benchmarks.load.cpu import used
from benchmarks.load.deployment import Deployment
from benchmarks.load.mass import fill_mass, row_id
from services.admission import Admission
from services.breakers import Breakers
from services.rates import SharedRates
from services.scheduling import Scheduler, Work
from services.settings import Settings
from services.slots import Slots
from services.wiring import Servers, Services, wire
from storage.holds import HoldStore
from storage.migrate import upgrade
from tasks.bulk import BulkQueue
from workers.celery_app import make_app

#: Nothing but what a round makes due comes due while the benchmark runs.
_FAR: Final = timedelta(hours=2)
#: The queue may always hold the most that any may, whatever was drained of it before.
_QUEUE_SECONDS: Final = 1e6
_COLUMN: Final = {Work.REFRESH: "refresh", Work.HEALTH: "check"}
_MAKE_DUE: Final = "UPDATE tokens SET {} = now() - %s * random(), {} = NULL WHERE connection_id = ANY(%s)"
_PUT_OFF: Final = (
    "UPDATE tokens SET {} = now() + %s * (1 + random()), {} = NULL WHERE connection_id = ANY(%s)"
)
_BACKENDS: Final = (
    "SELECT pid FROM pg_stat_activity"
    " WHERE datname = current_database() AND application_name = 'evergrant-tick'"
)
_RELATIONS: Final = """
    SELECT c.relname, pg_relation_size(c.oid) FROM pg_class c
     WHERE c.oid IN ('tokens'::regclass, 'connections'::regclass)
        OR c.oid IN (SELECT indexrelid FROM pg_index
                      WHERE indrelid IN ('tokens'::regclass, 'connections'::regclass))
     ORDER BY c.relname
"""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one tick cost.

    Attributes:
        milliseconds: From its start to the last message published.
        own_cpu_ms: Processor time of this process.
        wal_bytes: Written to the log meanwhile.
    """

    milliseconds: float
    own_cpu_ms: float
    wal_bytes: int


class Store:
    """A database of so many tokens. Close it at the end."""

    def __init__(
        self, made: Deployment, *, database: str, redis_database: int, stored: int, providers: Sequence[str]
    ) -> None:
        """Create, migrate and fill the database, and wire what ticks."""
        self.stored = stored
        self._providers = len(providers)
        self._url = f"{made.servers.postgres.url.rpartition('/')[0]}/{database}"
        broker = f"{made.servers.redis.url.rpartition('/')[0]}/{redis_database}"
        with psycopg.connect(made.servers.postgres.url, autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database)))
        upgrade(self._url)
        self._control = psycopg.connect(self._url, autocommit=True)
        began = time.monotonic()
        fill_mass(self._url, made.keys, providers, stored, due_in=_FAR)
        self.fill_seconds = round(time.monotonic() - began, 1)
        #: Bytes of both tables and of each of their indexes, before anything was moved.
        self.sizes = self._sizes()
        data = made.folder / database
        data.mkdir(mode=0o700)
        settings = Settings(providers_file=made.providers_file, data_dir=data, log_level="warning")
        servers = Servers(SecretStr(self._url), SecretStr(broker), SecretStr(made.keys))
        self._services = wire(settings, servers, made.environment, role="tick", threads=1)
        self._app = make_app(settings, servers)
        self._redis = redis.Redis.from_url(broker)
        clock = count()
        self._scheduler = Scheduler(
            self._services.tokens,
            self._services.desk,
            Admission(Breakers(HoldStore(self._services.engine)), SharedRates(SecretStr(broker)), Slots(1)),
            self._services.guard,
            self._services.crowding,
            queue_seconds=_QUEUE_SECONDS,
            clock=lambda: float(next(clock)),
        )
        self._backends: list[psutil.Process] = []

    @property
    def services(self) -> Services:
        """The wired services."""
        return self._services

    @property
    def app(self) -> Celery:
        """The Celery app on the store's broker."""
        return self._app

    def spread(self, many: int, *, providers: int, turn: int) -> list[UUID]:
        """Return rows at equal distances over the heap, of so many providers; each turn gives others."""
        stride = self.stored // many
        return [
            self._row(number * stride + turn * self._providers, number % providers) for number in range(many)
        ]

    def adjacent(self, many: int, *, turn: int) -> list[UUID]:
        """Return rows that lie side by side, as they were imported; each turn gives others."""
        return [row_id((turn * many + number) % self.stored) for number in range(many)]

    def _row(self, near: int, provider: int) -> UUID:
        return row_id((near - near % self._providers + provider) % self.stored)

    def make_due(self, ids: Sequence[UUID], work: Work) -> None:
        """Make them due, since up to a second."""
        self._move(_MAKE_DUE, timedelta(seconds=1), ids, work)

    def put_off(self, ids: Sequence[UUID], work: Work) -> None:
        """Let them not be due for hours, as a landing does: each leaves a dead entry in the index."""
        self._move(_PUT_OFF, _FAR, ids, work)

    def _move(self, statement: LiteralString, far: timedelta, ids: Sequence[UUID], work: Work) -> None:
        name = sql.Identifier
        columns = name(f"{_COLUMN[work]}_due_at"), name(f"{_COLUMN[work]}_enqueued_until")
        self._control.execute(sql.SQL(statement).format(*columns), (far, list(ids)))

    def read(self, many: int, *, turn: int) -> None:
        """Read so many other rows, which drives what was touched before out of Postgres' own buffers."""
        ids = self.spread(many, providers=self._providers, turn=turn)
        self._control.execute("SELECT count(access_token) FROM tokens WHERE connection_id = ANY(%s)", (ids,))

    def warm(self, ids: Sequence[UUID], work: Work) -> None:
        """Tick until the capacity is the greatest, statements are prepared, and connections open."""
        for _ in range(8):
            self.make_due(ids, work)
            self._scheduler.tick(work, BulkQueue(self._app, work))
            self._emptied(work)
            self.put_off(ids, work)
        pids = self._control.execute(_BACKENDS).fetchall()
        self._backends = [psutil.Process(int(str(pid))) for (pid,) in pids]

    def tick(self, work: Work, expected: int) -> Cost:
        """Measure one tick.

        Raises:
            SystemExit: It published another number than was due.
        """
        queue = BulkQueue(self._app, work)
        log, cpu, began = self._log_position(), time.process_time(), time.perf_counter()
        published = self._scheduler.tick(work, queue).published
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        written = self._log_position() - log
        if published != expected or self._emptied(work) != expected:
            raise SystemExit(f"a tick published {published} of {expected} due tokens")
        return Cost(seconds * 1000, cpu * 1000, written)

    def backend_cpu(self) -> float:
        """Return the processor seconds that this store's own sessions have used."""
        return sum(used({"own": self._backends}).seconds.values())

    def _sizes(self) -> dict[str, int]:
        rows = self._control.execute(_RELATIONS).fetchall()
        return {str(name): int(str(size)) for name, size in rows}

    def close(self) -> None:
        """Close what is open."""
        self._control.close()
        self._app.close()
        self._services.close()
        self._redis.close()

    def _emptied(self, work: Work) -> int:
        waiting = int(self._redis.llen(str(work)))
        self._redis.delete(str(work))
        return waiting

    def _log_position(self) -> int:
        row = self._control.execute("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn").fetchone()
        return int(str(row[0])) if row else 0
