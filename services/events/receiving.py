"""Receives what providers push: who sent it, whom it is about, and what follows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import structlog
from pydantic import SecretStr

from domain.errors import EvergrantError
from domain.events import Statement, effect_of
from domain.token import ConnectionRef, ReauthReason
from providers.app_credentials import webhook_variable
from providers.events.keys import KeySets, KeysUnavailable
from providers.events.reading import Forged, Message
from providers.events.security_events import verified as verified_token
from providers.events.tables import EventSecret, SecurityEventTokens, Webhook
from providers.events.webhooks import verified as verified_webhook
from services import alerts
from services.providers import ProviderDesk, ReadyProvider
from storage.alerts import AlertSpec
from storage.events import Arrived, EventStore

log = structlog.get_logger(__name__)


class NoReceiver(EvergrantError):
    """Nothing is received for this provider here; says why.

    Attributes:
        code: `unknown_provider`, `provider_not_configured`, `no_events` or `no_webhook_secret`.
    """

    def __init__(self, code: str, why: str) -> None:
        super().__init__(why)
        self.code = code


class Refused(EvergrantError):
    """A message that is not what it should be, or not from whom it should be. Nothing was changed.

    Attributes:
        err: RFC 8935 §2.4's word for it.
        by_rfc: The sender is told in that RFC's form; else in ours.
    """

    def __init__(self, forged: Forged, *, by_rfc: bool) -> None:
        super().__init__(forged.description)
        self.err, self.by_rfc = forged.err, by_rfc


class KeysAway(EvergrantError):
    """The issuer's keys could not be had, so nobody knows whether the message is true: send it again."""


@dataclass(frozen=True, slots=True)
class Received:
    """A message that was taken.

    Attributes:
        by_rfc: RFC 8935 says how it is acknowledged.
        repeated: It had been taken before; nothing was done.
        changed: How many connections it changed.
        answer: What the sender wants to be answered; None: nothing in particular.
    """

    by_rfc: bool
    repeated: bool = False
    changed: int = 0
    answer: Mapping[str, str] | None = None


class EventReceiver:
    """One per process; thread-safe."""

    def __init__(self, store: EventStore, desk: ProviderDesk, keys: KeySets) -> None:
        self._store = store
        self._desk = desk
        self._keys = keys

    def receive(self, provider_id: str, headers: Mapping[str, str], body: bytes) -> Received:
        """Verify a message, and do what follows from it, once.

        Args:
            provider_id: Where it came in.
            headers: By their names in lower case.

        Raises:
            NoReceiver: Nothing is received for this provider here.
            Refused: It is forged, or cannot be read.
            KeysAway: It could not be verified now.
            ServiceUnavailable: Postgres is away; whether it was taken is unknown. It may be sent again.
        """
        provider = self._provider(provider_id)
        table = provider.definition.events
        if isinstance(table, SecurityEventTokens):
            kin = self._of_issuer(table)
            message = self._verified_token(provider, body, table, kin)
            kin = [each for each in kin if each.app.client_id in message.audience]
            by_rfc = True
        elif isinstance(table, Webhook):
            kin = self._of_webhook(provider, table)
            message = self._verified_webhook(provider, headers, body, table)
            by_rfc = False
        else:
            raise NoReceiver("no_events", f"provider {provider_id!r} pushes nothing that is understood here")
        if not message.statements:
            log.info("event_challenge_answered", provider=provider_id)
            return Received(by_rfc, answer=message.answer)
        return self._take(provider_id, message, tuple(each.definition.id for each in kin), by_rfc=by_rfc)

    def _provider(self, provider_id: str) -> ReadyProvider:
        provider = self._desk.ready(provider_id)
        if isinstance(provider, ReadyProvider):
            return provider
        raise NoReceiver(provider.code, f"provider {provider_id!r} is not set up here")

    def _of_issuer(self, table: SecurityEventTokens) -> list[ReadyProvider]:
        """Return the providers that hear of the same issuer, who tells one receiver of all of them."""
        return [each for each in self._desk.callable_providers() if each.definition.events == table]

    def _of_webhook(self, provider: ReadyProvider, table: Webhook) -> list[ReadyProvider]:
        """Return the providers that are the same app, and hear the same."""
        return [
            each
            for each in self._desk.callable_providers()
            if each.app.client_id == provider.app.client_id and each.definition.events == table
        ]

    def _verified_token(
        self, provider: ReadyProvider, body: bytes, table: SecurityEventTokens, kin: list[ReadyProvider]
    ) -> Message:
        client_ids = sorted({each.app.client_id for each in kin})
        try:
            return verified_token(body, table, self._keys, client_ids)
        except Forged as forged:
            raise self._refused(provider, forged, by_rfc=True) from None
        except KeysUnavailable as away:
            log.warning("event_not_verified", provider=provider.definition.id, error=str(away))
            raise KeysAway(str(away)) from away

    def _verified_webhook(
        self, provider: ReadyProvider, headers: Mapping[str, str], body: bytes, table: Webhook
    ) -> Message:
        try:
            return verified_webhook(
                provider.definition.id, headers, body, table, self._secret(provider, table)
            )
        except Forged as forged:
            raise self._refused(provider, forged, by_rfc=False) from None

    def _refused(self, provider: ReadyProvider, forged: Forged, *, by_rfc: bool) -> Refused:
        log.warning("event_refused", provider=provider.definition.id, err=forged.err, why=forged.description)
        return Refused(forged, by_rfc=by_rfc)

    def _secret(self, provider: ReadyProvider, table: Webhook) -> SecretStr:
        provider_id = provider.definition.id
        if table.secret is EventSecret.CLIENT_SECRET:
            secret = provider.app.client_secret
        else:
            secret = self._desk.webhook_secret(provider_id)
        if secret is None:
            raise NoReceiver(
                "no_webhook_secret",
                f"webhooks of provider {provider_id!r} cannot be verified: "
                f"set {webhook_variable(provider_id)}",
            )
        return secret

    def _take(self, provider_id: str, message: Message, family: tuple[str, ...], *, by_rfc: bool) -> Received:
        taken = self._store.take(
            Arrived(message.source, message.id, provider_id, family, message.statements),
            lambda statement, held, received_at: effect_of(statement, held, received_at=received_at),
            self._told,
        )
        log.info(
            "event_received", provider=provider_id, event_id=message.id, repeated=taken.repeated,
            kinds=[statement.kind for statement in message.statements],
            changed={str(connection_id): str(effect) for connection_id, effect in taken.effects},
        )  # fmt: skip
        return Received(by_rfc, taken.repeated, len(taken.effects), message.answer)

    def _told(self, ref: ConnectionRef, reason: ReauthReason, statement: Statement) -> AlertSpec:
        name = self._desk.display_name(ref.provider_id)
        return alerts.needs_reauth(ref, name, reason, code=statement.kind)
