"""What a refresh costs its worker between "claimed" and "landed", the database left out.

    python -m benchmarks.exchange [--seconds 2] [--rounds 3] [--against FOLDER]

One process with 1, 8 and 32 threads against a cheap keep-alive endpoint on the loopback, in a process of its
own (`benchmarks.load.endpoint`). Four pieces; the last one holds all others:

    sealing     two values opened, a digest, two values sealed
    exchange    one prepared request sent, and its answer read
    present     the request prepared, sent, and its answer judged
    refresh     the whole of a scheduled task, its arguments and its log line included, over a row that is
                kept in memory: Postgres and the broker are what is missing

Rounds of all pieces take turns, each in a fresh process. Judged is the CPU time of that process per call, as
another load on the machine disturbs it less than the rate. `--against` measures another checkout that
holds this file too, in turns with this one, and gives the ratio.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any, Final, cast
from uuid import UUID, uuid4

from pydantic import SecretStr

from benchmarks.conditions import conditions
from benchmarks.load.endpoint import ROOT, endpoint_process
from domain.token import ConnectionRef, Credentials, Status, TokenState
from providers.catalogue import load as load_catalogue
from providers.client import ProviderClient
from providers.http import Wire
from services.admission import Admission
from services.breakers import Breakers
from services.providers import ProviderDesk, ReadyProvider
from services.refresh.callers import Callers
from services.refresh.flights import Flights
from services.refresh.landing import Lander
from services.refresh.presentation import Presentation
from services.refresh.protocol import RefreshProtocol
from services.refresh.slow_commits import SlowCommits
from services.settings import Settings
from services.slots import Slots
from storage.keys import KeyRing, generate
from storage.sealing import Sealer
from storage.tokens.claims import Claimed
from storage.tokens.landing import Landed, Landing
from storage.tokens.rows import Sealed, token_ref
from tasks.context import attach
from tasks.tokens import refresh_token
from workers.logs import configure

RESULT: Final = ROOT / "benchmarks" / "results" / "exchange.json"
PIECES: Final = ("sealing", "exchange", "present", "refresh")
THREADS: Final = (1, 8, 32)
_DEADLINE: Final = timedelta(seconds=15)
#: Calls before a round's clock starts: connections are opened and caches filled by them.
_WARM_UP: Final = 30
_PROVIDER: Final = """\
[providers.load]
display_name = "Load"
grant = "refresh_token"
token_url = "http://127.0.0.1:{port}/token"
rotation = "single_use"
replay_window = 0
access_token_lifetime = 3600
"""
_APP: Final = {
    "EVERGRANT_LOAD_CLIENT_ID": "load-client-0123456789.apps.example",
    "EVERGRANT_LOAD_CLIENT_SECRET": "load-secret-0123456789abcdef",
}


class Row:
    """One thread's row, kept in memory and sealed as it is in Postgres."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer
        self.id = uuid4()
        self._version = 1
        self._grant_id = uuid4()
        self._pair = self._sealed(SecretStr("at-" + "0" * 64), SecretStr("rt-" + "0" * 64), sealer)

    def _sealed(self, access: SecretStr, refresh: SecretStr, sealer: Sealer) -> Sealed:
        return Sealed(
            self.id,
            sealer.seal(access, token_ref("access_token", self.id)),
            sealer.seal(refresh, token_ref("refresh_token", self.id)),
        )

    def claimed(self, attempt_id: UUID) -> Claimed:
        """Return the row as a claim does: due now, and presented by this attempt."""
        now = datetime.now(UTC)
        state = TokenState(
            self.id, "load", Status.ACTIVE, self._version, self._grant_id,
            issued_at=now - timedelta(hours=1), expires_at=now + timedelta(minutes=10), refresh_due_at=now,
            lease_until=now + timedelta(seconds=40), lease_owner="benchmark", attempt_id=attempt_id,
            presented_at=now, first_presented_at=now, last_refreshed_at=now - timedelta(hours=1),
        )  # fmt: skip
        ref = ConnectionRef(self.id, "user-1", "load")
        return Claimed(ref, state, now, (), self._pair)

    def open(self) -> Credentials:
        """Open both values, as the store does."""
        pair = self._pair
        assert pair.refresh_token is not None
        return Credentials(
            self._sealer.open(pair.access_token, token_ref("access_token", self.id)),
            self._sealer.open(pair.refresh_token, token_ref("refresh_token", self.id)),
        )

    def land(self, credentials: Credentials) -> int:
        """Seal an answer and keep it, as a landing does; returns the version."""
        assert credentials.refresh_token is not None
        with self._sealer.pinned() as sealer:
            sealer.digests(credentials.refresh_token, self.id)
            self._pair = self._sealed(credentials.access_token, credentials.refresh_token, sealer)
        self._version += 1
        return self._version


class Rows:
    """Stands in for the token store on the way that goes well."""

    def __init__(self, sealer: Sealer, threads: int) -> None:
        self.rows = {row.id: row for row in (Row(sealer) for _ in range(threads))}

    def claim(
        self, connection_id: UUID, *, attempt_id: UUID, unless: Callable[[], bool], **_: object
    ) -> Claimed:
        """As `Claims.claim`."""
        assert not unless()
        return self.rows[connection_id].claimed(attempt_id)

    def open(self, claimed: Claimed) -> Credentials:
        """As `Claims.open`."""
        return self.rows[claimed.ref.connection_id].open()

    def land(self, landing: Landing) -> Landed:
        """As `Leftovers.land`."""
        return Landed(self.rows[landing.connection_id].land(landing.credentials), was_alerted=False)


class Trusting:
    """Stands in for a restore guard whose looks are fresh."""

    closed = False

    def withholds(self, facts: object) -> bool:
        """As `RestoreGuard.withholds`."""
        del facts
        return False


def _services(rows: Rows, desk: ProviderDesk, client: ProviderClient, threads: int) -> Any:  # noqa: ANN401
    """Wire a refresh as `services.wiring` does, without the servers."""
    anything: Any = SimpleNamespace(distrusted=False, holds=list, note=lambda *_: None)
    admission = Admission(Breakers(anything), anything, Slots(threads))
    flights = Flights()
    lander = Lander(rows.land, anything, flights, SlowCommits(anything, flights))
    store = cast("Any", rows)
    presentation = Presentation(store, client, admission, lander, anything, anything)
    protocol = RefreshProtocol(
        store, desk, admission, presentation, anything, flights,
        owner="benchmark", callers=Callers(threads), crowding=anything, guard=cast("Any", Trusting()),
    )  # fmt: skip
    return SimpleNamespace(refresh=protocol, tokens=store)


@contextmanager
def _calls(piece: str, port: int, threads: int) -> Iterator[list[Callable[[], object]]]:
    """Give what each thread calls again and again."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "providers.toml"
        file.write_text(_PROVIDER.format(port=port), encoding="utf-8")
        desk = ProviderDesk(load_catalogue(file), _APP)
    ready = desk.ready("load")
    assert isinstance(ready, ReadyProvider)
    rows = Rows(Sealer(KeyRing.parse(SecretStr(generate()))), threads)
    wire = Wire()
    client = ProviderClient(wire)
    attach(refresh_token.app, _services(rows, desk, client, threads))
    yield [_call(piece, row, ready, client, wire) for row in rows.rows.values()]
    wire.close()


def _call(
    piece: str, row: Row, ready: ReadyProvider, client: ProviderClient, wire: Wire
) -> Callable[[], object]:
    credentials = row.open()
    prepared = client.prepare(ready.definition, ready.app, credentials, {})

    def present() -> object:
        call = client.prepare(ready.definition, ready.app, credentials, {})
        return client.present(call, deadline=_DEADLINE)

    def refresh() -> object:
        return refresh_token(connection_id=str(row.id), provider_id="load", tenant=None, scheduled=True)

    return {
        "sealing": lambda: row.land(row.open()),
        "exchange": lambda: wire.exchange(prepared.request, deadline=_DEADLINE),
        "present": present,
        "refresh": refresh,
    }[piece]


def _one_round(piece: str, threads: int, port: int, seconds: float) -> dict[str, float]:
    """Call from so many threads for so long; return what was done and what it cost."""
    configure(Settings())
    counts = [0] * threads
    over = threading.Event()
    ready, begin = threading.Barrier(threads + 1), threading.Barrier(threads + 1)

    def run(number: int, call: Callable[[], object]) -> None:
        for _ in range(_WARM_UP):
            call()
        ready.wait()
        begin.wait()
        while not over.is_set():
            call()
            counts[number] += 1

    with _calls(piece, port, threads) as calls:
        workers = [threading.Thread(target=run, args=one) for one in enumerate(calls)]
        for worker in workers:
            worker.start()
        ready.wait()
        cpu, began = time.process_time(), time.monotonic()
        begin.wait()
        time.sleep(seconds)
        over.set()
        for worker in workers:
            worker.join()
        cpu, took = time.process_time() - cpu, time.monotonic() - began
    done = sum(counts)
    return {"calls": done, "calls_per_second": round(done / took, 1), "cpu_ms": round(1000 * cpu / done, 4)}


def _in_a_process(folder: Path, piece: str, threads: int, port: int, seconds: float) -> dict[str, float]:
    """Run one round in a fresh process of a checkout."""
    command = [sys.executable, "-m", "benchmarks.exchange", "--seconds", str(seconds)]
    command += ["--round", piece, "--threads", str(threads), "--port", str(port)]
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, "PYTHONPATH": str(folder)}, check=True, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    measured: dict[str, float] = json.loads(done.stdout)
    return measured


def _run(folders: dict[str, Path], *, seconds: float, rounds: int) -> dict[str, Any]:
    before = conditions()
    measured: list[dict[str, Any]] = []
    with endpoint_process() as port:
        for number in range(rounds):
            for piece in PIECES:
                for threads in THREADS:
                    for name, folder in folders.items():
                        one = _in_a_process(folder, piece, threads, port, seconds)
                        measured.append(
                            {"round": number + 1, "of": name, "piece": piece, "threads": threads, **one}
                        )
                        print(measured[-1], file=sys.stderr, flush=True)
    return {
        "conditions": {**before, "load_average_at_the_end": conditions()["load_average"]},
        "medians": [
            _medians(measured, list(folders), piece, threads) for piece in PIECES for threads in THREADS
        ],
        "rounds": measured,
    }


def _medians(
    measured: Sequence[dict[str, Any]], names: Sequence[str], piece: str, threads: int
) -> dict[str, Any]:
    """Return the medians of one piece with so many threads, and the ratio of CPU to the other checkout's."""
    found: dict[str, Any] = {"piece": piece, "threads": threads}
    for name in names:
        ones = [
            one for one in measured if (one["of"], one["piece"], one["threads"]) == (name, piece, threads)
        ]
        found[name] = {
            key: round(median(one[key] for one in ones), 4) for key in ("cpu_ms", "calls_per_second")
        }
    if len(names) > 1:
        this, other = (found[name]["cpu_ms"] for name in names)
        found["cpu_ratio"] = round(this / other, 3)
    return found


def main() -> None:
    """Run, write the result, and print its medians."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=2.0, help="of one round (2)")
    parser.add_argument("--rounds", type=int, default=3, help="of every piece and number of threads (3)")
    parser.add_argument("--against", type=Path, help="another checkout, measured in turns with this one")
    parser.add_argument("--round", choices=PIECES, help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.round is not None:
        print(json.dumps(_one_round(given.round, given.threads, given.port, given.seconds)))
        return
    folders = {"here": ROOT}
    command = f"python -m benchmarks.exchange --seconds {given.seconds:g} --rounds {given.rounds}"
    if given.against is not None:
        folders["there"] = given.against.resolve()
        command += " --against FOLDER"
    result = {"command": command, **_run(folders, seconds=given.seconds, rounds=given.rounds)}
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result["medians"], indent=2))


if __name__ == "__main__":
    main()
