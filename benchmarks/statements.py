"""What a claim and a landing cost: each alone, and in groups.

    python -m benchmarks.statements [--seconds 4] [--pairs 3] [--threads 8 32] [--pause-ms 0 20] [--most 32]
                                    [--lanes 1]

Threads of one process claim due tokens and land answers on them, against a durable Postgres of their own;
between claim and landing they pause as long as a provider would take. Rounds of the two ways take turns.
Nothing is sent to a provider, no message is taken: the figures are of the two statements alone.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import datetime, timedelta
from itertools import cycle
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

import psutil
from pydantic import SecretStr

from benchmarks.chaos.figure import percentile
from benchmarks.chaos.processes import ROOT
from benchmarks.chaos.record import Record
from benchmarks.chaos.servers import Server
from benchmarks.conditions import conditions
from domain.schedule import Schedule
from domain.token import Credentials
from storage.activity import Note
from storage.engine import Engine, make_engine
from storage.importing import Importer, NewConnection
from storage.inspection import database_time
from storage.keys import KeyRing, generate
from storage.migrate import upgrade
from storage.sealing import Sealer
from storage.tokens.claims import ClaimCondition, Claimed
from storage.tokens.groups import ClaimedRow, Groups, WantedClaim
from storage.tokens.landing import Landed, Landing
from storage.tokens.store import TokenStore
from workers.embedded.layout import DataFolder
from workers.embedded.postgres import EmbeddedPostgres
from workers.supervision.claim import claim_folder

RESULT: Final = ROOT / "benchmarks" / "results" / "statements.json"
CONNECTIONS: Final = 4000
LEASE: Final = timedelta(seconds=60)
HOUR: Final = timedelta(hours=1)
#: As long as the tokens of a large provider.
ACCESS: Final = SecretStr("A" * 220)
REFRESH: Final = SecretStr("R" * 100)


class Alone(Groups):
    """Leaves every claim and landing to be made alone."""

    def claim(self, wanted: WantedClaim) -> ClaimedRow | None:
        """Claim nothing."""
        del wanted
        return None

    def land(self, answer: dict[str, Any]) -> int | None:
        """Land nothing."""
        del answer
        return None


class Counted(Groups):
    """Counts its groups by their sizes."""

    def __init__(self, engine: Engine, *, most: int, lanes: int) -> None:
        self.sizes: dict[str, list[int]] = {"claim": [], "landing": []}
        super().__init__(engine, most=most, lanes=lanes)

    def _claim_all(self, group: list[WantedClaim]) -> list[ClaimedRow | None]:
        self.sizes["claim"].append(len(group))
        return super()._claim_all(group)

    def _land_all(self, group: list[dict[str, Any]]) -> list[int | None]:
        self.sizes["landing"].append(len(group))
        return super()._land_all(group)


def main() -> None:
    """Run, write the result, and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=4.0, help="of one round (4)")
    parser.add_argument("--pairs", type=int, default=3, help="of rounds, for each number of threads (3)")
    parser.add_argument("--threads", type=int, nargs="+", default=[8, 32])
    parser.add_argument("--pause-ms", type=float, nargs="+", default=[0, 20], help="of the provider (0 20)")
    parser.add_argument("--most", type=int, default=32, help="in one group (32)")
    parser.add_argument("--lanes", type=int, default=1, help="groups under way at once (1)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="evergrant-statements-") as folder:
        result = _run(Path(folder), given)
    result = {"command": " ".join(["python -m benchmarks.statements", *sys.argv[1:]]), **result}
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps({name: value for name, value in result.items() if name != "rounds"}, indent=2))


def _run(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    before = conditions()
    with ExitStack() as stack:
        claimed = stack.enter_context(claim_folder(folder / "servers"))
        server = Server(EmbeddedPostgres(DataFolder(claimed.path)), claimed, Record(), name="postgres")
        stack.callback(server.stop)
        server.start()
        upgrade(server.url)
        ids = _imported(server.url)
        rounds = []
        for threads in given.threads:
            for pause in given.pause_ms:
                for _ in range(given.pairs):
                    for way in ("alone", "groups"):
                        rounds.append(_round(server.url, ids, way, threads, pause, given))
                        print(rounds[-1], file=sys.stderr, flush=True)
    return {
        "conditions": {**before, "load_average_at_the_end": conditions()["load_average"]},
        "connections": CONNECTIONS,
        "most": given.most,
        "lanes": given.lanes,
        "rounds": rounds,
        "compared": [
            compared([one for one in rounds if (one["threads"], one["pause_ms"]) == (threads, pause)])
            for threads in given.threads
            for pause in given.pause_ms
        ],
    }


_SEALER: Final = Sealer(KeyRing.parse(SecretStr(generate("k1"))))


def _due(now: datetime) -> Schedule:
    return Schedule(now - HOUR / 2, now + HOUR / 2, now - timedelta(seconds=1), now + HOUR)


def _imported(url: str) -> list[UUID]:
    engine = make_engine(url)
    schedule = _due(database_time(engine))
    made: list[UUID] = []
    for start in range(0, CONNECTIONS, 500):
        lines = [
            NewConnection(f"user-{number}", "acme", Credentials(ACCESS, REFRESH), schedule, refreshable=True)
            for number in range(start, start + 500)
        ]
        results = Importer(engine, _SEALER).import_batch(lines)
        made += [one.connection_id for one in results if one.connection_id is not None]
    engine.dispose()
    return made


class _Worker:
    """One thread's claims and landings, over connections that no other thread has."""

    def __init__(self, store: TokenStore, ids: Sequence[UUID], pause: float) -> None:
        self._store, self._ids, self._pause = store, cycle(ids), pause
        self.claims: list[float] = []
        self.landings: list[float] = []

    def run(self, until: float) -> None:
        while time.monotonic() < until:
            self._refresh(next(self._ids))

    def _refresh(self, connection_id: UUID) -> None:
        attempt_id, began = uuid4(), time.perf_counter()
        claimed = self._store.claim(
            connection_id,
            attempt_id=attempt_id,
            owner="host:1:bulk:00000000",
            lease=LEASE,
            when=ClaimCondition.scheduled(),
        )
        self.claims.append(time.perf_counter() - began)
        if claimed is None:
            raise AssertionError(f"{connection_id} was not to be had")
        self._store.open(claimed)
        if self._pause:
            time.sleep(self._pause)
        received = time.perf_counter()
        result = self._store.land(_answer(claimed, attempt_id))
        self.landings.append(time.perf_counter() - received)
        if result != Landed(claimed.state.version + 1, was_alerted=False):
            raise AssertionError(f"{connection_id} did not land: {result}")


def _answer(claimed: Claimed, attempt_id: UUID) -> Landing:
    return Landing(
        connection_id=claimed.ref.connection_id,
        grant_id=claimed.state.grant_id,
        presented_version=claimed.state.version,
        attempt_id=attempt_id,
        credentials=Credentials(ACCESS, REFRESH),
        # Due again at once, so that a few thousand rows are enough for a round.
        schedule=_due(claimed.now),
        note=Note("refreshed", detail={"late_seconds": 1.234}),
    )


def _round(
    url: str, ids: Sequence[UUID], way: str, threads: int, pause: float, given: argparse.Namespace
) -> dict[str, Any]:
    engine = make_engine(url, pool_size=threads + 2, application_name="evergrant-statements")
    groups: Groups = Alone(engine) if way == "alone" else Counted(engine, most=given.most, lanes=given.lanes)
    store = TokenStore(engine, _SEALER, groups)
    workers = [_Worker(store, ids[number::threads], pause / 1000) for number in range(threads)]
    with ThreadPoolExecutor(threads) as pool:
        # Connections are made and statements prepared before anything is counted.
        list(pool.map(lambda one: one.run(time.monotonic() + 1.0), workers))
        for one in workers:
            one.claims.clear()
            one.landings.clear()
        if isinstance(groups, Counted):
            for sizes in groups.sizes.values():
                sizes.clear()
        servers, cpu, began = _server_seconds(), time.process_time(), time.monotonic()
        list(pool.map(lambda one: one.run(began + given.seconds), workers))
        took, cpu = time.monotonic() - began, time.process_time() - cpu
        servers = _server_seconds() - servers
    engine.dispose()
    landings = [each for one in workers for each in one.landings]
    claims = [each for one in workers for each in one.claims]
    done = len(landings)
    result = {
        "way": way,
        "threads": threads,
        "pause_ms": pause,
        "pairs_per_second": round(done / took, 1),
        "client_cpu_ms_per_pair": round(cpu / done * 1000, 4),
        "postgres_cpu_ms_per_pair": round(servers / done * 1000, 4),
        "claim_ms": _spread(claims),
        "received_to_durable_ms": _spread(landings),
    }
    if isinstance(groups, Counted):
        result["group_sizes"] = {name: _sizes(sizes) for name, sizes in groups.sizes.items()}
    return result


def _spread(seconds: list[float]) -> dict[str, float]:
    return {
        name: round((percentile(seconds, part) or 0.0) * 1000, 3)
        for name, part in (("p50", 0.5), ("p99", 0.99), ("most", 1.0))
    }


def _sizes(sizes: list[int]) -> dict[str, float]:
    return {"groups": len(sizes), "mean": round(statistics.fmean(sizes or [0]), 2), "most": max(sizes or [0])}


def _server_seconds() -> float:
    """Return what our Postgres has used of the CPUs, all its processes together."""
    seconds = 0.0
    for child in psutil.Process().children(recursive=True):
        try:
            used = child.cpu_times()
        except psutil.NoSuchProcess:
            continue
        seconds += used.user + used.system
    return seconds


def compared(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Compare the medians of both ways, over rounds of the same kind."""
    figures = ("pairs_per_second", "client_cpu_ms_per_pair", "postgres_cpu_ms_per_pair")
    medians = {
        way: {name: statistics.median(one[name] for one in rounds if one["way"] == way) for name in figures}
        for way in ("alone", "groups")
    }
    durable = {
        way: {
            part: statistics.median(
                one["received_to_durable_ms"][part] for one in rounds if one["way"] == way
            )
            for part in ("p50", "p99")
        }
        for way in ("alone", "groups")
    }
    return {
        "threads": rounds[0]["threads"],
        "pause_ms": rounds[0]["pause_ms"],
        **{way: {**medians[way], "received_to_durable_ms": durable[way]} for way in medians},
        "groups_to_alone": {
            name: round(medians["groups"][name] / medians["alone"][name], 3) for name in figures
        },
    }


if __name__ == "__main__":
    main()
