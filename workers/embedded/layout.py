"""Where everything is in a data folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from workers.embedded.secret_files import create_once, read_secret
from workers.supervision.folders import own_folder, private_folder


@dataclass(frozen=True)
class DataFolder:
    """The places of a data folder (`EVERGRANT_DATA_DIR`); making the value touches nothing.

    ====================  ==================================================================
    ``postgres/``         the embedded Postgres's data
    ``redis/``            the embedded Redis's append-only file and configuration
    ``logs/``             one log per process, and the previous one
    ``run/``              the lock, notes about running children, remembered ports
    ``secrets/``          key ring, passwords; mode 0700, files 0600
    ====================  ==================================================================
    """

    path: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", self.path.absolute())

    @property
    def postgres(self) -> Path:
        """The embedded Postgres's data."""
        return self.path / "postgres"

    @property
    def redis(self) -> Path:
        """The embedded Redis's data."""
        return self.path / "redis"

    @property
    def logs(self) -> Path:
        """Logs of the processes."""
        return self.path / "logs"

    @property
    def run(self) -> Path:
        """The lock, notes about running children, remembered ports."""
        return self.path / "run"

    @property
    def secrets(self) -> Path:
        """Files that hold one secret each."""
        return self.path / "secrets"

    def make(self) -> None:
        """Make the folders, each open to its owner alone; harmless when they exist.

        Raises:
            ConfigurationError: The data folder cannot be used safely; the message says how to mend it.
        """
        own_folder(self.path)
        for folder in (self.logs, self.run, self.secrets):
            private_folder(folder)

    def secret_path(self, name: str) -> Path:
        """Say where the secret of that name is kept."""
        return self.secrets / name

    def secret_file(self, name: str, make: Callable[[], str]) -> str:
        """Read the secret of that name, made once by `make` if there is none yet.

        Raises:
            ConfigurationError: The file exists and is not readable by its owner alone, or is empty.
        """
        own_folder(self.path)
        private_folder(self.secrets)
        return create_once(self.secret_path(name), make)

    def secret(self, name: str) -> str | None:
        """Read the secret of that name; None when it has not been made.

        Raises:
            ConfigurationError: The file exists and is not readable by its owner alone, or is empty.
        """
        return read_secret(self.secret_path(name))
