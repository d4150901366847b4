"""The embedded Postgres 18."""

from __future__ import annotations

import secrets
import shutil
import signal
import subprocess
from datetime import timedelta
from pathlib import Path

from domain.errors import ConfigurationError
from storage.files import replace_private, sync_folder
from workers.embedded.errors import NotPrepared
from workers.embedded.layout import DataFolder
from workers.embedded.postgres_settings import HBA, settings
from workers.embedded.programs import postgres_programs
from workers.embedded.readiness import wait_until
from workers.embedded.remembered_port import choose_port, remembered_port
from workers.embedded.scram import scram_verifier
from workers.embedded.shared_copy import reachable
from workers.embedded.survivors import stop_survivors
from workers.embedded.unprivileged import (
    PLAIN_ENVIRONMENT,
    hand_over,
    run_inside,
    seen_from_inside,
    server_account,
)
from workers.supervision.ports import LOOPBACK
from workers.supervision.spec import ProcessSpec

NAME = "postgres"
ROLE = DATABASE = "evergrant"
_MAJOR = "18"
_PASSWORD = "postgres_password"  # noqa: S105 - the name of the file
_STAGING = "postgres.new-"
_PREPARING = frozenset({"initdb", "sh", "postgres"})


class EmbeddedPostgres:
    """One Postgres under a data folder, reachable on 127.0.0.1 with a password.

    It accepts the role `evergrant` alone, which owns the database `evergrant`, may create databases and is
    no superuser. Nobody can sign in as the superuser over the network.
    """

    def __init__(self, folder: DataFolder) -> None:
        """Describe the server of this data folder; nothing is touched."""
        self._folder = folder
        self._data = folder.postgres
        self._port_file = folder.run / "postgres.port"

    def prepare(self) -> None:
        """Make the server ready to be started: data, role, database, password, settings, port.

        Idempotent, and a run that was killed half-way is started over. Called while holding the claim on the
        data folder (`claim_folder`), with no server of this folder supervised.

        Raises:
            ConfigurationError: No Postgres for this platform, or a data folder that cannot be used.
            PreparationFailed: `initdb` or `postgres --single` failed.
        """
        self._folder.make()
        stop_survivors(self._data, frozenset({"postgres"}), signal.SIGINT)
        for abandoned in self._folder.path.glob(f"{_STAGING}*"):
            # A killed start leaves its initdb at work.
            stop_survivors(abandoned, _PREPARING, signal.SIGKILL)
            shutil.rmtree(abandoned)
        if self._data.exists():
            self._check_version()
            # Holds the number of a dead postmaster. Postgres takes any living process of our account with
            # that number for its own and refuses to start, which after a reboot or in a container is likely.
            # Nothing works in the folder any more, so the note protects nobody.
            (self._data / "postmaster.pid").unlink(missing_ok=True)
            self._folder.secret_file(_PASSWORD, self._replace_lost_password)
        else:
            self._initialise(self._folder.secret_file(_PASSWORD, lambda: secrets.token_urlsafe(32)))
        self._write(self._data / "postgresql.conf", settings(choose_port(self._port_file)))
        self._write(self._data / "pg_hba.conf", HBA)

    def command(self) -> list[str]:
        """Give the server's command line; it holds no secret."""
        account = server_account(self._data)
        program = reachable(postgres_programs(), "postgres", account)
        return [str(program), "-D", str(seen_from_inside(self._data, account))]

    @property
    def environment(self) -> dict[str, str]:
        """The server's whole environment; it holds no secret."""
        return dict(PLAIN_ENVIRONMENT)

    @property
    def port(self) -> int:
        """The server's port on 127.0.0.1.

        Raises:
            NotPrepared: It was never prepared.
        """
        port = remembered_port(self._port_file)
        if port is None:
            raise NotPrepared("Postgres", self._folder.path)
        return port

    @property
    def url(self) -> str:
        """Where clients connect, with the password: a secret.

        Raises:
            NotPrepared: It was never prepared.
        """
        password = self._folder.secret(_PASSWORD)
        if password is None:
            raise NotPrepared("Postgres", self._folder.path)
        return f"postgresql://{ROLE}:{password}@{LOOPBACK}:{self.port}/{DATABASE}"

    def spec(self) -> ProcessSpec:
        """Describe the prepared server for the supervisor."""
        return ProcessSpec(
            name=NAME,
            argv=self.command(),
            env=self.environment,
            ready=self.is_ready,
            # Recovery after a crash replays up to max_wal_size, on a slow disk for minutes.
            ready_timeout=timedelta(minutes=3),
            stop_signal=signal.SIGINT,  # "fast": transactions are rolled back, connections closed
            stop_grace=timedelta(seconds=60),
            serves_others=True,
            ports=(self.port,),
            account=server_account(self._data),
            cwd=self._data,
        )

    def is_ready(self) -> bool:
        """Say whether the server accepts connections now."""
        done = subprocess.run(
            [str(postgres_programs().program("pg_isready")), "-q", "-t", "1",
             "-h", LOOPBACK, "-p", str(self.port), "-d", DATABASE, "-U", ROLE],
            check=False,
            capture_output=True,
            env=PLAIN_ENVIRONMENT,
        )  # fmt: skip
        return done.returncode == 0

    def wait_ready(self, timeout: timedelta) -> None:
        """Return when the server accepts connections.

        Raises:
            NeverReady: It did not within `timeout`.
        """
        wait_until(self.is_ready, NAME, self._folder.logs, timeout)

    def _initialise(self, password: str) -> None:
        """Build the data aside, and put it in its place when it is complete."""
        account = server_account(self._data)
        staging = self._folder.path / f"{_STAGING}{secrets.token_hex(4)}"
        staging.mkdir(mode=0o700)
        hand_over(staging, account)
        initdb = [
            str(reachable(postgres_programs(), "initdb", account)),
            "-D", str(seen_from_inside(staging, account)),
            "--username=postgres", "--auth=reject", "--encoding=UTF8", "--locale=C",
            "--data-checksums", "--no-instructions",
        ]  # fmt: skip
        run_inside(staging, initdb, account, what="initdb")
        self._alone(
            staging,
            f"CREATE ROLE {ROLE} LOGIN CREATEDB PASSWORD '{scram_verifier(password)}'\n"
            f"GRANT pg_monitor TO {ROLE}\n"
            f"CREATE DATABASE {DATABASE} OWNER {ROLE}\n",
        )
        staging.rename(self._data)
        sync_folder(self._folder.path)

    def _replace_lost_password(self) -> str:
        """Give the role a new password, since the file that held the former one is gone."""
        password = secrets.token_urlsafe(32)
        self._alone(self._data, f"ALTER ROLE {ROLE} PASSWORD '{scram_verifier(password)}'\n")
        return password

    def _alone(self, data: Path, statements: str) -> None:
        """Run statements, one a line, with no server and no network (Postgres's single-user mode)."""
        account = server_account(data)
        postgres = str(reachable(postgres_programs(), "postgres", account))
        place = str(seen_from_inside(data, account))
        argv = [postgres, "--single", "-c", "exit_on_error=on", "-D", place, "postgres"]
        run_inside(data, argv, account, what="postgres --single", text=statements)

    def _check_version(self) -> None:
        try:
            version = (self._data / "PG_VERSION").read_text(encoding="ascii").strip()
        except OSError:
            raise ConfigurationError(
                f"{self._data} exists and holds no Postgres data; move it aside to start afresh"
            ) from None
        if version != _MAJOR:
            raise ConfigurationError(
                f"{self._data} was made by Postgres {version}, and this is Postgres {_MAJOR}; dump it with "
                "the older release and restore it here, or move it aside to start afresh"
            )

    def _write(self, path: Path, text: str) -> None:
        replace_private(path, text)
        hand_over(path, server_account(self._data))
