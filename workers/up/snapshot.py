"""The figures of the live status, read aside so that the display never waits for the database."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace

from domain.errors import EvergrantError
from services.wiring import Services
from storage.meter import ActivityMeter
from storage.statistics import FleetStatistics, fleet_statistics

READ_EVERY_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is known at one moment.

    Attributes:
        refreshed, failed, doubted, recovered: Since `evergrant up` started (`storage.meter.Reading`).
        lateness_p50, lateness_p99: Commit minus planned time, in seconds, of the last minute; None: none.
        trouble: Why the figures are old; None: they are not.
    """

    fleet: FleetStatistics | None = None
    open_alerts: int = 0
    refreshed: int = 0
    failed: int = 0
    doubted: int = 0
    recovered: int = 0
    checked: int = 0
    lateness_p50: float | None = None
    lateness_p99: float | None = None
    trouble: str | None = None


class Watcher:
    """Reads a snapshot about every second in a thread of its own."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._meter = ActivityMeter(services.engine)
        self._latest = Snapshot()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="status", daemon=True)

    @property
    def latest(self) -> Snapshot:
        """The newest snapshot."""
        return self._latest

    def start(self) -> None:
        """Begin reading."""
        self._thread.start()

    def stop(self) -> None:
        """Stop reading, and wait until the last read is over."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10)

    def _run(self) -> None:
        while not self._stop.wait(READ_EVERY_SECONDS):
            try:
                self._latest = self._read()
            except EvergrantError as error:
                self._latest = replace(self._latest, trouble=str(error))

    def _read(self) -> Snapshot:
        reading = self._meter.read()
        counts = self._services.alerts.counts()
        return Snapshot(
            fleet=fleet_statistics(self._services.engine),
            open_alerts=counts.get("open", 0) + counts.get("acknowledged", 0),
            refreshed=reading.refreshed,
            failed=reading.failed,
            doubted=reading.doubted,
            recovered=reading.recovered,
            checked=reading.checked,
            lateness_p50=reading.lateness_p50,
            lateness_p99=reading.lateness_p99,
        )
