"""A deployment of real processes of our own command line, started for a test and always stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import psycopg
from psycopg import sql

from simulator.client import MintedGrant, SimulatorClient
from storage.keys import generate
from tests.acceptance.provider_file import DIALECTS, client_variables, definitions
from tests.support.waiting import eventually
from workers.supervision.ports import LOOPBACK, accepts_connections, free_port

CHECKOUT: Final = Path(__file__).resolve().parents[2]
EVERGRANT: Final = (sys.executable, "-m", "workers.cli")
FLOWER_SIGN_IN: Final = "operator:flower-password-of-the-tests"


def bare_environment(**more: str) -> dict[str, str]:
    """Give an environment in which nothing of ours is set but `more`."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    return {**kept, "PYTHONPATH": str(CHECKOUT), "PYTHONUNBUFFERED": "1", **more}


def run_cli(
    environment: Mapping[str, str],
    *words: str,
    stdin: str | bytes = b"",
    cwd: Path | None = None,
    seconds: float = 120,
) -> subprocess.CompletedProcess[str]:
    """Run one command to its end, with its output as text."""
    given = stdin.encode() if isinstance(stdin, str) else stdin
    done = subprocess.run(
        [*EVERGRANT, *words],
        env=dict(environment),
        cwd=cwd,
        input=given,
        capture_output=True,
        timeout=seconds,
        check=False,
    )
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


@dataclass
class Running:
    """A process of ours in a session of its own, and where it writes."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def said(self) -> str:
        """Give what it wrote so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def end(self, number: signal.Signals = signal.SIGTERM, *, seconds: float = 90) -> int:
        """Signal it and give its exit status."""
        self.process.send_signal(number)
        return self.process.wait(timeout=seconds)

    def kill_group(self) -> None:
        """End it and its whole process group as `kill -9` does; harmless when it is gone."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(timeout=30)


def start_process(
    name: str, environment: Mapping[str, str], words: Sequence[str], log: Path, *, cwd: Path | None = None
) -> Running:
    """Start one of our commands; its output goes to the end of `log`."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*EVERGRANT, *words],
            env=dict(environment),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Running(name, process, log)


def import_line(grant: MintedGrant, provider_id: str, **changed: object) -> str:
    """Write a minted grant as a line of the import format."""
    line = {
        "user_id": grant.user,
        "provider_id": provider_id,
        "account_id": "",
        "access_token": grant.access_token,
        "refresh_token": grant.refresh_token,
        "expires_at": grant.expires_at,
        "scope": grant.scope,
        "metadata": {**grant.metadata, "grant_id": grant.grant_id},
        **changed,
    }
    return json.dumps(line) + "\n"


@dataclass
class Deployment:
    """Workers, beat and Flower on given servers, with all providers played by the simulator.

    Attributes:
        lifetime: Of access tokens, least and most seconds.
        check_every: Seconds between two health checks of a connection.
        owner: Labels this deployment's grants at the simulator.
    """

    folder: Path
    database_url: str
    redis_url: str
    simulator: SimulatorClient
    lifetime: tuple[float, float]
    check_every: int = 3600
    owner: str = "deployment"
    keys: str = field(default_factory=generate)
    environment: dict[str, str] = field(init=False)
    flower_port: int = field(default_factory=free_port)
    processes: list[Running] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in ("logs", "data"):
            (self.folder / name).mkdir(mode=0o700)
        file = self.folder / "providers.toml"
        middle = round(sum(self.lifetime) / 2)
        file.write_text(
            definitions(self.simulator.base_url, lifetime=middle, check_every=self.check_every),
            encoding="utf-8",
        )
        self.environment = bare_environment(
            EVERGRANT_DATABASE_URL=self.database_url,
            EVERGRANT_REDIS_URL=self.redis_url,
            EVERGRANT_DATA_DIR=str(self.folder / "data"),
            EVERGRANT_KEYS=self.keys,
            EVERGRANT_PROVIDERS_FILE=str(file),
            EVERGRANT_FLOWER_BASIC_AUTH=FLOWER_SIGN_IN,
            **client_variables(),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for running in self.processes:
            running.kill_group()

    def cli(self, *words: str, stdin: str = "", status: int = 0) -> str:
        """Run a command that must end with `status`; give its standard output."""
        done = run_cli(self.environment, *words, stdin=stdin)
        assert done.returncode == status, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def rows(self, what: str) -> list[dict[str, Any]]:
        """Give what `evergrant <what> list --json` lists."""
        rows: list[dict[str, Any]] = json.loads(self.cli(what, "list", "--json"))
        return rows

    # Processes.

    def start(self, name: str, *words: str) -> Running:
        """Start one of our commands."""
        running = start_process(name, self.environment, words, self.folder / "logs" / f"{name}.log")
        self.processes.append(running)
        return running

    def worker(self, name: str, queues: str, *, threads: int = 8) -> Running:
        """Start a worker; `await_alive` tells when it works."""
        self._alive(name).unlink(missing_ok=True)
        return self.start(name, "worker", "--name", name, "--queues", queues, "--threads", str(threads))

    def bulk(self, name: str = "bulk", *, threads: int = 8) -> Running:
        """Start a worker of the bulk queues."""
        return self.worker(name, "refresh,health", threads=threads)

    def interactive(self) -> Running:
        """Start the worker of the ticks and of on-demand tasks."""
        return self.worker("interactive", "on_demand,control", threads=16)

    def beat(self, name: str = "beat") -> Running:
        """Start a beat."""
        return self.start(name, "beat")

    def flower(self) -> Running:
        """Start Flower and wait until it listens."""
        running = self.start("flower", "flower", "--port", str(self.flower_port))
        eventually(lambda: accepts_connections(self.flower_port), what="Flower listens")
        return running

    @property
    def flower_url(self) -> str:
        """Where Flower is."""
        return f"http://{LOOPBACK}:{self.flower_port}"

    def await_alive(self, *workers: Running) -> None:
        """Wait until the workers have shown their life."""
        for worker in workers:

            def alive(worker: Running = worker) -> bool:
                assert worker.process.poll() is None, worker.said()
                return self._alive(worker.name).exists()

            eventually(alive, what=f"{worker.name} works")

    def _alive(self, name: str) -> Path:
        return self.folder / "data" / "run" / f"{name}.alive"

    # Connections.

    def connect(
        self, counts: Mapping[str, int], *, first_lifetime: tuple[float, float] | None = None
    ) -> list[MintedGrant]:
        """Mint so many grants for each provider, import them, and return them."""
        minted: list[MintedGrant] = []
        lines: list[str] = []
        for provider_id, count in counts.items():
            order: dict[str, object] = {"owner": self.owner, "user": f"{provider_id}-user-{{n}}"}
            if provider_id != "wordpress":
                order["lifetime"] = list(self.lifetime)
                if first_lifetime is not None:
                    order["first_lifetime"] = list(first_lifetime)
            for grant in self.simulator.mint(DIALECTS[provider_id], count, **order):
                minted.append(grant)
                lines.append(import_line(grant, provider_id))
        self.cli("connections", "import", "-", stdin="".join(lines))
        return minted

    def query(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Ask Postgres directly."""
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            return list(connection.execute(sql.SQL(statement), values))

    def versions(self) -> dict[str, int]:
        """Give the version of each connection by its grant's id."""
        rows = self.query(
            "SELECT c.metadata->>'grant_id', t.version "
            "FROM connections c JOIN tokens t ON t.connection_id = c.id"
        )
        return dict(rows)

    def await_versions(self, least: int, grant_ids: Iterable[str], *, seconds: float = 120) -> None:
        """Wait until each of these grants has at least this version."""
        wanted = set(grant_ids)

        def reached() -> bool:
            self.assert_running()
            versions = self.versions()
            return all(versions.get(grant_id, 0) >= least for grant_id in wanted)

        eventually(reached, seconds=seconds, what=f"version {least} of {len(wanted)} grants")

    def assert_running(self) -> None:
        """Fail at once if one of our processes ended unasked with an error."""
        for running in self.processes:
            code = running.process.poll()
            assert code is None or code <= 0, f"{running.name} ended with {code}: {running.said()[-3000:]}"

    def report(self) -> dict[str, Any]:
        """Give the provider's side of it, all dialects together."""
        total: dict[str, Any] = self.simulator.report(owner=self.owner)["total"]
        return total

    def logs(self) -> dict[str, str]:
        """Give what every process wrote."""
        return {running.name: running.said() for running in self.processes}
