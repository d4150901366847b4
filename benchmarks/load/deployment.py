"""One deployment to be measured: servers, a token endpoint, and our own processes, started and stopped."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import psutil

from benchmarks.chaos.record import Record
from benchmarks.chaos.servers import Servers
from storage.keys import generate
from workers.embedded.layout import DataFolder
from workers.embedded.postgres import EmbeddedPostgres
from workers.embedded.unprivileged import hand_over, server_account
from workers.signs_of_life import heartbeat_file
from workers.supervision.claim import claim_folder
from workers.supervision.ports import free_port

ROOT: Final = Path(__file__).resolve().parents[2]
_EVERGRANT: Final = (sys.executable, "-m", "workers.cli")
_START_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 60.0
_DEFINITION: Final = """\
[providers.{id}]
display_name = "{id}"
grant = "refresh_token"
token_url = "{url}/token"
access_token_lifetime = {lifetime}
rotation = "single_use"
replay_window = 240
{more}
"""


class Deployment:
    """Everything that one benchmark starts; made by `opened`."""

    def __init__(self, folder: Path, servers: Servers, stack: ExitStack) -> None:
        self.folder = folder
        self.servers = servers
        self.keys = generate("k1")
        self.providers_file = folder / "providers.toml"
        self._stack = stack
        self._variables: dict[str, str] = {}
        self.data = folder / "data"
        self.data.mkdir(mode=0o700)

    def endpoint(self, *options: str, port: int | None = None) -> tuple[str, subprocess.Popen[bytes]]:
        """Start a token endpoint; its base URL, and its process. `port` None: any that is free."""
        port = port or free_port()
        process = self.run([sys.executable, "-m", "benchmarks.load.endpoint", "--port", str(port), *options],
                           name=f"endpoint-{port}")  # fmt: skip
        await_true(lambda: _listens(port), _START_SECONDS, "the token endpoint did not start")
        return f"http://127.0.0.1:{port}", process

    def define(self, endpoints: Mapping[str, str], *, lifetime: int, more: str = "") -> None:
        """Write the providers file: id → base URL; `more`: further lines of every definition."""
        text = "".join(
            _DEFINITION.format(id=provider, url=url, lifetime=lifetime, more=more)
            for provider, url in endpoints.items()
        )
        self.providers_file.write_text(text, encoding="utf-8")
        for provider in endpoints:
            self._variables[f"EVERGRANT_{provider.upper()}_CLIENT_ID"] = "bench-client"
            self._variables[f"EVERGRANT_{provider.upper()}_CLIENT_SECRET"] = "bench-secret"

    @property
    def environment(self) -> dict[str, str]:
        """The whole environment of our processes."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
        return {
            **kept,
            "PYTHONPATH": str(ROOT),
            "EVERGRANT_DATABASE_URL": self.servers.postgres.url,
            "EVERGRANT_REDIS_URL": self.servers.redis.url,
            "EVERGRANT_DATA_DIR": str(self.data),
            "EVERGRANT_KEYS": self.keys,
            "EVERGRANT_PROVIDERS_FILE": str(self.providers_file),
            **self._variables,
        }

    def migrate(self) -> None:
        """Bring the database up to date."""
        done = subprocess.run([*_EVERGRANT, "migrate"], env=self.environment, cwd=ROOT, check=False,
                              capture_output=True, text=True)  # fmt: skip
        if done.returncode != 0:
            raise SystemExit(f"migrate failed: {done.stdout}{done.stderr}")

    def worker(
        self, name: str, queues: str, threads: int, *, environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a worker of ours and wait until its loop runs; `environment` None: the deployment's own."""
        alive = heartbeat_file(DataFolder(self.data), name)
        alive.unlink(missing_ok=True)
        process = self.run(
            [*_EVERGRANT, "worker", "--name", name, "--queues", queues, "--threads", str(threads)],
            name=name, environment=environment,
        )  # fmt: skip
        await_true(alive.exists, _START_SECONDS, f"worker {name} did not start; see {self._log(name)}")
        return process

    def beat(self) -> subprocess.Popen[bytes]:
        """Start beat."""
        return self.run([*_EVERGRANT, "beat"], name="beat")

    def run(
        self, command: Sequence[str], *, name: str, environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a process that ends with the deployment at the latest; its output goes to a file."""
        with self._log(name).open("ab") as log:
            process = subprocess.Popen(command, env=environment or self.environment, cwd=ROOT,
                                       stdin=subprocess.DEVNULL, stdout=log, stderr=log)  # fmt: skip
        self._stack.callback(stop, process)
        return process

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def refreshed(self) -> int:
        """Return how many refreshes were committed so far."""
        counted = self.servers.query("SELECT count(*) FROM activity WHERE kind = 'refreshed'")
        return int(str(counted[0][0]))

    def server_processes(self, name: str) -> list[psutil.Process]:
        """Return the processes of ``postgres`` or ``redis``."""
        server = self.servers.postgres if name == "postgres" else self.servers.redis
        return server.processes()


@contextmanager
def opened(folder: Path, *, postgres_settings: str = "") -> Iterator[Deployment]:
    """Start Postgres and Redis with our durable settings; stop everything at the end, SIGTERM included.

    Args:
        postgres_settings: Lines of ``postgresql.conf`` that are laid over ours.
    """
    signal.signal(signal.SIGTERM, _end)
    with ExitStack() as stack:
        claimed = stack.enter_context(claim_folder(folder / "servers"))
        if postgres_settings:
            _lay_over(DataFolder(claimed.path), postgres_settings)
        servers = Servers(claimed, Record())
        stack.callback(servers.stop)
        servers.start()
        yield Deployment(folder, servers, stack)


def _end(_signal: int, _frame: object) -> None:
    raise SystemExit(128 + signal.SIGTERM)


def _lay_over(folder: DataFolder, settings: str) -> None:
    EmbeddedPostgres(folder).prepare()
    local = folder.postgres / "local.conf"
    local.write_text(settings, encoding="ascii")
    hand_over(local, server_account(folder.postgres))


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ask a process to end and wait; it is killed if it does not."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def await_true(condition: Callable[[], bool], seconds: float, otherwise: str, *, pause: float = 0.05) -> None:
    """Wait until it is true, looking again after a pause in seconds.

    Raises:
        SystemExit: It was not within that time; with `otherwise`.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= deadline:
            raise SystemExit(otherwise)
        time.sleep(pause)


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False
