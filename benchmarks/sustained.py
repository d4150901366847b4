"""Is everything refreshed in time at a given rate, and what happens beyond it.

    python -m benchmarks.sustained [--seconds 600] [--overload-seconds 240] [--recovery-seconds 360] …

Real beat, interactive worker and bulk workers. First everything is due at once: what is committed each
second then, publishing included, is the maximum. Then tokens become due evenly, at shares of it: 0.8 for ten
minutes, 1.5 for a while, and 0.5 until all is well again. Judged are lateness (commit minus planned time),
tokens that expired, the order, and when the capacity alert opened and ended.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import psutil

from benchmarks.conditions import conditions
from benchmarks.load import store
from benchmarks.load.cpu import used
from benchmarks.load.deployment import ROOT, Deployment, await_true, opened
from benchmarks.load.lateness import Refreshed, distribution, evenness, order, per_second, rounded
from domain.shortage import OVER_AFTER

RESULT: Final = ROOT / "benchmarks" / "results" / "sustained.json"
PROVIDER: Final = "bench"
#: The access tokens' life, and the part of it that is left when they are due, as in `domain.schedule`.
LIFETIME: Final = timedelta(hours=1)
RESERVE: Final = LIFETIME * 0.2
#: Tokens stored in a second, at worst; a phase begins when its last token is stored.
_FILLED_A_SECOND: Final = 3000
_STALLED_SECONDS: Final = 900.0
_REFRESHED: Final = (
    "SELECT connection_id, extract(epoch FROM min(at))::float FROM activity"
    " WHERE kind = 'refreshed' AND at >= to_timestamp(%s) GROUP BY connection_id"
)
_COUNT: Final = "SELECT count(*) FROM activity WHERE kind = 'refreshed'"
_OVERDUE: Final = "SELECT count(*) FROM tokens WHERE provider_id = %s AND refresh_due_at <= now()"
_ALERTS: Final = (
    "SELECT extract(epoch FROM a.first_seen_at)::float, extract(epoch FROM a.resolved_at)::float, a.count,"
    " e.payload->>'severity', e.payload->>'title', e.payload->>'help', e.payload->'detail',"
    " a.severity, a.title, a.help, a.detail"
    " FROM alerts a JOIN alert_events e ON e.alert_id = a.id AND e.event = 'opened'"
    " WHERE a.kind = 'capacity' ORDER BY a.first_seen_at, e.id"
)


def main() -> None:
    """Run, write the result, and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, default=20_000, help="due at once, for the maximum (20000)")
    parser.add_argument("--rate", type=float, help="refreshes a second that count as 1; None: the maximum")
    parser.add_argument("--share", type=float, default=0.8, help="of it that becomes due (0.8)")
    parser.add_argument("--seconds", type=float, default=600.0, help="for so long (600)")
    parser.add_argument("--overload", type=float, default=1.5, help="share beyond what can be done (1.5)")
    parser.add_argument("--overload-seconds", type=float, default=240.0, help="(240); 0: none")
    parser.add_argument("--recovery", type=float, default=0.5, help="share after that (0.5)")
    parser.add_argument("--recovery-seconds", type=float, default=360.0, help="(360)")
    parser.add_argument("--workers", type=int, default=2, help="bulk worker processes (2)")
    parser.add_argument("--threads", type=int, default=8, help="of each (8)")
    parser.add_argument("--interactive", type=int, default=1, help="workers that share beat's ticks (1)")
    parser.add_argument("--p50", type=float, default=0.0, help="seconds that the provider takes (0)")
    parser.add_argument("--p99", type=float, help="with --p50: log-normal")
    parser.add_argument("--dry", action="store_true", help="do not write the result")
    given = parser.parse_args()
    before = conditions()
    with tempfile.TemporaryDirectory(prefix="evergrant-sustained-") as folder, opened(Path(folder)) as made:
        result = {
            "command": f"python -m benchmarks.sustained {' '.join(sys.argv[1:])}".rstrip(),
            "conditions": before,
            **Run(made, given).whole(),
        }
    result["conditions"] = {**before, "load_average_at_the_end": conditions()["load_average"]}
    if not given.dry:
        RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))


@dataclass(frozen=True, slots=True)
class Phase:
    """Tokens that become due evenly: so many, from an instant on. A rate of None: all at that instant."""

    name: str
    ids: list[UUID]
    began: float
    rate: float | None

    def due(self, number: int) -> float:
        """Return when one of them is due."""
        return self.began + (number / self.rate if self.rate else 0.0)


class Run:
    """One deployment, and what becomes due on it."""

    def __init__(self, deployment: Deployment, given: argparse.Namespace) -> None:
        self._made = deployment
        self._given = given
        slow = (
            ["--p50-ms", str(given.p50 * 1000), "--p99-ms", str((given.p99 or given.p50) * 1000)]
            if given.p50
            else []
        )
        url, endpoint = deployment.endpoint(*slow)
        deployment.define(
            {PROVIDER: url}, lifetime=int(LIFETIME.total_seconds()), more="max_concurrency = 200"
        )
        deployment.migrate()
        self._url = deployment.servers.postgres.url
        bulk = [deployment.worker(f"bulk-{n}", "refresh,health", given.threads) for n in range(given.workers)]
        interactive = [
            deployment.worker(f"interactive-{n}", "on_demand,control", 16) for n in range(given.interactive)
        ]
        beat = deployment.beat()
        self._groups = {
            "bulk": [psutil.Process(worker.pid) for worker in bulk],
            "interactive": [psutil.Process(worker.pid) for worker in interactive],
            "beat": [psutil.Process(beat.pid)],
            "endpoint": [psutil.Process(endpoint.pid)],
        }

    def whole(self) -> dict[str, Any]:
        """Measure the maximum, then what is punctual at less, then what happens at more and after it."""
        given = self._given
        phases = self._run([self._at_once(given.tokens)])
        base = given.rate or phases["maximum"]["committed_per_second"]
        if base is None:
            raise SystemExit("the maximum was not measured: too few tokens")
        if given.seconds:
            phases |= self._run(self._spread([("punctual", base * given.share, given.seconds)]))
        alerts: list[dict[str, Any]] = []
        if given.overload_seconds:
            beyond = self._spread(
                [
                    ("overload", base * given.overload, given.overload_seconds),
                    ("recovery", base * given.recovery, given.recovery_seconds),
                ]
            )
            phases |= self._run(beyond)
            self._await_calm()
            alerts = self._alerts(beyond[0].began)
        return {
            "workers": given.workers,
            "threads": given.threads,
            "interactive_workers": given.interactive,
            "endpoint_seconds": {"p50": given.p50, "p99": given.p99},
            "access_token_seconds": LIFETIME.total_seconds(),
            "due_before_expiry_seconds": RESERVE.total_seconds(),
            "refreshes_a_second_that_count_as_1": base,
            "phases": phases,
            "capacity_alerts": alerts,
        }

    def _at_once(self, count: int) -> Phase:
        # Stored as due in a while, so that nothing begins before all of it is there.
        lead = count / _FILLED_A_SECOND + 5
        began = time.time() + lead
        ids = self._fill(count, lead, timedelta(0))
        return Phase("maximum", ids, began, None)

    def _spread(self, parts: list[tuple[str, float, float]]) -> list[Phase]:
        """Store what becomes due evenly, one part after the other, before the first of it is due."""
        began = time.time() + sum(rate * seconds for _, rate, seconds in parts) / _FILLED_A_SECOND + 5
        phases = []
        for name, rate, seconds in parts:
            ids = self._fill(int(rate * seconds), began - time.time(), timedelta(seconds=1 / rate))
            phases.append(Phase(name, ids, began, rate))
            began += seconds
        if time.time() > phases[0].began:
            raise SystemExit(
                "the tokens were stored too slowly: the first were due before the last was there"
            )
        return phases

    def _fill(self, count: int, due_in: float, every: timedelta) -> list[UUID]:
        return store.fill(
            self._url, self._made.keys, [PROVIDER], count, lifetime=LIFETIME,
            due_in=timedelta(seconds=due_in), every=every, reserve=RESERVE,
        )  # fmt: skip

    def _run(self, phases: list[Phase]) -> dict[str, dict[str, Any]]:
        """Let the phases pass, one after the other, and say what each was like."""
        passed = [self._passed(phase) for phase in phases]
        # Who waits still is later than any: everything is judged once everything is committed.
        self._await_nothing_due()
        at = {row[0]: float(str(row[1])) for row in self._made.servers.query(_REFRESHED, phases[0].began - 1)}
        shown: dict[str, dict[str, Any]] = {}
        for phase, (ended, seconds, done, cpu) in zip(phases, passed, strict=True):
            found = [Refreshed(phase.due(number), at[one]) for number, one in enumerate(phase.ids)]
            rate = per_second(found) if phase.rate is None else round(done / seconds, 1)
            shown[phase.name] = {
                "due": len(phase.ids),
                "due_per_second": rounded(phase.rate),
                "seconds": round(seconds, 1),
                "committed_per_second": rate,
                "waiting_when_it_ended": sum(one.committed > ended for one in found),
                "lateness_seconds": distribution(found),
                "expired": sum(one.late > RESERVE.total_seconds() for one in found),
                "order_of_plan_and_commit": order(found) if phase.rate else None,
                "cpu_seconds_per_second": {name: round(each / seconds, 3) for name, each in cpu.items()},
            }
            print(phase.name, shown[phase.name], file=sys.stderr, flush=True)
            if phase.rate:
                shown[phase.name]["evenness"] = evenness(found, phase.began)
        return shown

    def _passed(self, phase: Phase) -> tuple[float, float, int, dict[str, float]]:
        """Wait until the phase is over; return when, after how long, what was committed, and the cost."""
        time.sleep(max(0.0, phase.began - time.time()))
        began, before, spent = time.monotonic(), self._count(), used(self._groups)
        if phase.rate is None:
            self._await_nothing_due()
        else:
            time.sleep(max(0.0, phase.due(len(phase.ids)) - time.time()))
        ended, seconds = time.time(), time.monotonic() - began
        return ended, seconds, self._count() - before, used(self._groups).since(spent)

    def _count(self) -> int:
        return int(str(self._made.servers.query(_COUNT)[0][0]))

    def _await_nothing_due(self) -> None:
        await_true(
            lambda: self._made.servers.query(_OVERDUE, PROVIDER)[0][0] == 0,
            _STALLED_SECONDS,
            "refreshing has stalled",
            pause=0.5,
        )

    def _await_calm(self) -> None:
        """Wait until no capacity alert is open, for twice the time in which it must end."""
        open_ones = "SELECT 1 FROM alerts WHERE kind = 'capacity' AND status <> 'resolved'"
        await_true(
            lambda: not self._made.servers.query(open_ones),
            OVER_AFTER.total_seconds() * 4,
            "the capacity alert did not end",
            pause=1.0,
        )

    def _alerts(self, began: float) -> list[dict[str, Any]]:
        """Return what was told, in seconds after the overload began."""
        told = []
        for row in self._made.servers.query(_ALERTS):
            opened_at, resolved_at, count, *words = row
            told.append(
                {
                    "opened_after_seconds": round(float(str(opened_at)) - began, 1),
                    "resolved_after_seconds": round(float(str(resolved_at)) - began, 1),
                    "seen": count,
                    "as_opened": dict(zip(("severity", "title", "help", "detail"), words[:4], strict=True)),
                    "as_last_renewed": dict(
                        zip(("severity", "title", "help", "detail"), words[4:], strict=True)
                    ),
                }
            )
        return told


if __name__ == "__main__":
    main()
