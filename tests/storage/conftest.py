"""A store on a fresh database for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from storage.engine import make_engine
from storage.importing import Importer
from storage.tokens.store import TokenStore
from tests.storage.making import Bench, a_sealer


@pytest.fixture
def bench(migrated_database_url: str) -> Iterator[Bench]:
    engine = make_engine(migrated_database_url, pool_size=10, application_name="test")
    sealer = a_sealer()
    yield Bench(engine, sealer, TokenStore(engine, sealer), Importer(engine, sealer))
    engine.dispose()
