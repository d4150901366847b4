"""The calls to a provider that a consent takes: code for tokens, whose they are, a device's code and its
polls.

Breakers stop these calls as they stop refreshes, and hear nothing of them: a code that is refused says
nothing about the client's other grants, and must never stop their refreshes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

import structlog
from pydantic import SecretStr

from domain.errors import (
    ConfigurationError,
    GrantRejected,
    NotSent,
    OutcomeUnknown,
    ProviderError,
    Transient,
)
from domain.token import Answer
from providers.accounts import Account
from providers.client import ProviderClient
from providers.connecting import Connected, learned_from_callback, prepare_code_exchange
from providers.device import (
    DeviceAuthorization,
    Pending,
    prepare_device_authorization,
    prepare_device_poll,
)
from providers.requests import PreparedCall
from services.admission import Admission, Denied
from services.connecting.calling import Calls, Refusal, unpaced
from services.connecting.outcomes import Failure
from services.providers import ReadyProvider
from storage.flows import Flow

log = structlog.get_logger(__name__)

#: Total time of one call, while somebody looks at a browser.
DEADLINE: Final = timedelta(seconds=15)


@dataclass(frozen=True, slots=True)
class Exchanged:
    """What a consent brought. `repr` shows no token.

    Attributes:
        began_at: When the request began, by Postgres' clock: from here lifetimes count.
        account: None: the provider's definition does not say how to know it.
        variables: What was learned for the definition's URLs.
    """

    answer: Answer = field(repr=False)
    began_at: datetime
    account: Account | None
    variables: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class StillPending:
    """The person has not decided yet, or nobody knows. `slow_down`: ask more rarely from now on."""

    slow_down: bool = False


class Exchange:
    """One per process; thread-safe."""

    def __init__(
        self,
        client: ProviderClient,
        admission: Admission,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client = client
        self._admission = admission
        self._clock = clock
        self._calls = Calls(admission, clock=clock, sleep=sleep)

    def code(
        self,
        provider: ReadyProvider,
        flow: Flow,
        *,
        code: str,
        verifier: SecretStr | None,
        callback: Mapping[str, str],
    ) -> Exchanged | Refusal:
        """Make tokens of an authorization code, and find out whose they are.

        Args:
            callback: The callback's parameters, some of which may name the account or a part of the URLs.
        """
        definition = provider.definition
        metadata = {**flow.variables, **learned_from_callback(definition, callback)}
        try:
            prepared = prepare_code_exchange(
                definition,
                provider.app,
                code=SecretStr(code),
                redirect_uri=flow.redirect_uri or "",
                code_verifier=verifier,
                metadata=metadata,
            )
        except (ConfigurationError, ProviderError) as error:
            return _not_prepared(provider, flow, error)
        read_at = self._clock()

        def exchange() -> tuple[Connected, datetime]:
            began_at = flow.now + timedelta(seconds=self._clock() - read_at)
            return (
                self._client.exchange_code(
                    prepared, provider.app, deadline=DEADLINE, callback=callback, now=began_at
                ),
                began_at,
            )

        done = self._calls.make(provider, exchange, (NotSent, Transient))
        if isinstance(done, Refusal):
            return done
        connected, began_at = done
        return self._identified(provider, connected, metadata, began_at)

    def device(
        self, provider: ReadyProvider, scopes: tuple[str, ...], variables: Mapping[str, str]
    ) -> DeviceAuthorization | Refusal:
        """Ask for a code that a person can type in."""
        try:
            prepared = prepare_device_authorization(
                provider.definition, provider.app, scopes=scopes, metadata=variables
            )
        except (ConfigurationError, ProviderError) as error:
            log.error("device_not_begun", provider=provider.definition.id, error=str(error))
            return Refusal(Failure.UNAVAILABLE, "not_connectable")
        # Nothing is begun by it for the person, so that it may be asked again whatever happened.
        again = (NotSent, Transient, OutcomeUnknown)
        return self._calls.make(
            provider, lambda: self._client.authorize_device(prepared, deadline=DEADLINE), again
        )

    def poll(
        self, provider: ReadyProvider, flow: Flow, device_code: SecretStr
    ) -> Exchanged | StillPending | Refusal:
        """Ask once whether the person has agreed."""
        read_at = self._clock()
        try:
            prepared = prepare_device_poll(
                provider.definition, provider.app, device_code=device_code, metadata=flow.variables
            )
        except (ConfigurationError, ProviderError) as error:
            return _not_prepared(provider, flow, error)
        began_at = flow.now + timedelta(seconds=self._clock() - read_at)
        try:
            polled = self._polled(provider, prepared, began_at)
        except GrantRejected as error:
            expired = error.code == "expired_token"
            return Refusal(Failure.EXPIRED_DEVICE if expired else Failure.DENIED, error.code)
        except OutcomeUnknown as error:
            # Tokens may have been issued to nobody; the code is then spent.
            return Refusal(Failure.UNAVAILABLE, error.code)
        except ProviderError as error:
            log.info("device_poll_failed", provider=provider.definition.id, code=error.code)
            return StillPending()
        if isinstance(polled, StillPending):
            return polled
        return self._identified(provider, polled, flow.variables, began_at)

    def _polled(
        self, provider: ReadyProvider, prepared: PreparedCall, began_at: datetime
    ) -> Connected | StillPending:
        with self._admission.admit(unpaced(provider)) as gate:
            if isinstance(gate, Denied):
                return StillPending()
            polled = self._client.poll_device(prepared, provider.app, deadline=DEADLINE, now=began_at)
        return StillPending(polled.slower) if isinstance(polled, Pending) else polled

    def _identified(
        self,
        provider: ReadyProvider,
        connected: Connected,
        metadata: Mapping[str, object],
        began_at: datetime,
    ) -> Exchanged | Refusal:
        variables = {**{name: str(value) for name, value in metadata.items()}, **connected.metadata}
        account = connected.account
        if account is None and provider.definition.account is not None:
            asked = self._account(provider, connected.answer.access_token, variables)
            if isinstance(asked, Refusal):
                return asked
            account = asked
        return Exchanged(connected.answer, began_at, account, variables)

    def _account(
        self, provider: ReadyProvider, access_token: SecretStr, metadata: Mapping[str, object]
    ) -> Account | Refusal:
        def ask() -> Account:
            return self._client.account(
                provider.definition, provider.app, access_token, metadata, deadline=DEADLINE
            )

        try:
            # A question changes nothing there: asked again whatever became of it.
            found = self._calls.make(provider, ask, (NotSent, Transient, OutcomeUnknown))
        except ConfigurationError as error:
            # Nothing told it, and nobody is to be asked.
            log.warning("account_unknown", provider=provider.definition.id, error=str(error))
            return Refusal(Failure.ACCOUNT_UNKNOWN, "answer_account_invalid")
        return Refusal(Failure.ACCOUNT_UNKNOWN, found.code) if isinstance(found, Refusal) else found


def _not_prepared(provider: ReadyProvider, flow: Flow, error: Exception) -> Refusal:
    log.error(
        "exchange_not_prepared", provider=provider.definition.id, flow_id=str(flow.id), error=str(error)
    )
    return Refusal(Failure.UNAVAILABLE, "not_connectable")
