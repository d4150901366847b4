"""Doubt: how a row comes into it, and when its one recovery attempt may be made."""

from __future__ import annotations

from datetime import datetime

import structlog

from domain.policy import recovery_at
from domain.token import Status, TokenState
from services.providers import ReadyProvider
from storage.activity import Note
from storage.tokens.failing import FailureRecord
from storage.tokens.store import TokenStore

log = structlog.get_logger(__name__)


class Recovery:
    """One per process; thread-safe."""

    def __init__(self, tokens: TokenStore) -> None:
        self._tokens = tokens

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
        """Put a recovery off whose time the policy now sees later: its replay window has closed meanwhile."""
        at = recovery_at(token, provider.facts, presented_at=token.presented_at or now, now=now)
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
