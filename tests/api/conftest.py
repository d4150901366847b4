"""One HTTP face for all of these tests; each test has users of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from simulator.process import SimulatorProcess
from tests.acceptance.deployment import Deployment
from tests.api.browser import Browser
from tests.api.definitions import DIALECTS, definitions
from tests.api.world import World, start
from tests.support.servers import create_database, drop_database, empty_redis_database
from workers.embedded.postgres import EmbeddedPostgres
from workers.embedded.redis import EmbeddedRedis


def deployed(folder: Path, database_url: str, redis_url: str, simulator: SimulatorProcess) -> Deployment:
    """Prepare a deployment whose providers people can connect; nothing of it runs."""
    folder.chmod(0o700)
    deployment = Deployment(
        folder=folder,
        database_url=database_url,
        redis_url=redis_url,
        simulator=simulator.client,
        lifetime=(3600, 3600),
    )
    Path(deployment.environment["EVERGRANT_PROVIDERS_FILE"]).write_text(
        definitions(simulator.base_url), encoding="utf-8"
    )
    for provider_id, dialect in DIALECTS.items():
        prefix = "EVERGRANT_" + provider_id.upper().replace("-", "_")
        deployment.environment[f"{prefix}_CLIENT_ID"] = f"sim-{dialect}-client"
        if provider_id != "wix":
            deployment.environment[f"{prefix}_CLIENT_SECRET"] = f"sim-{dialect}-secret"
    return deployment


@pytest.fixture(scope="session")
def served(
    postgres_server: EmbeddedPostgres,
    migrated_template: str,
    redis_server: EmbeddedRedis,
    simulator_process: SimulatorProcess,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[World]:
    name = f"test_api_{uuid4().hex[:8]}"
    url = create_database(postgres_server.url, name, template=migrated_template)
    folder = tmp_path_factory.mktemp("api")
    try:
        with deployed(folder, url, empty_redis_database(redis_server), simulator_process) as deployment:
            world = start(deployment)
            yield world
            world.api.close()
    finally:
        drop_database(postgres_server.url, name)


@pytest.fixture
def world(served: World, simulator: SimulatorProcess) -> World:
    """The running face, and a simulator without faults."""
    del simulator
    return served


@pytest.fixture
def user() -> str:
    """A user whom no other test has."""
    return f"user-{uuid4().hex[:12]}"


@pytest.fixture
def browser() -> Iterator[Browser]:
    with Browser() as browser:
        yield browser
