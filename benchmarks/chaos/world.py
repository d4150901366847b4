"""Everything that a campaign starts: servers, the simulator, two machines, and the book of grants."""

from __future__ import annotations

import os
import secrets
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

from benchmarks.chaos import definitions
from benchmarks.chaos.plan import Dose
from benchmarks.chaos.processes import EVERGRANT, ROOT, Keeper, Single, Supervised, families
from benchmarks.chaos.record import Record
from benchmarks.chaos.servers import Servers
from benchmarks.chaos.wire_faults import DIALECTS
from simulator.client import MintedGrant
from simulator.process import SimulatorProcess
from storage.keys import generate
from workers.supervision.claim import claim_folder
from workers.supervision.ports import free_port

OWNER: Final = "campaign"
#: Worker of machine B → by how many seconds its wall clock is wrong.
SKEWS: Final = {"b-bulk-1": 300.0, "b-bulk-2": -300.0}
_BULK: Final = "refresh,health"
_INTERACTIVE: Final = "on_demand,control"


@dataclass
class Entry:
    """A grant in our hands: whose it is, and from when until when (None: still) it was his only one."""

    grant_id: str
    provider: str
    user: str
    since: float
    first_token: str
    until: float | None = None
    how: str = "imported"
    ended_how: str | None = None


class World:
    """One campaign's processes; made by `opened`."""

    def __init__(
        self, dose: Dose, folder: Path, servers: Servers, simulator: SimulatorProcess, record: Record
    ) -> None:
        self.dose = dose
        self.folder = folder
        self.servers = servers
        self.simulator = simulator
        self.record = record
        self.keys = generate("k1")
        self.book: list[Entry] = []
        self.book_lock = threading.Lock()
        self.data_a, self.data_b = folder / "machine-a", folder / "machine-b"
        logs = folder / "harness-logs"
        for path in (self.data_a, self.data_b, logs):
            path.mkdir(mode=0o700)
        self.providers_file = folder / "providers.toml"
        definitions.write_definitions(self.providers_file, simulator.base_url, dose)
        self.supervisor = Single(
            "supervisor", ("up", "--port", str(free_port()), "--flower-port", str(free_port())),
            self.environment(self.data_a), logs / "up.log", sort="supervisor",
        )  # fmt: skip
        threads = str(dose.threads)
        self.singles: list[Single] = []
        for number in range(1, dose.bulk_workers + 1):
            self._single(f"b-bulk-{number}", ("--queues", _BULK, "--threads", threads), logs)
        self._single("b-interactive", ("--queues", _INTERACTIVE, "--threads", "8"), logs)
        self.second_beat = Single("b-beat", ("beat",), self.environment(self.data_b), logs / "b-beat.log",
                                  sort="beat")  # fmt: skip
        # A data folder of its own, or it would touch the second one's heartbeat.
        self.third_beat = Single("c-beat", ("beat",), self.environment(folder / "machine-c"),
                                 logs / "c-beat.log", sort="beat")  # fmt: skip
        self.children = [
            Supervised("bulk", self.data_a, sort="worker"),
            Supervised("interactive", self.data_a, sort="worker"),
            Supervised("control", self.data_a, sort="worker"),
            Supervised("beat", self.data_a, sort="beat"),
            Supervised("flower", self.data_a, sort="flower"),
        ]

    def _single(self, name: str, options: tuple[str, ...], logs: Path) -> None:
        skew = SKEWS.get(name, 0.0)
        self.singles.append(
            Single(name, ("worker", "--name", name, *options), self.environment(self.data_b, skew=skew),
                   logs / f"{name}.log", sort="worker", skew=skew)
        )  # fmt: skip

    def environment(self, data: Path, *, skew: float = 0.0) -> dict[str, str]:
        """Return the whole environment of a process on the machine with that data folder."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
        path = str(ROOT)
        if skew:
            kept["EVERGRANT_CHAOS_SKEW_SECONDS"] = str(skew)
            path = os.pathsep.join((str(Path(__file__).with_name("skewed")), path))
        return {
            **kept,
            "PYTHONPATH": path,
            "PYTHONUNBUFFERED": "1",
            "EVERGRANT_DATABASE_URL": self.servers.postgres.url,
            "EVERGRANT_REDIS_URL": self.servers.redis.url,
            "EVERGRANT_DATA_DIR": str(data),
            "EVERGRANT_KEYS": self.keys,
            "EVERGRANT_PROVIDERS_FILE": str(self.providers_file),
            "EVERGRANT_WORKER_THREADS": str(self.dose.threads),
            # The judge wants to know what was about to be presented.
            "EVERGRANT_LOG_LEVEL": "debug",
            **definitions.client_variables(),
        }

    @property
    def everything(self) -> list[Single]:
        """Every process that the harness keeps running by itself."""
        return [self.supervisor, *self.singles, self.second_beat, self.third_beat]

    @property
    def workers(self) -> list[Single | Supervised]:
        """Every worker, of both machines."""
        return [*self.singles, *(child for child in self.children if child.sort == "worker")]

    @property
    def beats(self) -> list[Single | Supervised]:
        """The beats that always run."""
        return [self.second_beat, *(child for child in self.children if child.sort == "beat")]

    def cli(self, *words: str, stdin: str = "", seconds: float = 60) -> subprocess.CompletedProcess[str]:
        """Run one of our commands on machine B to its end."""
        return subprocess.run(
            [*EVERGRANT, *words], env=self.environment(self.data_b), input=stdin, capture_output=True,
            text=True, timeout=seconds, check=False,
        )  # fmt: skip

    def enter(self, grants: dict[str, list[MintedGrant]], users: Callable[[str, int], str]) -> None:
        """Import fresh grants as new connections, and write them into the book."""
        lines, entries = [], []
        for provider, minted in grants.items():
            for number, grant in enumerate(minted):
                user = users(provider, number)
                lines.append(definitions.import_line(grant, provider, user))
                entries.append(Entry(grant.grant_id, provider, user, time.time(), grant.refresh_token or ""))
        done = self.cli("connections", "import", "-", stdin="".join(lines), seconds=120)
        if done.returncode != 0:
            raise SystemExit(f"the first import failed: {done.stdout}{done.stderr}")
        with self.book_lock:
            self.book += entries

    def mint(self, provider: str, count: int, dice: Random | None = None) -> list[MintedGrant]:
        """Have fresh grants at a provider; without dice their first tokens are of every age."""
        least, most = self.dose.lifetime
        first = [max(20, round(least * 0.5)), most] if dice is None else [least, most]
        return self.simulator.client.mint(
            DIALECTS[provider], count, owner=OWNER, lifetime=[least, most], first_lifetime=first
        )

    def current(self, provider: str) -> list[Entry]:
        """Return the book's current entries of a provider."""
        with self.book_lock:
            return [entry for entry in self.book if entry.until is None and entry.provider == provider]

    def start(self) -> None:
        """Start everything, import the connections, and return when workers work."""
        done = self.cli("migrate", seconds=120)
        if done.returncode != 0:
            raise SystemExit(f"migrate failed: {done.stdout}{done.stderr}")
        for single in self.everything:
            if single is not self.third_beat:
                single.want()
        self.await_true(lambda: all(target.pid for target in (*self.workers, *self.beats)), 60)
        minted = {provider: self.mint(provider, count) for provider, count in self.dose.connections.items()}
        self.enter(minted, lambda provider, number: f"{provider}-{number}")
        report = self.simulator.client.report
        self.await_true(lambda: int(report(OWNER)["total"]["refreshed"]) > 0, 90)

    @staticmethod
    def await_true(condition: Callable[[], bool], seconds: float, *, pause: float = 0.05) -> bool:
        """Wait until it is true; False if it is not within that time."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() >= deadline:
                return False
            time.sleep(pause)
        return True

    def stop(self) -> None:
        """End everything of ours that still runs, machine A's children included."""
        members = [member for single in self.everything if (pid := single.pid) for member in families(pid)]
        members += [member for child in self.children if (pid := child.pid) for member in families(pid)]
        for member in members:
            if member.is_running():
                member.kill()
        self.await_true(lambda: all(single.pid is None for single in self.everything), 10)


@contextmanager
def opened(dose: Dose, folder: Path, seed: int) -> Iterator[World]:
    """Make a world in an empty folder, and end all of it afterwards."""
    record = Record()
    with ExitStack() as stack:
        claimed = stack.enter_context(claim_folder(folder / "servers"))
        servers = Servers(claimed, record)
        stack.callback(servers.stop)
        servers.start()
        simulator = stack.enter_context(
            SimulatorProcess(
                control_token=secrets.token_urlsafe(24),
                arguments=("--history", "1000000", "--seed", str(seed)),
            )
        )
        definitions.configure(simulator.client, dose)
        world = World(dose, folder, servers, simulator, record)
        stack.callback(world.stop)
        with Keeper(world.everything):
            yield world
