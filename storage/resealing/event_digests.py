"""Digests of refresh tokens, made anew under another key for a key rotation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final

from sqlalchemy import Engine, func, select, text

from storage.engine import autocommit, single, transaction
from storage.event_digests import BEFORE_ALL, PAGE, write_digests
from storage.resealing.counts import OnProgress, Resealed
from storage.schema import event_digests
from storage.sealing import Sealer

_OTHERS: Final = text("""
    SELECT connection_id FROM event_digests
     WHERE connection_id > CAST(:after AS uuid) AND key_id <> :wanted ORDER BY connection_id LIMIT :limit
""")


class EventDigestResealer:
    """Makes the digests anew under another key, for a key rotation (`storage.resealing.Resealer`)."""

    def __init__(self, engine: Engine, sealer: Sealer) -> None:
        self._engine = engine
        self._auto = autocommit(engine)
        self._sealer = sealer

    @property
    def name(self) -> str:
        """What people call them."""
        return "digests"

    def count(self) -> int:
        """Return how many there are. Raises `ServiceUnavailable`."""
        with single(self._auto) as connection:
            return connection.execute(select(func.count()).select_from(event_digests)).scalar_one()

    def keys(self) -> Mapping[str, int]:
        """Return how many need each key. Raises `ServiceUnavailable`."""
        counted = select(event_digests.c.key_id, func.count()).group_by(event_digests.c.key_id)
        with single(self._auto) as connection:
            return Counter({key_id: number for key_id, number in connection.execute(counted)})  # noqa: C416 - a Row is no tuple to mypy

    def reseal(self, key_id: str, on_progress: OnProgress) -> Resealed:
        """Pass over all of them once; one whose token cannot be opened any more goes.

        Raises:
            KeyMissing: The ring does not hold this key.
            ServiceUnavailable: Postgres does not answer; what was written so far stays.
        """
        sealer = self._sealer.sealing_with(key_id)
        result, after = Resealed(), BEFORE_ALL
        while True:
            with transaction(self._engine) as connection:
                others = {"after": after, "wanted": key_id, "limit": PAGE}
                page = list(connection.execute(_OTHERS, others).scalars())
                if not page:
                    return result
                result.resealed += write_digests(connection, sealer, page)
            after = page[-1]
            result.seen += len(page)
            on_progress(len(page))
