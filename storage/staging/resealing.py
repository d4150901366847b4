"""Staged answers, sealed anew under another key: this machine's spool, and the copies in Redis."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

from domain.errors import SealBroken, ServiceUnavailable
from storage.resealing.counts import Broken, OnProgress, Resealed
from storage.sealing import Sealer
from storage.staging.envelope import Envelope
from storage.staging.shelf import Shelf
from storage.staging.spool import Spool


class StagedResealer:
    """A `storage.resealing.Resealer`. Another machine's spool is resealed by its own processes.

    An answer that lands at the same moment may be written once more: its next landing recognises itself.
    """

    name = "staged"

    def __init__(self, spool: Spool, shelf: Shelf, sealer: Sealer) -> None:
        self._spool = spool
        self._shelf = shelf
        self._sealer = sealer

    def count(self) -> int:
        """Return how many there are at this moment."""
        return sum(1 for _ in self._all())

    def keys(self) -> Mapping[str, int]:
        """Return how many answers need each key."""
        counts: Counter[str] = Counter()
        for envelope, _ in self._all():
            # A damaged header names no key.
            with suppress(SealBroken):
                counts[envelope.key_id] += 1
        return counts

    def reseal(self, key_id: str, on_progress: OnProgress) -> Resealed:
        """Pass over everything once; see `storage.resealing.Resealer`."""
        result = Resealed()
        sealer = self._sealer.sealing_with(key_id)
        for envelope, put in self._all():
            result.seen += 1
            try:
                if envelope.key_id != key_id:
                    put(envelope.resealed(sealer))
                    result.resealed += 1
            except (SealBroken, OSError, ServiceUnavailable) as error:
                result.add_broken(Broken(self.name, str(envelope.attempt_id), str(error)))
            on_progress(1)
        return result

    def _all(self) -> Iterable[tuple[Envelope, Callable[[Envelope], None]]]:
        found = [(envelope, self._spool.put) for envelope in self._spool.envelopes()]
        # With Redis away its copies keep the former key, and whoever lands them needs it until then.
        with suppress(ServiceUnavailable):
            for envelope in self._shelf.everything():
                found.append((envelope, self._shelf.put))  # noqa: PERF401 - what was read before Redis left counts
        return found
