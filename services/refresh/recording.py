"""Writing a failed attempt down: what the row becomes, who hears of it, and patience with Postgres."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import structlog

from domain.errors import ServiceUnavailable
from domain.incidents import UNDER_HOLD
from domain.policy import HoldReason, InDoubt, NeedsReauth, RetryAt, Verdict, Withheld
from domain.token import RESTORED, ReauthReason, Status, TokenState
from services import alerts
from services.admission import Admission
from services.providers import ReadyProvider
from storage.activity import Note
from storage.alerts import AlertSpec
from storage.tokens.claims import Claimed
from storage.tokens.failing import FailureRecord
from storage.tokens.store import TokenStore

log = structlog.get_logger(__name__)

#: A failure that could not be written is retried this long; after that the lapsed lease tells the story.
RECORD_PATIENCE: Final = timedelta(seconds=20)


class Recorder:
    """One per process; thread-safe."""

    def __init__(
        self,
        tokens: TokenStore,
        admission: Admission,
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tokens = tokens
        self._admission = admission
        self._sleep = sleep
        self._clock = clock

    def record_of(
        self, claimed: Claimed, provider: ReadyProvider, attempt_id: UUID, code: str, verdict: Verdict
    ) -> FailureRecord:
        """Return what is to be written about a failed attempt, its alert included."""
        ref, token = claimed.ref, claimed.state
        name = provider.definition.display_name
        alert: AlertSpec | None = None
        status, kind = Status.ACTIVE, "refresh_failed"
        due: datetime | None = None
        not_before: datetime | None = None
        reason: ReauthReason | None = None
        refused = False
        match verdict.token:
            case NeedsReauth(why):
                status, kind, reason = Status.NEEDS_REAUTH, "needs_reauth", why
                restored = why is ReauthReason.ROTATION_PROBABLY_LOST and token.last_error_code == RESTORED
                alert = alerts.needs_reauth(ref, name, why, code=code, restored=restored)
                # A refusal that a lost rotation explains is no sign that the provider refuses everybody.
                refused = why is ReauthReason.GRANT_REJECTED
            case InDoubt(recover_at):
                status, kind, due = Status.IN_DOUBT, "in_doubt", recover_at
            case RetryAt(at):
                due = not_before = at
            case Withheld(at):
                # A doubt stays one. That it was refused keeps it from being presented again (`Recovery`).
                status, kind, refused = token.status, UNDER_HOLD, True
                due = not_before = at
        if (
            alert is None
            and verdict.worth_an_alert
            and due is not None
            and not self._is_told(provider, token)
        ):
            alert = alerts.failing(ref, name, code=code, failures=token.failures + 1, retry_at=due)
        return FailureRecord(
            connection_id=ref.connection_id,
            attempt_id=attempt_id,
            version=token.version,
            status=status,
            failures=token.failures + 1,
            code=UNDER_HOLD if kind == UNDER_HOLD else code,
            refresh_due_at=due,
            note=Note(kind, code),
            not_before=not_before,
            reauth_reason=reason,
            alert=alert,
            refused=refused,
        )

    def _is_told(self, provider: ReadyProvider, token: TokenState) -> bool:
        """Say whether an alert about the whole provider is open, which speaks for its connections too."""
        try:
            held = self._admission.held()
        except ServiceUnavailable:
            # Unknown, and it must not keep the failure from being written down; the next one tells.
            return True
        scope = provider.scope_of(token.tenant)
        holds = (held.get(key) for key in scope.keys)
        return any(hold is not None and hold.reason != HoldReason.RATE_LIMITED for hold in holds)

    def write(self, record: FailureRecord) -> bool:
        """Write the failure, waiting out a short absence of Postgres; False if the row has moved on.

        Giving up is safe: the row then keeps its unresolved presentation, and becomes in doubt when its
        lease lapses, which is the cautious reading of every failure.
        """
        try:
            return self.patiently(lambda: self._tokens.record_failure(record), record.connection_id)
        except ServiceUnavailable:
            return False

    def promote_spare(self, claimed: Claimed) -> bool:
        """Bring back an answer that came too late for its version; False if there is none.

        Raises:
            SealBroken: The spare cannot be opened with this key ring.
            ServiceUnavailable: Postgres stayed away: nobody knows whether there is one, so nobody is
                declared dead.
        """
        token, attempt_id = claimed.state, claimed.state.attempt_id
        if attempt_id is None:
            raise AssertionError("unreachable: a claim stamps its attempt")
        return self.patiently(
            lambda: self._tokens.promote_spare(
                token.connection_id, grant_id=token.grant_id, version=token.version, attempt_id=attempt_id
            ),
            token.connection_id,
        )

    def retry_at(self, connection_id: UUID) -> datetime | None:
        """Return when a connection is tried again by what its row says now; None where that is not known."""
        try:
            row = self._tokens.read(connection_id)
        except ServiceUnavailable:
            return None
        return None if row is None else row[1].refresh_due_at

    def patiently(self, act: Callable[[], bool], connection_id: UUID) -> bool:
        """Ask or write, waiting out a short absence of Postgres.

        Raises:
            ServiceUnavailable: It lasted longer than `RECORD_PATIENCE`.
        """
        give_up_at = self._clock() + RECORD_PATIENCE.total_seconds()
        while True:
            try:
                return act()
            except ServiceUnavailable:
                if self._clock() >= give_up_at:
                    log.error("failure_not_recorded", connection_id=str(connection_id))
                    raise
                self._sleep(0.5)
