"""Whose connections a demo's database may hold."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from pydantic import SecretStr

from domain.errors import ConfigurationError
from services.settings import Settings
from services.wiring import Servers
from storage.keys import generate
from workers import logs
from workers.cli import migrate, session

pytestmark = pytest.mark.servers


def migrated(monkeypatch: pytest.MonkeyPatch, folder: Path, url: str, *, embedded: bool) -> None:
    """Do what `evergrant up --demo` lets be done to a database with somebody's connection in it."""
    with psycopg.connect(url) as connection:
        connection.execute(
            "INSERT INTO connections (id, user_id, provider_id) VALUES (gen_random_uuid(), 'alice', 'gsc')"
        )
    database = SecretStr(url)
    settings = Settings(data_dir=folder, database_url=None if embedded else database)
    servers = Servers(database, SecretStr("redis://127.0.0.1:1/0"), SecretStr(generate()))
    monkeypatch.setattr(session, "load", lambda: (settings, servers))
    monkeypatch.setattr(logs, "configure", lambda _: None)
    migrate.migrate(for_demo=True)


def test_a_demo_starts_again_after_somebody_has_connected(
    migrated_database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The embedded database is the demo's own: whoever else is in it has consented at the simulator."""
    migrated(monkeypatch, tmp_path, migrated_database_url, embedded=True)


def test_a_demo_keeps_away_from_a_database_with_others_in_it(
    migrated_database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tokens that real providers gave out are never presented to the simulator."""
    with pytest.raises(ConfigurationError, match="not the demo's"):
        migrated(monkeypatch, tmp_path, migrated_database_url, embedded=False)
