"""Answers that have nothing to land on: never stored as tokens, and revoked where that harms nobody."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Final

import structlog

from domain.errors import ServiceUnavailable
from services.providers import ProviderDesk, ReadyProvider
from storage.leftovers import LateAnswer, Leftover, LeftoverStore
from storage.tokens.landing import Gone, Landing
from storage.tokens.store import TokenStore

log = structlog.get_logger(__name__)

#: A leftover that could not be written down is tried again this long.
PATIENCE: Final = timedelta(seconds=20)
_WAIT: Final = 0.5


class Leftovers:
    """One per process; thread-safe. Whoever lands an answer and is told `Gone` hands it over here."""

    def __init__(
        self,
        store: LeftoverStore,
        tokens: TokenStore,
        desk: ProviderDesk,
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._tokens = tokens
        self._desk = desk
        self._sleep = sleep
        self._clock = clock

    def gone(self, landing: Landing, gone: Gone) -> None:
        """Put the answer's token into the outbox of revocations, or drop it and write down why.

        After a disconnect it is revoked. After a reconnect it is dropped: revoking it could end the new grant
        too, because providers revoke a user's grants to one client together. May be repeated.

        Raises:
            ServiceUnavailable: Postgres stayed away; the answer was not dealt with, hand it over again.
        """
        give_up_at = self._clock() + PATIENCE.total_seconds()
        words = {
            "connection_id": str(landing.connection_id),
            "attempt_id": str(landing.attempt_id),
            "why": gone.why,
        }
        while True:
            try:
                left = self._leave(landing, gone)
            except ServiceUnavailable:
                if self._clock() >= give_up_at:
                    log.error("leftover_not_written", **words)
                    raise
                self._sleep(_WAIT)
                continue
            if left is None:
                log.warning("answer_dropped", **words)
            else:
                log.warning("answer_dropped", queued=left.queued, siblings=len(left.siblings), **words)
            return

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
            kin=self._desk.kin(provider) if isinstance(provider, ReadyProvider) else None,
        )
