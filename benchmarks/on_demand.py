"""What callers wait who want a token now, alone and while the bulk queues are full.

    python -m benchmarks.on_demand [--rounds 3] [--callers 1000] [--paced 80]

*Crowd*: all callers at once want one stale token, in several processes by the service, and as Celery tasks;
how often it was presented is counted at the simulator. The same crowd for a fresh token tells what of it is
the crowd. *Paced*: one caller after another wants a token that has to be refreshed, idle and with full bulk
queues. *Reading*: the service is asked for fresh tokens, idle and with full bulk queues.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any, Final

import redis

from benchmarks.chaos.definitions import import_line
from benchmarks.conditions import conditions
from benchmarks.load import store
from benchmarks.load.crowd import Callers
from benchmarks.load.deployment import ROOT, Deployment, await_true, opened
from simulator.process import SimulatorProcess

RESULT: Final = ROOT / "benchmarks" / "results" / "on_demand.json"
#: Seconds that each provider takes.
LATENCY: Final = 0.2
#: Processes of callers, and interactive workers.
CALLING: Final = 4
INTERACTIVE: Final = 2
THREADS: Final = 16
BULK: Final = 2
BULK_THREADS: Final = 8
_LATER: Final = timedelta(minutes=50)
#: What keeps the bulk workers at work for a round.
_BACKLOG: Final = 20_000
_READS: Final = 1500
_FRESH: Final = 100
#: Seconds between two paced callers.
_APART: Final = 0.1


class Bench:
    """One deployment, and its rounds."""

    def __init__(self, made: Deployment, simulator: SimulatorProcess, rounds: int, paced: int) -> None:
        self._made = made
        self._simulator = simulator.client
        slow, _ = made.endpoint("--latency-ms", str(LATENCY * 1000))
        fast, _ = made.endpoint()
        simulator.client.configure(
            "strict", client_id="bench-client", client_secret="bench-secret",  # noqa: S106 - the simulator's
            latency=LATENCY * 1000,
        )  # fmt: skip
        made.define({"sim": f"{simulator.base_url}/strict", "paced": slow, "bulk": fast}, lifetime=3600)
        made.migrate()
        self._url = made.servers.postgres.url
        self._redis = redis.Redis.from_url(made.servers.redis.url)
        filled = [str(one) for one in self._fill("paced", _FRESH + 4 * paced * rounds)]
        self._fresh, self._paced = filled[:_FRESH], filled[_FRESH:]
        self._fill("bulk", _BACKLOG)
        self._crowded = self._import(4 * rounds)

    def _fill(self, provider: str, count: int) -> list[Any]:
        return store.fill(self._url, self._made.keys, [provider], count, lifetime=timedelta(hours=1),
                          due_in=_LATER)  # fmt: skip

    def _import(self, count: int) -> list[tuple[str, str]]:
        """Bring grants of the simulator in; (connection, grant) of each."""
        grants = self._simulator.mint("strict", count, owner="crowd")
        lines = "".join(import_line(grant, "sim", f"crowd-{n}") for n, grant in enumerate(grants))
        done = subprocess.run(
            [sys.executable, "-m", "workers.cli", "connections", "import", "-"], env=self._made.environment,
            cwd=ROOT, input=lines, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise SystemExit(f"the import failed: {done.stdout}{done.stderr}")
        rows = self._made.servers.query("SELECT user_id, id::text FROM connections WHERE provider_id = 'sim'")
        ids = {str(user): str(connection) for user, connection in rows}
        return [(ids[f"crowd-{n}"], grant.grant_id) for n, grant in enumerate(grants)]

    def start(self, stack: ExitStack) -> None:
        """Start workers, beat and callers."""
        for number in range(INTERACTIVE):
            self._made.worker(f"interactive-{number}", "on_demand", THREADS)
        self._made.worker("control", "control", 4)
        for number in range(BULK):
            self._made.worker(f"bulk-{number}", "refresh,health", BULK_THREADS)
        self._made.beat()
        self._by_service = Callers(self._made, "service", CALLING, stack)
        self._by_celery = Callers(self._made, "celery", CALLING, stack)
        self._reader = Callers(self._made, "service", 1, stack)
        self._sender = Callers(self._made, "celery", 1, stack)
        # Everybody has connections to everything, and every module is loaded.
        self._by_service.ask("service", self._fresh, 4 * CALLING)
        self._by_celery.ask("celery", self._fresh, 100 * CALLING)

    def crowd(self, how: str, callers: int) -> dict[str, Any]:
        """Let all callers want one stale token at once."""
        connection, grant = self._crowded.pop()
        self._made.servers.query(
            "UPDATE tokens SET expires_at = now() + interval '5 seconds' WHERE connection_id = %s::uuid"
            " RETURNING 1",
            connection,
        )
        met = self._callers(how).ask(how, [connection], callers)
        return {"presentations": self._simulator.grant(grant)["presentations"], **met}

    def crowd_for_a_fresh_one(self, how: str, callers: int) -> dict[str, Any]:
        """Let all callers want one fresh token at once: what the crowd itself costs."""
        return self._callers(how).ask(how, self._fresh[:1], callers)

    def _callers(self, how: str) -> Callers:
        return self._by_service if how == "service" else self._by_celery

    def paced(self, how: str, count: int) -> dict[str, Any]:
        """Let one caller after another have a token refreshed."""
        wanted, self._paced = self._paced[:count], self._paced[count:]
        callers = self._reader if how == "service" else self._sender
        return callers.ask(how, wanted, count, apart=_APART, force=True)

    def reading(self) -> dict[str, Any]:
        """Let one caller ask for fresh tokens, as fast as he is answered."""
        return self._reader.ask("reading", self._fresh, _READS)

    def fill_the_bulk_queues(self) -> None:
        """Make the backlog due and wait until the queue holds what it should."""
        store.make_due(self._url, provider="bulk")
        await_true(lambda: self._redis.llen("refresh") >= 100, 30.0, "the bulk queue was not filled")

    def empty_the_bulk_queues(self) -> int:
        """Take the backlog back; says how much of it was left."""
        left = len(
            self._made.servers.query(
                "UPDATE tokens SET refresh_due_at = now() + interval '50 minutes'"
                " WHERE provider_id = 'bulk' AND refresh_due_at <= now() RETURNING 1"
            )
        )
        await_true(lambda: self._redis.llen("refresh") == 0, 60.0, "the bulk queue was not emptied")
        return left


def _round(bench: Bench, number: int, callers: int, paced: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []

    def row(what: str, how: str, load: str, met: dict[str, Any]) -> None:
        rows.append({"round": number, "what": what, "how": how, "load": load, **met})
        print(rows[-1], file=sys.stderr, flush=True)

    for how in ("service", "celery"):
        row("crowd", how, "idle", bench.crowd(how, callers))
        row("crowd_fresh", how, "idle", bench.crowd_for_a_fresh_one(how, callers))
        row("paced", how, "idle", bench.paced(how, paced))
    row("reading", "service", "idle", bench.reading())
    bench.fill_the_bulk_queues()
    for how in ("service", "celery"):
        row("paced", how, "bulk", bench.paced(how, paced))
    row("reading", "service", "bulk", bench.reading())
    left = bench.empty_the_bulk_queues()
    if left == 0:
        raise SystemExit("the bulk queues ran empty meanwhile: give the benchmark a longer backlog")
    return rows


def compared(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the medians over the rounds, and what is promised of them."""

    def all_of(what: str, how: str, load: str, figure: str) -> list[float]:
        of = (what, how, load)
        return [float(one[figure]) for one in rows if (one["what"], one["how"], one["load"]) == of]

    def mid(what: str, load: str, figure: str = "p95_ms") -> dict[str, float]:
        return {how: median(all_of(what, how, load, figure)) for how in ("service", "celery")}

    ratios = {}
    for how in ("service", "celery"):
        both = zip(*(all_of("paced", how, load, "p95_ms") for load in ("bulk", "idle")), strict=True)
        ratios[how] = round(median(bulk / idle for bulk, idle in both), 3)
    crowds = [one for one in rows if one["what"] == "crowd"]
    return {
        "presentations": max(one["presentations"] for one in crowds),
        "unanswered": sum(
            one["outcomes"].get("none", 0) + one["outcomes"].get("deferred", 0) for one in rows
        ),
        "p95_ms": mid("crowd", "idle"),
        "allowed_p95_ms": LATENCY * 1000 + 100,
        "fresh_crowd_p95_ms": mid("crowd_fresh", "idle"),
        "paced_p95_ms": {load: mid("paced", load) for load in ("idle", "bulk")},
        "paced_p95_ratio": ratios,
        "read_p99_ms": {
            load: median(all_of("reading", "service", load, "p99_ms")) for load in ("idle", "bulk")
        },
    }


def main() -> None:
    """Run, write the result, and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--callers", type=int, default=1000, help="of one crowd (1000)")
    parser.add_argument("--paced", type=int, default=80, help="callers of one paced part (80)")
    given = parser.parse_args()
    before = conditions()
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="evergrant-on-demand-"))
        made = stack.enter_context(opened(Path(folder)))
        simulator = stack.enter_context(SimulatorProcess())
        bench = Bench(made, simulator, given.rounds, given.paced)
        bench.start(stack)
        rows = [
            row
            for number in range(1, given.rounds + 1)
            for row in _round(bench, number, given.callers, given.paced)
        ]
        incidents = len(simulator.client.incidents())
    result = {
        "command": f"python -m benchmarks.on_demand --rounds {given.rounds} --callers {given.callers}"
        f" --paced {given.paced}",
        "conditions": {**before, "load_average_at_the_end": conditions()["load_average"]},
        "processes": {"callers": CALLING, "interactive": INTERACTIVE, "threads": THREADS, "bulk": BULK,
                      "bulk_threads": BULK_THREADS},
        "provider_seconds": LATENCY,
        "rounds": rows,
        **compared(rows),
        "incidents_at_the_provider": incidents,
    }  # fmt: skip
    RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps({name: value for name, value in result.items() if name != "rounds"}, indent=2))


if __name__ == "__main__":
    main()
