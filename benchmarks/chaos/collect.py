"""Collects the evidence: the simulator's, Postgres's, the workers' logs, and the harness's own record."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from benchmarks.chaos.evidence import (
    Alert,
    Evidence,
    Facts,
    Holding,
    Life,
    Line,
    Presentation,
    Row,
    Said,
    Send,
)
from benchmarks.chaos.world import OWNER, World
from domain.timing import ROOMY, needed_window

#: Events beside `presenting` that the judge uses: an answer's way when Postgres is away, and its end.
_EVENTS: Final = frozenset(
    {
        "answer_held_in_memory", "held_answer_landed", "answer_staged", "staged_answer_landed",
        "answer_superseded", "answer_for_a_gone_grant", "refresh_failed", "lease_too_short",
    }
)  # fmt: skip
#: Longer than a commit takes on a loaded machine.
_COMMIT_SECONDS: Final = 3.0
_ROWS: Final = (
    "SELECT c.id, c.provider_id, c.user_id, t.status, t.version, t.reauth_reason,"
    " extract(epoch FROM t.expires_at), extract(epoch FROM t.refresh_due_at), t.failures"
    " FROM connections c JOIN tokens t ON t.connection_id = c.id"
)
_ACTIVITY: Final = (
    "SELECT extract(epoch FROM at), connection_id, kind, attempt_id, version, code FROM activity ORDER BY id"
)
_ALERTS: Final = (
    "SELECT a.cause, a.kind, a.status, a.connection_id, a.provider_id, a.detail->>'reason',"
    " extract(epoch FROM a.first_seen_at), extract(epoch FROM a.resolved_at),"
    " (SELECT count(*) FROM alert_events e WHERE e.alert_id = a.id AND e.event = 'opened')"
    " FROM alerts a ORDER BY a.first_seen_at"
)


def collect(world: World, began: float, ended: float, *, recovered: bool) -> Evidence:
    """Return what both sides know now.

    The provider's word is taken first: what it has answered by then, the workers have said and committed a
    moment later.
    """
    query, client = world.servers.query, world.simulator.client
    presentations = [Presentation(**row) for row in client.presentations(OWNER)]
    lives = [Life(row["grant_id"], row["dead_reason"], row["died_at"]) for row in client.lives(OWNER)]
    time.sleep(_COMMIT_SECONDS)
    rows = [
        Row(str(row[0]), str(row[1]), str(row[2]), str(row[3]), int(str(row[4])), _text(row[5]),
            _number(row[6]), _number(row[7]), int(str(row[8])))
        for row in query(_ROWS)
    ]  # fmt: skip
    sends, said = read_logs(world)
    lease, least = ROOMY.lease.total_seconds(), world.dose.lifetime[0]
    return Evidence(
        presentations=presentations,
        lives=lives,
        sends=sends,
        said=said,
        activity=[
            Line(float(str(row[0])), str(row[1]), str(row[2]), _text(row[3]),
                 None if row[4] is None else int(str(row[4])), _text(row[5]))
            for row in query(_ACTIVITY)
        ],
        rows=rows,
        holdings=_holdings(world, rows),
        alerts=[
            Alert(str(row[0]), str(row[1]), str(row[2]), _text(row[3]), _text(row[4]), _text(row[5]),
                  float(str(row[6])), _number(row[7]), int(str(row[8])))
            for row in query(_ALERTS)
        ],
        kills=list(world.record.kills),
        stops=list(world.record.stops),
        outages=list(world.record.outages),
        deeds=list(world.record.deeds),
        facts=Facts(
            deadline=ROOMY.deadline.total_seconds(),
            lease=lease,
            needed=needed_window(ROOMY).total_seconds(),
            replay_window=float(world.dose.replay_window),
            least_lifetime=float(least),
        ),
        began=began,
        ended=ended,
        looked_at=time.time(),
        recovered=recovered,
    )  # fmt: skip


def _holdings(world: World, rows: list[Row]) -> list[Holding]:
    ids = {(row.provider, row.user): row.connection_id for row in rows}
    return [
        Holding(
            entry.grant_id,
            ids.get((entry.provider, entry.user), ""),
            entry.provider,
            entry.since,
            entry.until,
            entry.how,
            entry.ended_how,
        )
        for entry in world.book
    ]


def read_logs(world: World) -> tuple[list[Send], list[Said]]:
    """Read what the workers said, with their wrong clocks put right."""
    sends: list[Send] = []
    said: list[Said] = []
    for target in world.workers:
        for event in _events(target.log):
            at = _instant(event["timestamp"]) - target.skew
            attempt, connection = event.get("attempt_id"), event.get("connection_id")
            if event["event"] == "presenting":
                until = at + event["lease_left_ms"] / 1000
                sends.append(Send(str(attempt), str(connection), target.name, at, until))
            elif event["event"] in _EVENTS:
                said.append(Said(event["event"], attempt, connection, target.name, at, event.get("code")))
    return sorted(sends, key=lambda send: send.at), sorted(said, key=lambda one: one.at)


def _events(log: Path) -> Iterator[dict[str, Any]]:
    for path in (log.with_name(log.name + ".1"), log):
        if not path.exists():
            continue
        with path.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                # A process that was killed may have left half a line, and libraries write plain ones.
                if not line.startswith("{"):
                    continue
                try:
                    event = json.loads(line)
                except ValueError:
                    continue
                if isinstance(event, dict) and isinstance(event.get("event"), str) and "timestamp" in event:
                    yield event


def _instant(text: str) -> float:
    return datetime.fromisoformat(text).astimezone(UTC).timestamp()


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _number(value: object) -> float | None:
    return None if value is None else float(str(value))
