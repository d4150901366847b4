"""The end of what was told about staged answers, and of the register's old rows."""

from __future__ import annotations

from services import alerts
from storage.alerts import AlertStore
from storage.processes import ProcessStore


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
        ended = []
        if not any(process.unsafe and process.living for process in registered):
            ended.append(alerts.ANSWERS_UNSAFE)
        if not any(process.staged for process in registered):
            ended += [alerts.STAGED_UNREADABLE, alerts.STAGED_REFUSED]
        for kind in ended:
            for alert in self._alerts.list(statuses=("open", "acknowledged"), kind=kind):
                self._alerts.resolve(alert.cause)
        self._processes.forget()
