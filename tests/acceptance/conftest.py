"""Deployments on servers of their own: one for a test, or one for a module's tests."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from simulator.process import SimulatorProcess
from tests.acceptance.deployment import Deployment
from tests.support.servers import create_database, drop_database, empty_redis_database
from tests.support.waiting import eventually
from workers.embedded.postgres import EmbeddedPostgres
from workers.embedded.redis import EmbeddedRedis

Deploy = Callable[..., AbstractContextManager[Deployment]]


@pytest.fixture(scope="session")
def deploy(
    postgres_server: EmbeddedPostgres,
    migrated_template: str,
    redis_server: EmbeddedRedis,
    simulator_process: SimulatorProcess,
    tmp_path_factory: pytest.TempPathFactory,
) -> Deploy:
    """Make deployments: a new database, an empty Redis database, a simulator with its counts at zero."""

    @contextmanager
    def make(*, lifetime: tuple[float, float], check_every: int = 3600) -> Iterator[Deployment]:
        client = simulator_process.client
        # What another test's workers left under way there would be counted here.
        eventually(lambda: client.report()["total"]["under_way"] == 0, what="the simulator is at rest")
        client.clear_faults()
        client.restore_settings()
        client.reset_counters()
        name = f"test_{secrets.token_hex(6)}"
        folder = tmp_path_factory.mktemp("deployment")
        folder.chmod(0o700)
        url = create_database(postgres_server.url, name, template=migrated_template)
        try:
            with Deployment(
                folder=folder,
                database_url=url,
                redis_url=empty_redis_database(redis_server),
                simulator=client,
                lifetime=lifetime,
                check_every=check_every,
                owner=name,
            ) as deployment:
                yield deployment
        finally:
            drop_database(postgres_server.url, name)

    return make
