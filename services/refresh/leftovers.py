"""Answers that have nothing to land on: never stored as tokens, and revoked where that harms nobody."""

from __future__ import annotations

from typing import Final

import structlog

from domain.errors import SealBroken
from domain.token import ReauthReason
from services.providers import ProviderDesk, ReadyProvider
from services.refresh.staging import named
from services.restore import RestoreGuard
from storage.leftovers import LateAnswer, Leftover, LeftoverStore
from storage.tokens.landing import Gone, Landed, Landing, LandResult
from storage.tokens.store import TokenStore

log = structlog.get_logger(__name__)

#: Sentences that a refresh token was refused for, so that another one may disprove them.
_REFUSED: Final = (ReauthReason.GRANT_REJECTED, ReauthReason.ROTATION_PROBABLY_LOST)


class Leftovers:
    """One per process; thread-safe. Whoever lands an answer and is told `Gone` hands it over here."""

    def __init__(
        self, store: LeftoverStore, tokens: TokenStore, desk: ProviderDesk, guard: RestoreGuard
    ) -> None:
        self._store = store
        self._tokens = tokens
        self._desk = desk
        self._guard = guard

    def land(self, landing: Landing) -> LandResult:
        """Land an answer, or deal with it where there is nothing to land on. The one way by which any lands.

        May be repeated with the same landing any number of times. An older copy of the database does not know
        a grant that was given since: until somebody has accepted it, nothing is dealt with.

        Raises:
            ServiceUnavailable: Whether it landed is unknown, or it was not dealt with; hand it over again.
        """
        result = self._tokens.land(landing)
        if isinstance(result, Gone):
            self._guard.look()
            if not self._guard.closed:
                self.gone(landing, result)
        elif not isinstance(result, Landed):
            self._rescue(landing)
        return result

    def _rescue(self, landing: Landing) -> None:
        """Try a spare whose grant was declared dead before it came; every spare is tried once."""
        row = self._tokens.read(landing.connection_id)
        if row is None or row[1].reauth_reason not in _REFUSED:
            return
        connection_id, token = landing.connection_id, row[1]
        try:
            promoted = self._tokens.promote_spare(
                connection_id,
                grant_id=landing.grant_id,
                version=token.version,
                attempt_id=landing.attempt_id,
            )
        except SealBroken as broken:
            # Of another spare; this one has been kept, which is all that was asked for.
            log.error("spare_unreadable", connection_id=str(connection_id), why=str(broken))
        else:
            if promoted:
                log.warning("spare_promoted", connection_id=str(connection_id), sentenced=True)

    def gone(self, landing: Landing, gone: Gone) -> None:
        """Put the answer's token into the outbox of revocations, or drop it and write down why.

        After a disconnect it is revoked. After a reconnect it is dropped: revoking it could end the new grant
        too, because providers revoke a user's grants to one client together. May be repeated.

        Raises:
            ServiceUnavailable: The answer was not dealt with; hand it over again.
        """
        words = named(landing) | {"why": gone.why}
        left = self._leave(landing, gone)
        if left is None:
            log.warning("answer_dropped", **words)
        else:
            log.warning("answer_dropped", queued=left.queued, siblings=len(left.siblings), **words)

    def _leave(self, landing: Landing, gone: Gone) -> Leftover | None:
        row = self._tokens.read(landing.connection_id)
        if row is None:
            # Nobody knows any more whose grant it was, or at which provider.
            return None
        provider_id = row[0].provider_id
        provider = self._desk.ready(provider_id)
        return self._store.leave(
            LateAnswer(landing.connection_id, landing.grant_id, landing.attempt_id, landing.credentials),
            why=gone.why,
            revocable=self._desk.revocable(provider_id) is not False,
            revoked=self._desk.revoked_token(provider_id),
            kin=self._desk.kin(provider) if isinstance(provider, ReadyProvider) else None,
        )
