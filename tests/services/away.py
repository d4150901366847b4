"""Postgres taken away from the services alone, and answers that are staged meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import redis
from psycopg import sql

from domain.asks import Outcome
from domain.token import Status
from services.refresh.result import RefreshResult
from services.wiring import Services
from tests.services.world import Connected, World
from tests.support.waiting import eventually


@dataclass(frozen=True)
class Away:
    """Takes a world's database away, seen from another database of the same server."""

    world: World
    server_url: str = field(repr=False)

    def take(self) -> None:
        name = self._name()
        with psycopg.connect(self.server_url, autocommit=True) as other:
            other.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(name))
            other.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = %s AND backend_type = 'client backend'",
                (urlsplit(self.world.database_url).path[1:],),
            )

    def give_back(self) -> None:
        with psycopg.connect(self.server_url, autocommit=True) as other:
            other.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(self._name()))

    @contextmanager
    def away(self) -> Iterator[None]:
        self.take()
        try:
            yield
        finally:
            self.give_back()

    def stage(self, *connected: Connected, services: Services | None = None) -> list[RefreshResult]:
        """Refresh while Postgres goes away between the provider's answer and the commit."""
        dialects = {item.grant.dialect for item in connected}
        for dialect in dialects:
            self.world.sim.fault("hang_after", dialect=dialect, seconds=1, count=None, owner=self.world.owner)
        with ThreadPoolExecutor(len(connected)) as pool:
            running = [pool.submit(self.world.refresh, item, services=services) for item in connected]
            self.await_answers(*connected)
            with self.away():
                results = [future.result(60) for future in running]
        self.world.sim.clear_faults()
        assert {(result.outcome, result.code) for result in results} == {(Outcome.DEFERRED, "staged")}
        return results

    def await_answers(self, *connected: Connected) -> None:
        """Wait until the provider has done its part."""
        eventually(
            lambda: all(self.world.grant(item)["under_way"] == 1 for item in connected),
            what="the provider answers",
        )

    def _name(self) -> sql.Identifier:
        return sql.Identifier(urlsplit(self.world.database_url).path[1:])


def spooled(world: World, folder: Path | None = None) -> list[str]:
    """The connections that have an answer in a spool."""
    return sorted(path.name.split(".")[0] for path in ((folder or world.data_dir) / "spool").glob("*.staged"))


def shelved(world: World) -> list[str]:
    """The connections that have an answer in Redis."""
    with redis.Redis.from_url(world.redis_url, decode_responses=True) as client:
        return sorted(str(member) for member in client.smembers("evergrant:staged"))


def process_of(world: World, owner: str) -> dict[str, object]:
    (row,) = world.rows("SELECT * FROM processes WHERE id = %s", owner)
    return row


def landed_once(world: World, connected: Connected) -> None:
    """The staged answer is the row's pair, was presented once, and nothing of it lies anywhere."""
    assert world.row(connected)["version"] == 2
    assert world.row(connected)["status"] == Status.ACTIVE
    assert world.opens(connected)
    assert (world.presented(connected), world.alive(connected)) == (1, True)
    assert world.kinds(connected).count("refreshed") == 1
    assert world.rows("SELECT * FROM spare_tokens") == []
    assert (spooled(world), shelved(world)) == ([], [])
    assert world.alerts() == []
