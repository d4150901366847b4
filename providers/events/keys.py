"""The keys of issuers: fetched when they are needed, kept for a while, asked for again for one not known."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import structlog
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey

from domain.errors import EvergrantError, ProviderError
from providers.client import Exchanges
from providers.connections import Destination
from providers.http import WireRequest

log = structlog.get_logger(__name__)

#: Total time of a fetch; whoever pushes is waiting for an answer meanwhile.
DEADLINE: Final = timedelta(seconds=5)
#: A set is asked for anew after this, so that a key that the issuer has withdrawn is not believed for long.
FRESH: Final = timedelta(hours=1)
#: … and is used for no longer than this where the issuer does not answer.
USABLE: Final = timedelta(hours=24)
#: Between two fetches: whoever makes up key ids cannot have the issuer asked again and again.
AT_MOST_EVERY: Final = timedelta(minutes=1)
#: … and after one that failed while there were no keys at all. Whoever waited for it does not try by himself.
AFTER_FAILURE: Final = timedelta(seconds=5)
#: More keys than this are no issuer's set.
_MOST_KEYS: Final = 64
#: A key is some hundred bytes.
_LARGEST_SET: Final = 256 * 1024

Key = RSAKey | ECKey


class KeysUnavailable(EvergrantError):
    """The issuer's keys could not be had, and there are none that are young enough: ask again later."""


@dataclass(frozen=True, slots=True)
class _Set:
    keys: Mapping[str, Key]
    fetched_at: float


class KeySets:
    """One per process; thread-safe. Public keys alone are kept, in memory."""

    def __init__(self, wire: Exchanges, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Take the HTTP client towards providers: addresses that lead inside are refused there."""
        self._wire = wire
        self._clock = clock
        self._sets: dict[str, _Set] = {}
        self._asked: dict[str, float] = {}
        self._lock = threading.Lock()
        self._fetching: dict[str, threading.Lock] = {}

    def find(self, url: str, kid: str) -> Key | None:
        """Return the issuer's key of this id; None where it has none.

        Raises:
            KeysUnavailable: The keys could not be had.
        """
        with self._lock:
            fetching = self._fetching.setdefault(url, threading.Lock())
        known = self._sets.get(url)
        if known is None or self._age(known) > FRESH.total_seconds() or kid not in known.keys:
            # One fetch at a time; whoever waited for it finds what it brought.
            with fetching:
                known = self._renewed(url, kid)
        return known.keys.get(kid)

    def _renewed(self, url: str, kid: str) -> _Set:
        known = self._sets.get(url)
        if known is not None and self._age(known) <= FRESH.total_seconds() and kid in known.keys:
            return known
        asked = self._asked.get(url)
        pause = AFTER_FAILURE if known is None else AT_MOST_EVERY
        if asked is None or self._clock() - asked >= pause.total_seconds():
            try:
                known = self._sets[url] = _Set(self._fetch(url), self._clock())
            except (ProviderError, ValueError) as error:
                log.warning("issuer_keys_not_fetched", url=url, error=str(error))
            # From its end on, which may be a deadline later.
            self._asked[url] = self._clock()
        if known is None or self._age(known) > USABLE.total_seconds():
            raise KeysUnavailable(f"the keys at {url} could not be fetched")
        return known

    def _age(self, known: _Set) -> float:
        return self._clock() - known.fetched_at

    def _fetch(self, url: str) -> dict[str, Key]:
        answer = self._wire.exchange(WireRequest("GET", Destination.of(url)), deadline=DEADLINE)
        if answer.status != 200 or answer.oversized or len(answer.body) > _LARGEST_SET:
            raise ValueError(f"answered with status {answer.status} and {len(answer.body)} bytes")
        document = json.loads(answer.body)
        entries = document.get("keys") if isinstance(document, dict) else None
        if not isinstance(entries, list) or not 0 < len(entries) <= _MOST_KEYS:
            raise ValueError("is no key set")
        found = (_key(entry) for entry in entries if isinstance(entry, dict))
        return {kid: key for kid, key in found if key is not None}


def _key(entry: dict[str, object]) -> tuple[str, Key | None]:
    """Return an entry's id and key; None for what is no public key for signatures."""
    kid = entry.get("kid")
    if not isinstance(kid, str) or entry.get("use", "sig") != "sig" or "d" in entry:
        return "", None
    try:
        if entry.get("kty") == "RSA":
            return kid, RSAKey.import_key(entry)  # type: ignore[arg-type]  # checked by the importer itself
        if entry.get("kty") == "EC" and entry.get("crv") == "P-256":
            return kid, ECKey.import_key(entry)  # type: ignore[arg-type]  # checked by the importer itself
    except (JoseError, ValueError, TypeError):
        return kid, None
    return kid, None
