"""A world of its own for each test."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.refresh import sweeping
from simulator.process import SimulatorProcess
from tests.services.away import Away
from tests.services.world import World
from workers.embedded.postgres import EmbeddedPostgres


@pytest.fixture
def world(
    simulator: SimulatorProcess, migrated_database_url: str, redis_url: str, tmp_path: Path
) -> Iterator[World]:
    made = World(simulator, migrated_database_url, redis_url, tmp_path)
    yield made
    made.close()
    simulator.client.clear_faults()


@pytest.fixture
def closed_url() -> Iterator[str]:
    """Where nobody listens: the port is taken, and not listened on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture
def away(world: World, postgres_server: EmbeddedPostgres) -> Away:
    return Away(world, postgres_server.url)


@pytest.fixture
def by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sweepers that sweep when they are told to."""
    monkeypatch.setattr(sweeping, "EVERY", 3600.0)
