"""The embedded Redis (or Valkey)."""

from __future__ import annotations

import secrets
import signal
from datetime import timedelta

import redis

from storage.files import replace_private
from workers.embedded.errors import NotPrepared
from workers.embedded.layout import DataFolder
from workers.embedded.programs import redis_program
from workers.embedded.readiness import wait_until
from workers.embedded.remembered_port import choose_port, remembered_port
from workers.embedded.shared_copy import reachable
from workers.embedded.survivors import stop_survivors
from workers.embedded.unprivileged import PLAIN_ENVIRONMENT, hand_over, seen_from_inside, server_account
from workers.supervision.ports import LOOPBACK
from workers.supervision.spec import ProcessSpec

NAME = "redis"
_PASSWORD = "redis_password"  # noqa: S105 - the name of the file
_CONFIGURATION = "redis.conf"
_SETTINGS = """\
# Written by evergrant at every start.
bind 127.0.0.1
port {port}
protected-mode yes
requirepass {password}
daemonize no
# To standard output, which the supervisor puts into logs/ and rotates.
logfile ""
# It is started inside its own folder.
dir ./
# Every write is in the append-only file within a second. Snapshots beside it would cost forks and disk, and
# a start reads the append-only file alone.
appendonly yes
appendfsync everysec
save ""
# A broker that evicts loses queues in silence; one that refuses a write is noticed.
maxmemory-policy noeviction
"""


class EmbeddedRedis:
    """One Redis under a data folder, reachable on 127.0.0.1 with a password, database 0."""

    def __init__(self, folder: DataFolder) -> None:
        """Describe the server of this data folder; nothing is touched."""
        self._folder = folder
        self._data = folder.redis
        self._port_file = folder.run / "redis.port"

    def prepare(self) -> None:
        """Make the server ready to be started: folder, password, settings, port.

        Idempotent. Called while holding the claim on the data folder (`claim_folder`), with no server of
        this folder supervised.

        Raises:
            ConfigurationError: No Redis for this platform, or a data folder that cannot be used.
        """
        self._folder.make()
        stop_survivors(self._data, frozenset({"redis-server", "valkey-server"}), signal.SIGTERM)
        account = server_account(self._data)
        self._data.mkdir(mode=0o700, exist_ok=True)
        hand_over(self._data, account)
        password = self._folder.secret_file(_PASSWORD, lambda: secrets.token_urlsafe(32))
        configuration = self._data / _CONFIGURATION
        replace_private(configuration, _SETTINGS.format(port=choose_port(self._port_file), password=password))
        hand_over(configuration, account)

    def command(self) -> list[str]:
        """Give the server's command line; it holds no secret."""
        account = server_account(self._data)
        program = reachable(*redis_program(), account)
        return [str(program), str(seen_from_inside(self._data, account) / _CONFIGURATION)]

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
            raise NotPrepared("Redis", self._folder.path)
        return port

    @property
    def url(self) -> str:
        """Where clients connect, with the password: a secret.

        Raises:
            NotPrepared: It was never prepared.
        """
        password = self._folder.secret(_PASSWORD)
        if password is None:
            raise NotPrepared("Redis", self._folder.path)
        return f"redis://:{password}@{LOOPBACK}:{self.port}/0"

    def spec(self) -> ProcessSpec:
        """Describe the prepared server for the supervisor."""
        return ProcessSpec(
            name=NAME,
            argv=self.command(),
            env=self.environment,
            ready=self.is_ready,
            # A long append-only file is replayed before the first answer.
            ready_timeout=timedelta(minutes=3),
            stop_signal=signal.SIGTERM,  # writes and syncs the append-only file, then ends
            stop_grace=timedelta(seconds=30),
            serves_others=True,
            ports=(self.port,),
            account=server_account(self._data),
            cwd=self._data,
        )

    def is_ready(self) -> bool:
        """Say whether the server answers with our password now; while it still loads its data it does not."""
        try:
            with redis.Redis.from_url(self.url, socket_timeout=1, socket_connect_timeout=1) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def wait_ready(self, timeout: timedelta) -> None:
        """Return when the server answers.

        Raises:
            NeverReady: It did not within `timeout`.
        """
        wait_until(self.is_ready, NAME, self._folder.logs, timeout)
