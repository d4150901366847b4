"""Calls to a provider while somebody looks at a browser: within the provider's share, and again where nothing
came of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final, TypeVar

import structlog

from domain.errors import (
    ClientMisconfigured,
    NotSent,
    OutcomeUnknown,
    ProviderError,
    ServiceUnavailable,
    Transient,
)
from services.admission import Admission, Denied
from services.connecting.outcomes import Failure
from services.connecting.places import Places
from services.providers import ReadyProvider
from services.scopes import Scope

log = structlog.get_logger(__name__)

#: How long a slot is waited for.
PATIENCE: Final = timedelta(seconds=3)
#: How often a call that did nothing is made, and until when another one is begun.
TRIES: Final = 3
AGAIN_WITHIN: Final = timedelta(seconds=8)
_PAUSE: Final = 0.25
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Refusal:
    """The provider gave nothing. `code` is its own word, or ours; never free text.

    Attributes:
        ours: It refuses our app, and so everybody.
    """

    failure: Failure
    code: str
    ours: bool = False


class Calls:
    """One per process; thread-safe."""

    def __init__(
        self, admission: Admission, *, clock: Callable[[], float], sleep: Callable[[float], None]
    ) -> None:
        self._admission = admission
        self._clock = clock
        self._sleep = sleep
        self._places = Places()

    def make(
        self, provider: ReadyProvider, call: Callable[[], T], again: tuple[type[ProviderError], ...]
    ) -> T | Refusal:
        """Make a call within the provider's share of this process.

        Args:
            again: What it is made again for, shortly after: nothing has come of it.

        Raises:
            ServiceUnavailable: Postgres has been away for `AGAIN_WITHIN`. A moment of that is waited out:
            what a call before this one brought is in memory alone.
        """
        began = self._clock()
        tries = 0
        while True:
            failure: ProviderError | None = None
            before = tries
            try:
                with self._admission.admit(unpaced(provider)) as gate:
                    if not isinstance(gate, Denied):
                        tries += 1
                        try:
                            return call()
                        except ProviderError as error:
                            failure = error
            except ServiceUnavailable:
                # Whether breakers are open could not be read: nothing was sent.
                if tries > before or self._waited(began) >= AGAIN_WITHIN:
                    raise
                self._sleep(_PAUSE)
                continue
            # Outside of the share: whoever waits holds nothing.
            waited = self._waited(began)
            if isinstance(gate, Denied):
                if gate.retry_at is not None or waited >= PATIENCE or not self._pause(provider):
                    return Refusal(Failure.UNAVAILABLE, gate.code)
                continue
            if failure is not None and (
                not isinstance(failure, again) or tries >= TRIES or waited >= AGAIN_WITHIN
            ):
                return _refusal(provider, failure)
            self._sleep(_PAUSE)

    def _waited(self, began: float) -> timedelta:
        return timedelta(seconds=self._clock() - began)

    def _pause(self, provider: ReadyProvider) -> bool:
        """Wait a moment for a slot; False, at once, where too many wait for this provider already."""
        with self._places.one(provider.scope.pace) as place:
            if place:
                self._sleep(_PAUSE)
        return place


def unpaced(provider: ReadyProvider) -> Scope:
    """Return the scope without its rate: a person goes before the refreshes that use it up, and is one."""
    return replace(provider.scope, max_per_second=None)


def _refusal(provider: ReadyProvider, error: ProviderError) -> Refusal:
    log.warning(
        "exchange_failed", provider=provider.definition.id, code=error.code, http_status=error.http_status
    )
    away = isinstance(error, NotSent | Transient | OutcomeUnknown)
    ours = isinstance(error, ClientMisconfigured)
    return Refusal(Failure.UNAVAILABLE if away else Failure.REFUSED, error.code, ours)
