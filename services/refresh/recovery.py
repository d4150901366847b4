"""Doubt: how a row comes into it, and when its one recovery attempt may be made."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

import structlog

from domain.doubt import Presenter, waits_until
from domain.errors import SealBroken, ServiceUnavailable
from domain.policy import recovery_at, sent_by
from domain.token import Status, TokenState
from services.incidents import Incidents
from services.providers import ReadyProvider
from services.refresh.staging import Staging, named
from storage.activity import Note
from storage.processes import ProcessStore
from storage.tokens.failing import FailureRecord
from storage.tokens.landing import Landed, Landing, LandResult
from storage.tokens.store import TokenStore

log = structlog.get_logger(__name__)

#: A doubt that was refused during a wave looks again after this long, at the latest, whether it is over.
WITHHELD: Final = timedelta(minutes=10)


class Recovery:
    """One per process; thread-safe."""

    def __init__(
        self,
        tokens: TokenStore,
        processes: ProcessStore,
        staging: Staging,
        land: Callable[[Landing], LandResult],
        incidents: Incidents,
        *,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """Take the stores.

        Args:
            land: Lands one answer, and does what is to be done about one that has no row any more.
        """
        self._tokens = tokens
        self._processes = processes
        self._staging = staging
        self._land = land
        self._incidents = incidents
        self._jitter = jitter

    def doubt(self, token: TokenState, provider: ReadyProvider, *, now: datetime) -> None:
        """Put a row whose worker vanished in doubt: sent or not, nobody can tell."""
        if token.attempt_id is None or token.presented_at is None:
            return
        presented_at = sent_by(token, provider.facts, now=now)
        recover_at = recovery_at(token, provider.facts, presented_at=presented_at, now=now)
        if self._tokens.mark_lapsed(token.connection_id, attempt_id=token.attempt_id, recover_at=recover_at):
            log.warning(
                "in_doubt", connection_id=str(token.connection_id), attempt_id=str(token.attempt_id),
                code="lease_lapsed", recover_at=recover_at.isoformat(),
            )  # fmt: skip

    def put_off(self, token: TokenState, provider: ReadyProvider, *, now: datetime) -> bool:
        """Do what comes before a recovery; True if the row has changed by it, so that it must be read again.

        What is staged lands first. Then recovery waits for the places that may still hold the answer. Last,
        the policy may see its time later: its replay window has closed meanwhile.
        """
        landed, stuck, known = self._land_staged(token)
        if landed:
            return True
        later = waits_until(
            token, provider.facts, self._presenter(token), stuck=stuck, shelf_known=known, now=now
        )
        if later is not None:
            self._tokens.put_off_recovery(token.connection_id, until=later)
            log.info("recovery_waits", connection_id=str(token.connection_id), presenter=token.lease_owner)
            return True
        return self._postponed(token, provider, now=now)

    def _land_staged(self, token: TokenState) -> tuple[bool, bool, bool]:
        """Land what lies within reach for the connection.

        Returns:
            Whether anything landed, whether something lies here that cannot land, and whether the places
            have said all that they have.
        """
        spooled = self._staging.spooled(token.connection_id)
        envelopes, known = spooled or [], spooled is not None
        try:
            envelopes += self._staging.shelf.envelopes(token.connection_id)
        except ServiceUnavailable:
            known = False
        landed = stuck = False
        for envelope in envelopes:
            try:
                result = self._staging.land(envelope, self._land)
            except SealBroken:
                # The sweeper has told, and nothing is presented over it.
                stuck = True
            except ServiceUnavailable:
                raise
            except Exception as error:  # noqa: BLE001 - as above; a task that fails would come back for ever
                stuck = True
                log.error("staged_answer_refused", error=type(error).__name__, **named(envelope))
            else:
                # What had landed before says nothing about this doubt, and where it cannot be removed it is
                # found again at every look.
                landed = landed or isinstance(result, Landed)
        # Asked last: a copy in Redis that has landed takes its damaged file with it.
        stuck = stuck or bool(self._staging.unreadable(token.connection_id))
        return landed, stuck, known

    def _presenter(self, token: TokenState) -> Presenter | None:
        if token.lease_owner is None:
            return None
        process = self._processes.find(token.lease_owner)
        if process is None:
            return None
        gone = process.gone_at is not None
        return Presenter(process.seen_at, process.settled_until, gone=gone, staged=process.staged)

    def _postponed(self, token: TokenState, provider: ReadyProvider, *, now: datetime) -> bool:
        """Put a recovery off for which it is too early; False where it may be made now.

        The policy may see its time later by now, because its replay window has closed meanwhile. And a doubt
        that was refused during a wave of refusals has its one honest attempt when the wave is over.
        """
        presented_at = sent_by(token, provider.facts, now=now)
        if token.attempt_id is None and token.first_presented_at is not None:
            # The last recovery was given back: the doubt is that of the attempts before it.
            presented_at = token.first_presented_at
        at = recovery_at(token, provider.facts, presented_at=presented_at, now=now)
        if token.refused_at is not None and self._incidents.withholds(provider.scope_of(token.tenant)):
            # The end of the hold brings it forward; this is for an end that nobody was there to see.
            at = max(at, now + WITHHELD * (0.5 + 0.5 * self._jitter()))
        if at <= now:
            return False
        log.warning("recovery_postponed", connection_id=str(token.connection_id), until=at.isoformat())
        if token.attempt_id is None:
            self._tokens.put_off_recovery(token.connection_id, until=at)
            return True
        code = token.last_error_code or "recovery_postponed"
        return self._tokens.record_failure(
            FailureRecord(
                connection_id=token.connection_id,
                attempt_id=token.attempt_id,
                version=token.version,
                status=Status.IN_DOUBT,
                failures=token.failures,
                code=code,
                refresh_due_at=at,
                note=Note("recovery_postponed", code),
            )
        )
