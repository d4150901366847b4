"""The end of what was told about staged answers, and of the register's old rows."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from services import alerts
from storage.alerts import Alert, AlertStore
from storage.processes import ProcessStore

#: A sweep that still sees the cause counts its alert every few seconds. Uncounted for this long: it is over.
QUIET: Final = timedelta(minutes=1)


class StagedWatch:
    """A part of housekeeping."""

    def __init__(self, processes: ProcessStore, alert_store: AlertStore) -> None:
        self._processes = processes
        self._alerts = alert_store

    def run(self) -> None:
        """Resolve the alerts about staged answers that are stored by now; forget processes of long ago.

        Raises:
            ServiceUnavailable: Postgres is away.
        """
        registered = self._processes.all()
        now = self._processes.now()
        if not any(process.unsafe and process.living for process in registered):
            self._resolve(alerts.ANSWERS_UNSAFE, unseen_since=now)
        if not any(process.staged for process in registered):
            # Somebody else's staged answers are no process' here: copies in Redis, files that cannot be read.
            for kind in (alerts.STAGED_UNREADABLE, alerts.STAGED_REFUSED):
                self._resolve(kind, unseen_since=now - QUIET)
        self._processes.forget()

    def _resolve(self, kind: str, *, unseen_since: datetime) -> None:
        for alert in self._unresolved(kind):
            if alert.last_seen_at <= unseen_since:
                self._alerts.resolve(alert.cause)

    def _unresolved(self, kind: str) -> list[Alert]:
        return self._alerts.list(statuses=("open", "acknowledged"), kind=kind)
