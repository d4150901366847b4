"""Keeps the digests by which refresh tokens are found that a provider names by their hash.

Written right after an import, a connecting or a landing has brought a refresh token, in a statement of their
own and for providers alone that name tokens so: no other landing knows of it. What is lost between the two,
with a process that dies for example, the next sweep writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from uuid import UUID

import structlog

from domain.errors import ConfigurationError, ServiceUnavailable
from providers.definition import ProviderDefinition
from providers.events.tables import SecurityEventTokens
from services.providers import ProviderDesk
from storage.event_digests import BEFORE_ALL, EventDigestStore

log = structlog.get_logger(__name__)

#: Rows that one look goes over, and how many looks a sweep takes at most.
LOOK: Final = 5000
MOST_LOOKS: Final = 20
#: A sweep that has written so many leaves the rest to the next one.
ENOUGH: Final = 2000


class EventDigests:
    """One per process; thread-safe but for `sweep`, which one thread calls."""

    def __init__(self, store: EventDigestStore, desk: ProviderDesk) -> None:
        self._store = store
        self._providers = tuple(d.id for d in desk.catalogue if names_by_hash(d))
        self._after = BEFORE_ALL

    def note(self, provider_id: str, connection_ids: Sequence[UUID]) -> None:
        """Make the digests of refresh tokens that have just come, where the provider names tokens so.

        Never fails: what cannot be written now is written by a sweep.
        """
        if not connection_ids or provider_id not in self._providers:
            return
        try:
            self._store.write(connection_ids)
        except (ServiceUnavailable, ConfigurationError) as error:
            log.warning("event_digests_left_to_the_sweep", count=len(connection_ids), error=str(error))

    def sweep(self) -> int:
        """Go over the next part of the connections and write what lacks; returns how many were written.

        Goes on where the last sweep ended, and begins anew at the end. Raises `ServiceUnavailable`.
        """
        written = 0
        if not self._providers:
            return written
        for _ in range(MOST_LOOKS):
            part = self._store.look(self._providers, after=self._after, limit=LOOK)
            if part.lacking:
                written += self._store.write(part.lacking)
            if part.needless:
                self._store.forget(part.needless)
            self._after = part.last or BEFORE_ALL
            if part.last is None or written >= ENOUGH:
                break
        if written:
            log.info("event_digests_written", count=written)
        return written


def names_by_hash(definition: ProviderDefinition) -> bool:
    """Say whether the provider may push events that name a refresh token by its hash."""
    return isinstance(definition.events, SecurityEventTokens)
