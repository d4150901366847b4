"""The sweeper: lands what is staged, takes over what dead processes left, reports how far we have settled.

One thread of every worker. It never presents anything, and it is the only way by which a staged answer lands,
apart from a recovery that looks first.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final
from uuid import UUID

import structlog

from domain.errors import ConfigurationError, SealBroken, ServiceUnavailable
from services import alerts
from services.keys.election import KeyElection
from services.refresh.flights import Flights
from services.refresh.staging import Staging, named
from storage.alerts import AlertSpec, AlertStore
from storage.keys import KeyRing
from storage.processes import ProcessReport, ProcessStore
from storage.staging.envelope import Envelope
from storage.staging.life import LifeLock, dead_owners
from storage.staging.shelf import Shelf
from storage.staging.spool import Spool
from storage.tokens.landing import Landing, LandResult

log = structlog.get_logger(__name__)

#: Seconds between two sweeps. Recovery waits for the report of a process that was killed, so this is short;
#: an idle sweep is a look at a folder, a look at Redis and one small update.
EVERY: Final = 2.0


class Sweeper:
    """One per worker process."""

    def __init__(
        self,
        staging: Staging,
        flights: Flights,
        processes: ProcessStore,
        alert_store: AlertStore,
        land: Callable[[Landing], LandResult],
        ring: KeyRing,
        election: KeyElection,
        *,
        role: str,
        host: str,
    ) -> None:
        """Take what it works with.

        Args:
            land: Lands one answer, and does what is to be done about one that has no row any more.
        """
        self._staging = staging
        self._flights = flights
        self._processes = processes
        self._alerts = alert_store
        self._land = land
        self._ring, self._election = ring, election
        self._role, self._host = role, host
        self._life = LifeLock(staging.spool.folder, staging.owner)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._told_unsafe = 0
        self._away = False

    @property
    def owner(self) -> str:
        """This process, as `tokens.lease_owner` names it."""
        return self._staging.owner

    @property
    def spool(self) -> Spool:
        """This machine's spool."""
        return self._staging.spool

    @property
    def shelf(self) -> Shelf:
        """The copies in Redis."""
        return self._staging.shelf

    def start(self) -> None:
        """Register this process, land what lies here, and go on sweeping in a thread of its own.

        Raises:
            ConfigurationError: The spool cannot be used, or the key is missing that all processes seal with.
            ServiceUnavailable: Postgres does not answer.
        """
        self._staging.spool.prepare()
        with suppress(OSError):
            self._staging.spool.tidy()
        try:
            self._life.take()
        except OSError as error:
            raise ConfigurationError(
                f"{self._staging.spool.folder} cannot be written: {error.strerror}; answers that Postgres "
                "does not take are kept there, so free space, or let EVERGRANT_DATA_DIR name another place"
            ) from None
        self._flights.watch_unsafe(lambda answers: self._life.hold(answers=answers))
        self._register()
        self.sweep()
        self._thread = threading.Thread(target=self._run, name="sweeper", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop sweeping; what is still staged is told, and the next start or another process lands it."""
        if self._thread is None:
            self._staging.shelf.close()
            return
        self._stop.set()
        self._thread.join()
        with suppress(ServiceUnavailable):
            self.sweep()
            self._leave()
        self._staging.shelf.close()

    def _leave(self) -> None:
        """Tell what is left by us, unless that is not known yet: then who finds our lock free looks at it."""
        spooled = self._staging.spooled()
        if spooled is None or self._flights.under_way:
            # Told to stop at once: a thread may still bring an answer, and stage it, until the process ends.
            return
        mine = sum(envelope.owner == self._staging.owner for envelope in spooled)
        self._processes.mark_gone(self._staging.owner, staged=mine)
        if mine == 0:
            self._life.release()

    def sweep(self) -> None:
        """Do one round.

        Raises:
            ServiceUnavailable: Postgres does not answer; everything stays where it is.
        """
        # Redis' own absence stops nothing: what lies there alone is in its owner's memory too.
        with dead_owners(self._staging.spool.folder) as dead:
            # Read after the dead were found: nothing of theirs comes later.
            spooled = self._staging.spooled()
            left = self._land_all(spooled or [])
            with suppress(ServiceUnavailable):
                self._land_all(self._staging.shelved())
            if spooled is not None:
                # What the dead left in a spool that cannot be read, nobody knows.
                self._take_over(dead, left)
        self._reseal(left)
        self._tell_damaged()
        self._report(left)
        # After the report of what is staged, as the election asks for.
        self._election.look()
        self._tell_unsafe()

    def _run(self) -> None:
        while not self._stop.wait(EVERY):
            try:
                self.sweep()
            except ServiceUnavailable as error:
                if not self._away:
                    log.warning("sweep_skipped", error=str(error))
                self._away = True
            except Exception:
                # A thread that ends would leave every doubt waiting for its grace; the bug is loud instead.
                log.exception("sweep_failed")
            else:
                self._away = False

    def _land_all(self, envelopes: Iterable[Envelope]) -> list[Envelope]:
        """Land what can be landed; returns what is left.

        Raises:
            ServiceUnavailable: Postgres is away, or Redis while it was being read.
        """
        left = []
        for envelope in envelopes:
            try:
                self._staging.land(envelope, self._land)
                if self._staging.distrusted:
                    left.append(envelope)
            except SealBroken as broken:
                left.append(envelope)
                self._tell(alerts.staged_unreadable(envelope.connection_id, why=str(broken)))
            except ServiceUnavailable:
                raise
            except Exception as error:  # noqa: BLE001 - one answer that cannot land must not keep the others
                left.append(envelope)
                log.error("staged_answer_refused", error=type(error).__name__, **named(envelope))
                self._tell(alerts.staged_refused(envelope.connection_id, error=type(error).__name__))
        return left

    def _take_over(self, dead: dict[str, list[Path]], spooled: list[Envelope]) -> None:
        """Tell of processes that have ended, and of what they left that could not be landed."""
        for owner, locks in dead.items():
            left = sum(envelope.owner == owner for envelope in spooled)
            self._processes.mark_gone(owner, staged=left)
            if left == 0:
                for lock in locks:
                    lock.unlink(missing_ok=True)
                log.info("process_gone", process=owner)

    def _register(self) -> None:
        now = self._processes.register(
            self._staging.owner, role=self._role, host=self._host, key_ids=self._ring.fingerprints
        )
        self._flights.note_time(now)
        self._election.join()

    def _reseal(self, spooled: list[Envelope]) -> None:
        """Seal anew what another key sealed, so that the other key can be taken out one day."""
        if set(_key_ids(spooled)) - {self._staging.key_id}:
            self._staging.reseal()

    def _report(self, spooled: list[Envelope]) -> None:
        staged = sum(envelope.owner == self._staging.owner for envelope in spooled)
        # A spool that cannot be read settles nothing.
        with suppress(OSError):
            self._flights.still_staged(self._staging.spool.attempts)
        staged = max(staged, self._flights.staged_now)
        settled_until = self._flights.settled_until()
        if settled_until is None:
            self._register()
            return
        report = ProcessReport(settled_until, staged, self._flights.unsafe_now, _key_ids(spooled))
        now = self._processes.report(self._staging.owner, report)
        if now is None:
            # Forgotten, because we were away for a day. A new row counts everything before it as settled,
            # which may not be true of us: it is told at once.
            self._register()
            self._processes.report(self._staging.owner, report)
        else:
            self._flights.note_time(now)

    def _tell_damaged(self) -> None:
        """Tell of files in the spool that cannot be read."""
        folder = str(self._staging.spool.folder)
        for name in self._staging.unreadable():
            with suppress(ValueError):
                self._tell(alerts.staged_damaged(UUID(name.partition(".")[0]), file=name, folder=folder))

    def _tell(self, spec: AlertSpec) -> None:
        """Open an alert.

        Raises:
            ServiceUnavailable: Postgres is away.
        """
        try:
            self._alerts.open(spec)
        except ServiceUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - what refuses an answer may refuse its alert; others go on
            log.error("alert_refused", cause=spec.cause, error=type(error).__name__)

    def _tell_unsafe(self) -> None:
        """Tell, as soon as it can be told, that answers were in memory alone."""
        ever = self._flights.ever_unsafe
        if ever > self._told_unsafe:
            count, folder = ever - self._told_unsafe, self._staging.spool.folder
            self._alerts.open(alerts.answers_unsafe(self._host, count=count, folder=str(folder)))
            self._told_unsafe = ever


def _key_ids(envelopes: Iterable[Envelope]) -> tuple[str, ...]:
    found = set()
    for envelope in envelopes:
        # A damaged header names no key.
        with suppress(SealBroken):
            found.add(envelope.key_id)
    return tuple(sorted(found))
