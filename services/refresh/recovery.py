"""Doubt: how a row comes into it, and when its one recovery attempt may be made."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

import structlog

from domain.policy import recovery_at
from domain.token import Status, TokenState
from services.incidents import Incidents
from services.providers import ReadyProvider
from storage.activity import Note
from storage.tokens.failing import FailureRecord
from storage.tokens.store import TokenStore

log = structlog.get_logger(__name__)

#: A doubt that was refused during a wave looks again after this long, at the latest, whether it is over.
WITHHELD: Final = timedelta(minutes=10)


class Recovery:
    """One per process; thread-safe."""

    def __init__(
        self, tokens: TokenStore, incidents: Incidents, *, jitter: Callable[[], float] = random.random
    ) -> None:
        self._tokens = tokens
        self._incidents = incidents
        self._jitter = jitter

    def doubt(self, token: TokenState, provider: ReadyProvider, *, now: datetime) -> None:
        """Put a row whose worker vanished in doubt: sent or not, nobody can tell."""
        if token.attempt_id is None or token.presented_at is None:
            return
        recover_at = recovery_at(token, provider.facts, presented_at=token.presented_at, now=now)
        if self._tokens.mark_lapsed(token.connection_id, attempt_id=token.attempt_id, recover_at=recover_at):
            log.warning(
                "in_doubt", connection_id=str(token.connection_id), attempt_id=str(token.attempt_id),
                code="lease_lapsed", recover_at=recover_at.isoformat(),
            )  # fmt: skip

    def postponed(self, token: TokenState, provider: ReadyProvider, *, now: datetime) -> bool:
        """Put a recovery off for which it is too early; False where it may be made now.

        The policy may see its time later by now, because its replay window has closed meanwhile. And a doubt
        that was refused during a wave of refusals has its one honest attempt when the wave is over.
        """
        at = recovery_at(token, provider.facts, presented_at=token.presented_at or now, now=now)
        if token.refused_at is not None and self._incidents.withholds(provider.scope_of(token.tenant)):
            # The end of the hold brings it forward; this is for an end that nobody was there to see.
            at = max(at, now + WITHHELD * (0.5 + 0.5 * self._jitter()))
        if at <= now or token.attempt_id is None:
            return False
        log.warning("recovery_postponed", connection_id=str(token.connection_id), until=at.isoformat())
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
