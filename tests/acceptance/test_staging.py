"""Postgres and the worker are killed between the provider's answers and the commit, and nothing is lost."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from simulator.process import SimulatorProcess
from storage.migrate import upgrade
from tests.acceptance.deployment import Deployment
from tests.support.servers import PATIENCE, empty_redis_database
from tests.support.waiting import eventually
from workers.embedded.layout import DataFolder
from workers.embedded.postgres import EmbeddedPostgres
from workers.embedded.redis import EmbeddedRedis
from workers.supervision.child import Child
from workers.supervision.claim import ClaimedFolder, claim_folder

pytestmark = [pytest.mark.acceptance, pytest.mark.servers]
GRANTS = 8


class OwnPostgres:
    """A Postgres that may be killed: nobody else is on it, and it waits for the disk."""

    def __init__(self, folder: DataFolder, claimed: ClaimedFolder) -> None:
        self._claimed = claimed
        self.server = EmbeddedPostgres(folder)
        self.child = self._start()

    def _start(self) -> Child:
        self.server.prepare()
        child = Child.start(self.server.spec(), self._claimed)
        self.server.wait_ready(PATIENCE)
        return child

    def kill(self) -> None:
        self.child.kill()
        eventually(lambda: self.child.exit_code() is not None, what="Postgres is dead")

    def restart(self) -> None:
        self.child = self._start()


@pytest.fixture
def postgres(data_folder: DataFolder) -> Iterator[OwnPostgres]:
    with claim_folder(data_folder.path) as claimed:
        own = OwnPostgres(data_folder, claimed)
        try:
            yield own
        finally:
            own.child.stop()


@pytest.fixture
def deployment(
    postgres: OwnPostgres, redis_server: EmbeddedRedis, simulator: SimulatorProcess, tmp_path: Path
) -> Iterator[Deployment]:
    upgrade(postgres.server.url)
    folder = tmp_path / "deployment"
    folder.mkdir(mode=0o700)
    with Deployment(
        folder=folder,
        database_url=postgres.server.url,
        redis_url=empty_redis_database(redis_server),
        simulator=simulator.client,
        lifetime=(3000, 3600),
        owner=folder.parent.name,
    ) as deployment:
        yield deployment
    simulator.client.clear_faults()


def test_answers_survive_the_kill_of_postgres_and_of_their_worker(
    deployment: Deployment, postgres: OwnPostgres
) -> None:
    """Every staged answer lands at the next start, by the presentation that it was the answer to."""
    deployment.simulator.configure("strict", latency=4000)
    deployment.beat()
    doomed = deployment.bulk("doomed", threads=2 * GRANTS)
    deployment.await_alive(doomed, deployment.interactive())
    grants = deployment.connect({"strict": GRANTS}, first_lifetime=(100, 200))

    def shown(name: str) -> list[int]:
        return [deployment.simulator.grant(grant.grant_id)[name] for grant in grants]

    eventually(lambda: sum(shown("under_way")) == GRANTS, what="every presentation is under way")
    postgres.kill()
    eventually(lambda: doomed.said().count('"answer_staged"') == GRANTS, what="every answer is staged")
    assert shown("under_way") == [0] * GRANTS
    doomed.end(signal.SIGKILL)
    deployment.simulator.configure("strict", latency=0)
    spool = deployment.folder / "data" / "spool"
    assert len(list(spool.glob("*.staged"))) == GRANTS
    for file in spool.glob("*.staged"):
        assert b"sim-" not in file.read_bytes()

    postgres.restart()
    deployment.await_alive(deployment.bulk("next"))

    eventually(lambda: not list(spool.glob("*.staged")), seconds=30, what="everything has landed")
    with psycopg.connect(deployment.database_url) as connection:
        rows = connection.execute("SELECT status, version FROM tokens").fetchall()
        assert rows == [("active", 2)] * GRANTS
        told = connection.execute(
            "SELECT count(*) FROM processes WHERE role = 'doomed' AND gone_at IS NOT NULL"
        ).fetchone()
    assert told == (1,)
    assert shown("presentations") == [1] * GRANTS
    assert shown("alive") == [True] * GRANTS
    assert deployment.simulator.incidents() == []
    assert deployment.rows("alerts") == []
