"""What is told about staged answers from afar: processes that are lost with some, and the end of alerts."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from domain.doubt import LONGEST_GRACE
from services import alerts
from storage.alerts import Alert, AlertStore
from storage.processes import Process, ProcessStore

#: A sweep that still sees the cause counts its alert every few seconds. Uncounted for this long: it is over.
QUIET: Final = timedelta(minutes=1)


class StagedWatch:
    """A part of housekeeping."""

    def __init__(self, processes: ProcessStore, alert_store: AlertStore) -> None:
        self._processes = processes
        self._alerts = alert_store

    def run(self) -> None:
        """Tell of processes that are lost with answers; resolve what is stored by now; forget old rows.

        Raises:
            ServiceUnavailable: Postgres is away.
        """
        # Before the register is read: a danger that is told after it is not resolved by it.
        now = self._processes.now()
        registered = self._processes.all()
        if not any(process.unsafe and process.living for process in registered):
            self._resolve(alerts.ANSWERS_UNSAFE, unseen_since=now)
        if not any(process.staged for process in registered):
            # Somebody else's staged answers are no process' here: copies in Redis, files that cannot be read.
            for kind in (alerts.STAGED_UNREADABLE, alerts.STAGED_REFUSED):
                self._resolve(kind, unseen_since=now - QUIET)
        self._tell_lost(registered)
        self._processes.forget()

    def _tell_lost(self, registered: list[Process]) -> None:
        """Tell of processes that are known to hold answers, and are silent for longer than any grace."""
        lost = {process.id for process in registered if process.staged and process.silent > LONGEST_GRACE}
        for process in registered:
            if process.id in lost:
                self._alerts.open(alerts.process_lost(process.id, process.role, process.host, process.staged))
        for alert in self._unresolved(alerts.PROCESS_LOST):
            if alert.detail["process"] not in lost:
                self._alerts.resolve(alert.cause)

    def _resolve(self, kind: str, *, unseen_since: datetime) -> None:
        for alert in self._unresolved(kind):
            if alert.last_seen_at <= unseen_since:
                self._alerts.resolve(alert.cause)

    def _unresolved(self, kind: str) -> list[Alert]:
        return self._alerts.list(statuses=("open", "acknowledged"), kind=kind)
