"""How things stand after recovery: is anything left undone, and do the alerts tell the truth. Pure."""

from __future__ import annotations

from typing import Final

from benchmarks.chaos.evidence import Alert, Holding, Row
from benchmarks.chaos.figure import Figure, Item, ago
from benchmarks.chaos.matching import Case

#: A due token waits for its tick, its message and its turn.
_ITS_TURN: Final = 15.0
_OPEN: Final = frozenset({"open", "acknowledged"})


def left_undone(case: Case) -> Figure:
    """After recovery no token is due and unrefreshed, in doubt, or expired."""
    now = case.evidence.looked_at
    broken: list[Item] = []
    for row in case.evidence.rows:
        why = None
        if row.status == "in_doubt":
            why = "still in doubt"
        elif row.status == "active" and row.expires_at is not None and row.expires_at <= now:
            why = "expired"
        elif row.status == "active" and (row.refresh_due_at is None or row.refresh_due_at < now - _ITS_TURN):
            why = "due"
        if why is not None:
            due = ago(row.refresh_due_at, case.evidence.began)
            broken.append({"connection": row.connection_id, "kind": row.provider, "because": why, "due": due})
    if not case.evidence.recovered:
        broken.append({"because": "recovery was not over within its time"})
    counts = {"connections": len(case.evidence.rows)}
    return Figure("left_undone", "Tokens due, in doubt or expired after recovery", broken, [], counts)


def alerts(case: Case) -> Figure:
    """Each alert is true, says the true reason, was opened once, and none is missing."""
    judge = _Alerts(case)
    broken = judge.untrue() + judge.missing()
    opened = [alert.kind for alert in case.evidence.alerts]
    counts = {
        "opened": {kind: opened.count(kind) for kind in sorted(set(opened))},
        "open_at_the_end": sum(alert.status in _OPEN for alert in case.evidence.alerts),
    }
    return Figure("alerts_untrue_or_missing", "Alerts untrue or missing", broken, judge.excused, counts)


class _Alerts:
    """Compares the alerts with the rows and with the provider."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self._rows = {row.connection_id: row for row in case.evidence.rows}
        self._dead = {life.grant_id: life for life in case.evidence.lives if life.dead_reason is not None}
        self._current: dict[str, Holding] = {
            held.connection_id: held for held in case.evidence.holdings if held.until is None
        }
        self.excused: list[Item] = []

    def untrue(self) -> list[Item]:
        """Return the alerts that are not so."""
        found: list[Item] = []
        for alert in self._case.evidence.alerts:
            why = None
            if alert.openings != 1:
                why = f"it was announced {alert.openings} times"
            elif alert.status in _OPEN:
                why = self._why_untrue(alert)
            if why is not None:
                found.append({"alert": alert.kind, "cause": alert.cause, "because": why})
        return found

    def _why_untrue(self, alert: Alert) -> str | None:
        row = self._rows.get(alert.connection_id or "")
        if alert.connection_id is None:
            return "open about something that has recovered"
        if row is None:
            return "about a connection that there is not"
        if alert.kind == "needs_reauth":
            return self._why_untrue_about_death(alert, row)
        if alert.kind == "failing" and row.failures > 0 and row.status in ("active", "in_doubt"):
            return None
        return f"open although the connection is {row.status}"

    def _why_untrue_about_death(self, alert: Alert, row: Row) -> str | None:
        if row.status != "needs_reauth":
            return f"it says that the user must connect again, and the connection is {row.status}"
        if alert.reason != row.reauth_reason:
            return f"it says {alert.reason}, the connection {row.reauth_reason}"
        held = self._current.get(row.connection_id)
        life = None if held is None else self._dead.get(held.grant_id)
        if held is None or life is None:
            return "the grant lives at the provider"
        truth = "rotation_probably_lost" if life.dead_reason == "reuse" else "grant_rejected"
        if alert.reason == truth:
            return None
        doubts = self._case.doubts(row.connection_id, (life.died_at or 0.0) - 180, alert.opened_at)
        if truth == "grant_rejected" and doubts:
            # Revoked while an answer was in doubt: nobody on our side could tell the two apart.
            self.excused.append(
                {"alert": alert.kind, "cause": alert.cause, "because": "revoked while in doubt"}
            )
            return None
        return f"it says {alert.reason}, and the truth is {truth}"

    def missing(self) -> list[Item]:
        """Return what nobody was told of."""
        told = {
            alert.connection_id
            for alert in self._case.evidence.alerts
            if alert.kind == "needs_reauth" and alert.status in _OPEN
        }
        found: list[Item] = []
        for row in self._rows.values():
            held = self._current.get(row.connection_id)
            dead = held is not None and held.grant_id in self._dead
            if row.status == "needs_reauth" and row.connection_id not in told:
                found.append(
                    {"connection": row.connection_id, "because": "needs reauth, and no alert is open"}
                )
            elif dead and row.status not in ("needs_reauth", "disconnected"):
                because = f"the grant is dead at the provider, and the connection is {row.status}"
                found.append({"connection": row.connection_id, "because": because})
        return found
