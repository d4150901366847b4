"""Staging of an answer that Postgres does not take: the local spool first, then Redis as well."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID

import structlog

from domain.errors import ServiceUnavailable
from storage.sealing import Sealer
from storage.staging.envelope import Envelope, seal_answer
from storage.staging.resealing import StagedResealer
from storage.staging.shelf import Shelf
from storage.staging.spool import Spool
from storage.tokens.landing import Landed, Landing, LandResult, Superseded

log = structlog.get_logger(__name__)


def named(answer: Landing | Envelope) -> dict[str, str]:
    """Return the words by which the log names an answer."""
    return {"connection_id": str(answer.connection_id), "attempt_id": str(answer.attempt_id)}


@dataclass(frozen=True, slots=True)
class Kept:
    """Where an answer lies: `safe` in the spool, so that a crash of this process does not lose it; a copy in
    Redis is never enough.
    """

    safe: bool
    shelf: bool


class Staging:
    """One per process; thread-safe."""

    def __init__(
        self,
        spool: Spool,
        shelf: Shelf,
        sealer: Sealer,
        *,
        owner: str,
        distrusted: Callable[[], bool] = lambda: False,
    ) -> None:
        """Take the places.

        Args:
            distrusted: Says whether the database may be an older copy that nobody has accepted. What lands
                in it stays staged as well: the newer one may yet be brought back, and is waiting for it.
        """
        self._spool = spool
        self._shelf = shelf
        self._sealer = sealer
        self._owner = owner
        self._distrusted = distrusted

    @property
    def owner(self) -> str:
        """The process whose answers are staged here."""
        return self._owner

    @property
    def distrusted(self) -> bool:
        """Whether what has landed stays staged, because of the database that it has landed in."""
        return self._distrusted()

    @property
    def key_id(self) -> str:
        """The key that seals what is staged now."""
        return self._sealer.key_id

    @property
    def spool(self) -> Spool:
        """The local one."""
        return self._spool

    @property
    def shelf(self) -> Shelf:
        """The one in Redis."""
        return self._shelf

    def keep(self, landing: Landing) -> Kept:
        """Stage an answer wherever it can be; never raises for a place that refuses."""
        # Until it lies there, this process does not say that it has left the key.
        with self._sealer.pinned() as sealer:
            envelope = seal_answer(landing, self._owner, sealer)
            return Kept(self._into_spool(envelope), self._onto_shelf(envelope))

    def keep_here(self, landing: Landing) -> bool:
        """Stage an answer in the local spool alone; False where it refuses."""
        with self._sealer.pinned() as sealer:
            return self._into_spool(seal_answer(landing, self._owner, sealer))

    def keep_there(self, landing: Landing) -> bool:
        """Stage an answer in Redis alone, which is never enough; False where it refuses."""
        with self._sealer.pinned() as sealer:
            return self._onto_shelf(seal_answer(landing, self._owner, sealer))

    def drop(self, connection_id: UUID, attempt_id: UUID) -> None:
        """Forget an answer that has landed; a copy that cannot be removed now recognises itself later."""
        try:
            self._spool.remove(connection_id, attempt_id)
        except OSError as error:
            log.warning("spool_not_writable", error=type(error).__name__, errno=error.errno)
        with suppress(ServiceUnavailable):
            self._shelf.remove(connection_id, attempt_id)

    def spooled(self, connection_id: UUID | None = None) -> list[Envelope] | None:
        """Return what lies in the local spool; None where it cannot be read, which is logged."""
        try:
            return list(self._spool.envelopes(connection_id))
        except OSError as error:
            log.error("spool_not_readable", error=type(error).__name__, errno=error.errno)
            return None

    def unreadable(self, connection_id: UUID | None = None) -> list[str]:
        """Return the files of the local spool that cannot be read; none where the spool itself cannot be."""
        with suppress(OSError):
            return self._spool.unreadable(connection_id)
        return []

    def shelved(self) -> Iterator[Envelope]:
        """Return what lies in Redis, read as it is asked for.

        Raises:
            ServiceUnavailable: Redis does not answer.
        """
        return self._shelf.everything()

    def land(self, envelope: Envelope, land: Callable[[Landing], LandResult]) -> LandResult:
        """Land a staged answer, and forget it unless the database is distrusted.

        Raises:
            SealBroken: It cannot be opened with this key ring; it stays where it is.
            ServiceUnavailable: Postgres does not take it; it stays where it is.
        """
        result = land(envelope.open(self._sealer))
        # Asked afterwards: a landing over a new connection may have found out.
        if not self.distrusted:
            self.drop(envelope.connection_id, envelope.attempt_id)
        elif not isinstance(result, Landed | Superseded):
            return result  # Found there at every look.
        words = named(envelope)
        log.info("staged_answer_landed", received_by=envelope.owner, result=type(result).__name__, **words)
        return result

    def reseal(self) -> None:
        """Seal anew, with the key that seals now, what another key has sealed; what cannot be, is left."""
        StagedResealer(self._spool, self._shelf, self._sealer).reseal(self._sealer.key_id, lambda _: None)

    def _into_spool(self, envelope: Envelope) -> bool:
        try:
            self._spool.put(envelope)
        except OSError as error:
            log.error("spool_refused", error=type(error).__name__, errno=error.errno, **named(envelope))
            return False
        return True

    def _onto_shelf(self, envelope: Envelope) -> bool:
        try:
            self._shelf.put(envelope)
        except ServiceUnavailable:
            return False
        except Exception:
            # The second copy must not cost the first: the caller has yet to be told that the spool has it.
            log.exception("shelf_failed", connection_id=str(envelope.connection_id))
            return False
        return True
