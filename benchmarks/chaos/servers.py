"""The harness's own Postgres and Redis, with durable settings, and what is done to them."""

from __future__ import annotations

import os
import signal
import threading
import time
from datetime import timedelta
from typing import Final

import psutil
import psycopg
import redis

from benchmarks.chaos.record import Record
from workers.embedded.layout import DataFolder
from workers.embedded.postgres import EmbeddedPostgres
from workers.embedded.redis import EmbeddedRedis
from workers.supervision.child import Child
from workers.supervision.claim import ClaimedFolder
from workers.supervision.errors import NeverReady

PATIENCE: Final = timedelta(seconds=60)
#: A fault waits for the end of another one of the same server for so long.
TURN_SECONDS: Final = 20.0


class Server:
    """One embedded server that may be killed and frozen; one of these at a time."""

    def __init__(
        self, embedded: EmbeddedPostgres | EmbeddedRedis, claimed: ClaimedFolder, record: Record, *, name: str
    ) -> None:
        self.name = name
        self._embedded = embedded
        self._claimed = claimed
        self._record = record
        self._child: Child | None = None
        self._busy = threading.Lock()

    @property
    def url(self) -> str:
        """Where clients connect, with the password."""
        return self._embedded.url

    def start(self) -> None:
        """Start it and wait until it serves."""
        self._embedded.prepare()
        self._child = Child.start(self._embedded.spec(), self._claimed)
        self._embedded.wait_ready(PATIENCE)

    def stop(self) -> None:
        """Stop it in good order."""
        if self._child is not None:
            self._child.stop()

    def processes(self) -> list[psutil.Process]:
        """Return it and everything it started, while it runs."""
        if self._child is None:
            return []
        leader = psutil.Process(self._child.pid)
        return [leader, *leader.children(recursive=True)]

    def kill(self, away: float, why: str) -> str | None:
        """Kill it with everything it started, and start it again later; says why not if it cannot.

        Args:
            away: Seconds between the kill and the next start.
        """
        if not self._busy.acquire(timeout=TURN_SECONDS):
            return f"{self.name} was in trouble all the time"
        try:
            self._kill_and_restart(away, why)
        finally:
            self._busy.release()
        return None

    def _kill_and_restart(self, away: float, why: str) -> None:
        child = self._child
        if child is None:
            raise AssertionError("unreachable: killed before it was started")
        family = self.processes()
        with self._record.away(self.name, why):
            self._record.kill(self.name, self.name, why)
            for process in family:
                # Each at once: what is asked to end would still finish its commit.
                try:
                    process.kill()
                except psutil.NoSuchProcess:
                    continue
            while child.exit_code() is None:
                time.sleep(0.01)
            time.sleep(away)
            while True:
                try:
                    self.start()
                except NeverReady:
                    # A loaded machine; nothing works without it.
                    continue
                return

    def freeze(self, seconds: float, why: str) -> str | None:
        """Stop it for a while without ending it; says why not if it cannot."""
        if not self._busy.acquire(timeout=TURN_SECONDS):
            return f"{self.name} was in trouble all the time"
        try:
            if self._child is None:
                raise AssertionError("unreachable: frozen before it was started")
            with self._record.away(self.name, why):
                os.kill(self._child.pid, signal.SIGSTOP)
                time.sleep(seconds)
                os.kill(self._child.pid, signal.SIGCONT)
        finally:
            self._busy.release()
        return None


class Servers:
    """Postgres and Redis of one campaign."""

    def __init__(self, claimed: ClaimedFolder, record: Record) -> None:
        folder = DataFolder(claimed.path)
        self.postgres = Server(EmbeddedPostgres(folder), claimed, record, name="postgres")
        self.redis = Server(EmbeddedRedis(folder), claimed, record, name="redis")

    def start(self) -> None:
        """Start both."""
        self.postgres.start()
        self.redis.start()

    def stop(self) -> None:
        """Stop both."""
        self.redis.stop()
        self.postgres.stop()

    def query(self, statement: str, *values: object) -> list[tuple[object, ...]]:
        """Ask Postgres; raises `psycopg.Error` while it is away."""
        with psycopg.connect(self.postgres.url, autocommit=True, connect_timeout=5) as connection:
            return list(connection.execute(statement.encode(), values))

    def versions(self) -> dict[str, str]:
        """Return which Postgres and which Redis they are."""
        with redis.Redis.from_url(self.redis.url, socket_timeout=5) as client:
            information = client.info("server")
        return {
            "postgres": str(self.query("SHOW server_version")[0][0]),
            "redis": str(information["redis_version"]),
        }

    def cut_sessions(self) -> int:
        """End the sessions of all workers, each wherever it is; return how many there were."""
        cut = self.query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name LIKE 'evergrant-%%' AND pid <> pg_backend_pid()"
        )
        return len(cut)

    def command_redis(self, *words: str) -> object:
        """Give Redis a command; raises `redis.RedisError` while it is away."""
        with redis.Redis.from_url(self.redis.url, socket_timeout=2, socket_connect_timeout=2) as client:
            return client.execute_command(*words)
