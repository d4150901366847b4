"""Run `evergrant up --demo` for ten minutes, and ask both sides what happened.

    python -m benchmarks.demo [--minutes 10]

The provider's side is the simulator's own count: presentations, concurrent ones, repeated ones, and refreshes
that came after expiry. Our side is what the command line says of connections and alerts.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.conditions import conditions
from simulator.client import SimulatorClient

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks" / "results" / "demo.json"
EVERGRANT = [sys.executable, "-m", "workers.cli"]


def main() -> None:
    """Run, measure, write the result, and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--port", type=int, default=8180)
    parser.add_argument("--flower-port", type=int, default=5655)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="evergrant-demo-") as folder:
        result = run(Path(folder), minutes=given.minutes, port=given.port, flower_port=given.flower_port)
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))


def run(folder: Path, *, minutes: float, port: int, flower_port: int) -> dict[str, Any]:
    """Run the demo in `folder` for so many minutes and return the figures."""
    environment = {**os.environ, "EVERGRANT_DATA_DIR": str(folder / "data"), "PYTHONPATH": str(ROOT)}
    log = folder / "up.log"
    with log.open("wb") as output:
        up = subprocess.Popen(
            [*EVERGRANT, "up", "--demo", "--port", str(port), "--flower-port", str(flower_port)],
            env=environment, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            simulator = SimulatorClient(_await(log, r"simulator at (http://[\d.:]+)", up))
            first = float(_await(log, r"first refresh (\d+) s", up))
            time.sleep(minutes * 60)
            report = simulator.report()
            connections = _rows(environment, "connections")
            alerts = _rows(environment, "alerts")
            last_line = [line for line in log.read_text().splitlines() if line.startswith("connections ")][-1]
        finally:
            up.send_signal(signal.SIGINT)
            stopped = up.wait(timeout=120)
    return _figures(report, connections, alerts) | {
        "command": f"python -m benchmarks.demo --minutes {minutes:g}",
        "conditions": conditions(),
        "minutes": minutes,
        "seconds_to_first_refresh": first,
        "last_status_line": last_line,
        "exit_status_after_interrupt": stopped,
    }


def _figures(report: Any, connections: list[Any], alerts: list[Any]) -> dict[str, Any]:  # noqa: ANN401 - JSON
    total = report["total"]
    revoked = {grant for ids in total["grants"]["dead_ids"].values() for grant in ids}
    by_connection = {row["id"]: row for row in connections}
    told = {
        by_connection[alert["connection_id"]]["metadata"]["grant_id"]
        for alert in alerts
        if alert["connection_id"] is not None
    }
    now = datetime.now(UTC)
    expired = [
        row["id"]
        for row in connections
        if row["status"] == "active"
        and row["expires_at"]
        and datetime.fromisoformat(row["expires_at"]) <= now
    ]
    return {
        "connections": len(connections),
        "by_status": _count(row["status"] for row in connections),
        "by_provider": _count(row["provider_id"] for row in connections),
        "provider_side": {
            "presentations": total["presentations"],
            "refreshed": total["refreshed"],
            "concurrent_presentations": total["concurrent_presentations"],
            "repeated_presentations_of_spent_tokens": total["reuse"],
            "refreshes_after_expiry": total["lapses"],
            "checks": total["checks"],
            "uses_of_expired_access_tokens": total["expired_token_uses"],
            "grants_alive": total["grants"]["alive"],
            "grants_revoked": len(revoked),
        },
        "expired_and_active_at_the_end": len(expired),
        "alerts": len(alerts),
        "alerts_for_revoked_grants": len(told & revoked),
        "alerts_for_living_grants": len(told - revoked),
        "revoked_grants_without_an_alert": len(revoked - told),
        "alerts_of_other_kinds": sum(alert["connection_id"] is None for alert in alerts),
    }


def _rows(environment: dict[str, str], what: str) -> list[Any]:
    listing = subprocess.run(
        [*EVERGRANT, what, "list", "--json"], env=environment, check=True, capture_output=True
    )
    rows: list[Any] = json.loads(listing.stdout)
    return rows


def _await(log: Path, pattern: str, up: subprocess.Popen[bytes]) -> str:
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline and up.poll() is None:
        found = re.search(pattern, log.read_text(errors="replace"))
        if found:
            return found.group(1)
        time.sleep(0.2)
    raise SystemExit(f"no {pattern!r} within three minutes:\n{log.read_text(errors='replace')}")


def _count(words: Any) -> dict[str, int]:  # noqa: ANN401 - any iterable of words
    counts: dict[str, int] = {}
    for word in words:
        counts[word] = counts.get(word, 0) + 1
    return dict(sorted(counts.items()))


if __name__ == "__main__":
    main()
