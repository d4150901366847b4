"""A command line on a migrated database and an empty Redis database."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from simulator.process import SimulatorProcess
from storage.keys import generate
from tests.acceptance.deployment import bare_environment
from tests.acceptance.provider_file import client_variables, definitions
from tests.cli.preloaded import Preloaded


@dataclass(frozen=True)
class Shell:
    """An environment in which `evergrant` is run."""

    environment: dict[str, str]
    folder: Path
    preloaded: Preloaded

    def __call__(self, *words: str, stdin: str | bytes = b"") -> subprocess.CompletedProcess[str]:
        """Run `evergrant` with these words."""
        given = stdin.encode() if isinstance(stdin, str) else stdin
        return self.preloaded.run(words, self.environment, self.folder, given, seconds=120)

    def json(self, *words: str, status: int = 0) -> list[dict[str, Any]]:
        """Run it with --json: there must be one JSON array of objects alone on standard output."""
        done = self(*words, "--json")
        assert done.returncode == status, done.stderr
        rows: list[dict[str, Any]] = json.loads(done.stdout)
        assert isinstance(rows, list)
        assert all(isinstance(row, dict) for row in rows)
        return rows

    def having(self, **changed: str | None) -> Shell:
        """Give the same shell with some variables set, or unset where None."""
        environment = {**self.environment, **{name: value for name, value in changed.items() if value}}
        for name, value in changed.items():
            if value is None:
                environment.pop(name, None)
            elif not value:
                environment[name] = ""
        return replace(self, environment=environment)


@pytest.fixture(scope="session")
def preloaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Preloaded]:
    """The command line, imported once."""
    process = Preloaded(tmp_path_factory.mktemp("preloaded"))
    yield process
    process.stop()


@pytest.fixture
def nowhere(tmp_path: Path, preloaded: Preloaded) -> Shell:
    """A shell in which nothing is set but a data folder that does not exist yet."""
    tmp_path.chmod(0o700)
    return Shell(bare_environment(EVERGRANT_DATA_DIR=str(tmp_path / "data")), tmp_path, preloaded)


@pytest.fixture
def deployed(
    nowhere: Shell, migrated_database_url: str, redis_url: str, simulator: SimulatorProcess
) -> Shell:
    """A shell of a healthy deployment whose providers are at the simulator; no process of it runs."""
    file = nowhere.folder / "providers.toml"
    file.write_text(definitions(simulator.base_url, lifetime=3600, check_every=3600), encoding="utf-8")
    return nowhere.having(
        EVERGRANT_DATABASE_URL=migrated_database_url,
        EVERGRANT_REDIS_URL=redis_url,
        EVERGRANT_KEYS=generate(),
        EVERGRANT_PROVIDERS_FILE=str(file),
        **client_variables(),
    )
