"""Disconnecting: a user ends a connection. Revoked at the provider where it can be, and erased here."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID

import structlog

from domain.errors import ServiceUnavailable
from domain.provider import Rotation
from domain.timing import ROOMY, timing_of
from domain.token import ConnectionRef
from services.providers import ProviderDesk, ReadyProvider
from services.revocations import Fate, Revocations
from storage.disconnecting import DisconnectStore, Ended, Ending, Held, NotEnded
from storage.tokens.store import TokenStore

log = structlog.get_logger(__name__)

#: Total time of the call that is made at once, while somebody waits for the answer.
AT_ONCE: Final = timedelta(seconds=5)
#: How long the new revocations are ours alone: a few calls at once.
HEAD_START: Final = timedelta(seconds=30)
#: Beyond a presentation's deadline: what its worker needs to land the answer.
LANDING: Final = timedelta(seconds=2)
#: How often a presentation under way is looked at.
POLL: Final = 0.1


class DisconnectOutcome(StrEnum):
    """What a disconnect came to."""

    REVOKED = "revoked"
    ERASED_ONLY = "erased_only"
    NOT_FOUND = "not_found"
    ALREADY = "already"
    RECONNECTED = "reconnected"


@dataclass(frozen=True, slots=True)
class DisconnectResult:
    """What a disconnect came to, and why nothing (or nothing yet) was revoked.

    Attributes:
        reason: None where the provider revoked a living grant. With `REVOKED`, `not_alive`: it knew no
            living token any more. With `ERASED_ONLY`: `shared_with_sibling`, `no_revoke_endpoint`,
            `revocation_pending` (the outbox goes on for a day), `unreadable`, `gave_up`.
        siblings: The living connections that the revocation would have ended.
        unresolved: A presentation had no known answer; should one arrive, its tokens are revoked as well.
    """

    outcome: DisconnectOutcome
    connection_id: UUID
    reason: str | None = None
    siblings: tuple[UUID, ...] = ()
    unresolved: bool = False

    @property
    def revoked(self) -> bool:
        """Whether the provider has confirmed that no token of the grant is alive."""
        return self.outcome is DisconnectOutcome.REVOKED

    def as_json(self) -> dict[str, object]:
        """Return it as JSON values."""
        return {
            "outcome": str(self.outcome),
            "connection_id": str(self.connection_id),
            "revoked": self.revoked,
            "reason": self.reason,
            "siblings": [str(sibling) for sibling in self.siblings],
            "unresolved": self.unresolved,
        }


_NOT_ENDED: Final[dict[NotEnded, DisconnectOutcome]] = {
    "missing": DisconnectOutcome.NOT_FOUND,
    "already": DisconnectOutcome.ALREADY,
    "reconnected": DisconnectOutcome.RECONNECTED,
}


class Disconnection:
    """One per process; thread-safe."""

    def __init__(
        self,
        tokens: TokenStore,
        store: DisconnectStore,
        desk: ProviderDesk,
        revocations: Revocations,
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tokens = tokens
        self._store = store
        self._desk = desk
        self._revocations = revocations
        self._sleep = sleep
        self._clock = clock

    def disconnect(self, connection_id: UUID) -> DisconnectResult:
        """End a connection: erase its tokens here, and revoke them at the provider where it can be.

        A presentation under way is waited for, about a deadline long, so that the token which it brings is
        the one that is revoked; after that the connection is ended all the same, and what arrives later is
        revoked then. The revocation is tried at once; if that fails, the outbox goes on with it. Whoever
        connects anew in the meantime keeps his new grant: nothing more is ended than what was there.

        Raises:
            ServiceUnavailable: Postgres is away; whether the connection was ended is unknown: ask again.
        """
        row = self._tokens.read(connection_id)
        if row is None:
            return DisconnectResult(DisconnectOutcome.NOT_FOUND, connection_id)
        ref, token, _ = row
        ended = self._end(ref, token.grant_id)
        if isinstance(ended, str):
            return DisconnectResult(_NOT_ENDED[ended], connection_id)
        result = self._revoked(connection_id, ref.provider_id, ended)
        log.info(
            "disconnected", connection_id=str(connection_id), provider=ref.provider_id,
            outcome=str(result.outcome), reason=result.reason,
        )  # fmt: skip
        return result

    def _end(self, ref: ConnectionRef, grant_id: UUID) -> Ended | NotEnded:
        how, deadline = self._how(ref.provider_id)
        give_up_at = self._clock() + (deadline + LANDING).total_seconds()
        while True:
            ended = self._store.end(
                ref.connection_id, how, grant_id=grant_id, patient=self._clock() < give_up_at
            )
            if not isinstance(ended, Held):
                return ended
            self._sleep(POLL)

    def _how(self, provider_id: str) -> tuple[Ending, timedelta]:
        """Return how a connection of this provider is ended, and a presentation's deadline there."""
        provider = self._desk.ready(provider_id)
        revocable = self._desk.revocable(provider_id) is not False
        revoked = self._desk.revoked_token(provider_id)
        if not isinstance(provider, ReadyProvider):
            # Without our client id nobody knows here who shares it; whoever revokes asks again.
            ending = Ending(revocable, kin=None, rotates=True, head_start=HEAD_START, revoked=revoked)
            return ending, ROOMY.deadline
        ending = Ending(
            revocable,
            kin=self._desk.kin(provider) if revocable else None,
            rotates=provider.facts.rotation is not Rotation.NONE,
            head_start=HEAD_START,
            revoked=revoked,
        )
        return ending, timing_of(provider.facts).deadline

    def _revoked(self, connection_id: UUID, provider_id: str, ended: Ended) -> DisconnectResult:
        def result(outcome: DisconnectOutcome, reason: str | None) -> DisconnectResult:
            return DisconnectResult(outcome, connection_id, reason, ended.siblings, ended.unresolved)

        if ended.siblings:
            return result(DisconnectOutcome.ERASED_ONLY, str(Fate.SHARED))
        if not ended.pending:
            no_endpoint = self._desk.revocable(provider_id) is False
            return result(
                DisconnectOutcome.ERASED_ONLY, str(Fate.NO_ENDPOINT) if no_endpoint else "unreadable"
            )
        fates = {self._attempt(pending) for pending in ended.pending}
        for fate in (Fate.PENDING, Fate.GAVE_UP, Fate.SHARED, Fate.NO_ENDPOINT):
            if fate in fates:
                return result(DisconnectOutcome.ERASED_ONLY, str(fate))
        if ended.unreadable:
            return result(DisconnectOutcome.ERASED_ONLY, "unreadable")
        return result(DisconnectOutcome.REVOKED, None if Fate.REVOKED in fates else str(Fate.NOT_ALIVE))

    def _attempt(self, revocation_id: UUID) -> Fate:
        try:
            return self._revocations.attempt(revocation_id, deadline=AT_ONCE)
        except ServiceUnavailable as error:
            # It is in the outbox, and the connection has ended: that much is known.
            log.warning("revocation_left_to_the_outbox", error=str(error))
            return Fate.PENDING
