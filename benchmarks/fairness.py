"""Do failing connections starve the others, and is any presented more often than its backoff says.

    python -m benchmarks.fairness [--seconds 60] [--pairs 2]

Real processes on one provider. Rounds without and with failures take turns: in the latter every call of half
of the connections fails, in one of three ways. Judged are the other half's lateness (commit minus planned
time), and from the provider's side the pauses between the failing ones' presentations.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from benchmarks.chaos.definitions import import_line
from benchmarks.chaos.figure import percentile
from benchmarks.chaos.pacing import shortest_wait
from benchmarks.chaos.plan import Dose
from benchmarks.chaos.processes import ROOT, Keeper
from benchmarks.chaos.record import Record
from benchmarks.chaos.servers import Servers
from benchmarks.chaos.world import World
from benchmarks.conditions import conditions
from simulator.process import SimulatorProcess
from workers.supervision.claim import claim_folder

RESULT: Final = ROOT / "benchmarks" / "results" / "fairness.json"
#: Connections of each half, and the life of their access tokens in seconds.
HALF: Final = 250
LIFETIME: Final = 60
#: How the failing half fails: as orders to the simulator.
WAYS: Final[dict[str, dict[str, object]]] = {
    "invalid_request": {"kind": "status", "status": 400, "error": "invalid_request"},
    "unavailable": {"kind": "status", "status": 503},
    "cut": {"kind": "drop_after"},
}
_DOSE: Final = Dose(
    name="fairness",
    connections={"gsc": 2 * HALF},
    lifetime=(LIFETIME, LIFETIME),
    replay_window=240,
    latency_ms=(40, 200),
    seconds=0,
    quiet_seconds=0,
    counts={},
    freeze_redis=0,
    postgres_away=(0, 0),
    measured=0,
    bulk_workers=2,
    threads=8,
)
_LATENESS: Final = (
    "SELECT coalesce((a.detail->>'late_seconds')::float, 0) FROM activity a"
    " JOIN connections c ON c.id = a.connection_id"
    " WHERE a.kind = 'refreshed' AND c.user_id LIKE 'healthy-%%'"
    " AND a.at >= to_timestamp(%s) AND a.at < to_timestamp(%s)"
)
_OVERDUE: Final = (
    "SELECT greatest(0, extract(epoch FROM now() - t.refresh_due_at)) FROM tokens t"
    " JOIN connections c ON c.id = t.connection_id"
    " WHERE c.user_id LIKE 'healthy-%%' AND t.refresh_due_at < now()"
)
_TROUBLED: Final = (
    "SELECT (SELECT count(*) FROM tokens WHERE failures > 0 OR status <> 'active'"
    " OR refresh_due_at < now() - interval '3 seconds')"
    " + (SELECT count(*) FROM provider_holds WHERE held_until IS NOT NULL)"
)
#: What the promise allows: the healthy ones' p99 with failures, compared with the one without.
MOST_RATIO: Final = 1.1
MOST_SECONDS: Final = 1.0
#: The longest backoff of such tokens, a doubt, and a held provider's longest wait.
_CALM_SECONDS: Final = 300.0


def main() -> None:
    """Run, write the result, and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="of one round (60)")
    parser.add_argument("--pairs", type=int, default=2, help="of rounds, for each way of failing (2)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="evergrant-fairness-") as folder:
        result = _run(Path(folder), seconds=given.seconds, pairs=given.pairs)
    result = {"command": f"python -m benchmarks.fairness --seconds {given.seconds:g} --pairs {given.pairs}",
              **result}  # fmt: skip
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))


def _run(folder: Path, *, seconds: float, pairs: int) -> dict[str, Any]:
    before = conditions()
    with ExitStack() as stack:
        claimed = stack.enter_context(claim_folder(folder / "servers"))
        servers = Servers(claimed, Record())
        stack.callback(servers.stop)
        servers.start()
        simulator = stack.enter_context(SimulatorProcess(arguments=("--history", "100000")))
        world = World(_DOSE, folder, servers, simulator, Record())
        stack.callback(world.stop)
        stack.enter_context(Keeper([*world.singles, world.second_beat]))
        _start(world)
        rounds = []
        for way in WAYS:
            for number in range(pairs):
                for failing in (False, True):
                    rounds.append(_round(world, way if failing else None, way, number, seconds))
                    print(rounds[-1], file=sys.stderr, flush=True)
        paced = pacing(simulator.client.presentations("failing"))
    return {
        "conditions": {**before, "load_average_at_the_end": conditions()["load_average"]},
        "connections": {"healthy": HALF, "failing": HALF},
        "access_token_seconds": LIFETIME,
        "rounds": rounds,
        "ways": {way: compared([one for one in rounds if one["pair_of"] == way]) for way in WAYS},
        "presented_sooner_than_the_backoff_allows": paced,
    }


def _start(world: World) -> None:
    """Start one machine's workers and beat, and import both halves."""
    done = world.cli("migrate", seconds=120)
    if done.returncode != 0:
        raise SystemExit(f"migrate failed: {done.stdout}{done.stderr}")
    for single in (*world.singles, world.second_beat):
        single.use(EVERGRANT_LOG_LEVEL="info")
        single.want()
    client = world.simulator.client
    client.configure("google", latency={"p50": _DOSE.latency_ms[0], "p99": _DOSE.latency_ms[1]})
    lines = []
    for half in ("healthy", "failing"):
        minted = client.mint("google", HALF, owner=half, lifetime=LIFETIME, first_lifetime=[35, LIFETIME])
        lines += [import_line(grant, "gsc", f"{half}-{number}") for number, grant in enumerate(minted)]
    done = world.cli("connections", "import", "-", stdin="".join(lines), seconds=120)
    if done.returncode != 0:
        raise SystemExit(f"the import failed: {done.stdout}{done.stderr}")


def _round(world: World, failing: str | None, way: str, number: int, seconds: float) -> dict[str, Any]:
    """Measure for so long, from a calm start."""

    def calm() -> bool:
        return world.servers.query(_TROUBLED)[0][0] == 0

    if not world.await_true(calm, _CALM_SECONDS, pause=0.5):
        raise SystemExit("the deployment did not come to rest between two rounds")
    if failing is not None:
        world.simulator.client.fault(**WAYS[failing], owner="failing", dialect="google", count=None)  # type: ignore[arg-type]  # the kind is a str
    began = time.time()
    time.sleep(seconds)
    ended = time.time()
    late = [float(str(row[0])) for row in world.servers.query(_LATENESS, began, ended)]
    # Whoever still waits at the end is late already, and would be missing from the activity.
    waiting = [float(str(row[0])) for row in world.servers.query(_OVERDUE)]
    holds = len(world.servers.query("SELECT 1 FROM provider_holds WHERE held_until IS NOT NULL"))
    world.simulator.client.clear_faults()
    both = late + waiting
    return {
        "pair_of": way,
        "pair": number + 1,
        "failing": failing is not None,
        "refreshes": len(late),
        "waiting_at_the_end": len(waiting),
        "lateness_p50_seconds": _rounded(percentile(both, 0.5)),
        "lateness_p99_seconds": _rounded(percentile(both, 0.99)),
        "providers_held_at_the_end": holds,
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


def compared(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Compare the medians of both kinds of round."""
    p99 = {
        failing: percentile([one["lateness_p99_seconds"] for one in rounds if one["failing"] == failing], 0.5)
        for failing in (False, True)
    }
    without, with_failures = p99[False], p99[True]
    if without is None or with_failures is None:
        raise SystemExit("a round had no refresh of a healthy connection")
    return {
        "p99_without_seconds": without,
        "p99_with_seconds": with_failures,
        "p99_ratio": round(with_failures / without, 3) if without else None,
        "p99_difference_seconds": round(with_failures - without, 3),
        "kept": with_failures <= without * MOST_RATIO and with_failures - without <= MOST_SECONDS,
    }


def pacing(presentations: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Compare the pauses of the failing half with what the backoff allows, from the provider's side.

    Args:
        presentations: As the simulator tells them, a grant's in the order in which they ended.
    """
    last: dict[str, tuple[int, float]] = {}
    judged, too_soon, most_a_minute = 0, [], 0
    starts: dict[str, list[float]] = {}
    for row in presentations:
        grant, started = row["grant_id"], row["started_at"]
        failures, ended = last.get(grant, (0, 0.0))
        if failures:
            judged += 1
            rested, least = started - ended, shortest_wait(failures, LIFETIME)
            if rested < least - 0.1:
                too_soon.append(
                    {"grant": grant, "failures": failures, "rested": round(rested, 3), "least": least}
                )
        failed = row["fault"] is not None
        last[grant] = (failures + 1 if failed else 0, row["ended_at"])
        times = starts.setdefault(grant, [])
        times.append(started)
        most_a_minute = max(most_a_minute, sum(started - other < 60 for other in times))
    return {
        "judged": judged,
        "value": len(too_soon),
        "ones": too_soon[:50],
        "most_presentations_of_one_connection_in_a_minute": most_a_minute,
    }


if __name__ == "__main__":
    main()
