"""What a provider's TOML table may say, as a strict model. A plain OAuth 2 provider needs no code."""

from __future__ import annotations

from datetime import timedelta
from functools import cached_property
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from domain.provider import GrantKind, ProviderFacts, Replay, Rotation
from domain.timing import replay_of
from domain.token import TokenKind
from providers.contradictions import contradictions
from providers.definition_tables import Account, Check, GrantLimit, Judgement, Ok, Revoke, Table, Variable
from providers.events.tables import Events
from providers.toml_values import (
    ID_PATTERN,
    Headers,
    KnownScope,
    Rate,
    Seconds,
    Url,
    UrlTemplate,
    VariableName,
    Window,
    Word,
)
from providers.url_templates import names_in
from providers.vocabulary import (
    AnswerField,
    AuthorizeField,
    BodyFormat,
    ClientAuth,
    Endpoint,
    LifetimeUnit,
    Outcome,
    RequestField,
)

__all__ = [
    "AnswerField",
    "BodyFormat",
    "Check",
    "ClientAuth",
    "Endpoint",
    "Judgement",
    "Ok",
    "Outcome",
    "ProviderDefinition",
    "RequestField",
]


class ProviderDefinition(Table):
    """A provider, as its TOML table describes it. Durations are whole seconds in TOML.

    Attributes:
        issuer: What a callback's ``iss`` must be (RFC 9207); None: the provider sends none.
        refresh_url: Where refreshing goes; None: to `token_url`.
        device_url: Device authorization endpoint (RFC 8628 §3.1); None: there is none.
        revoke_url: Takes a token back (RFC 7009); None: in another way (`revoke`), or not at all.
        manage_url: Where a user sees and removes the apps that he has let in; None where it is not known.
        known_scopes: The scopes that the provider has, or their beginnings; empty: not listed.
        scope_aliases: Scope as it is asked for -> as the answer names it.
        access_token_lifetime: Used where an answer names none; None means unknown.
        lifetime_unit: Of an answer's lifetimes.
        refresh_token_lifetime: From when a refresh token is issued, used or not; None means no fixed end.
        refresh_token_idle_lifetime: Of a refresh token that is not used; None: does not die of idleness.
        grant_lifetime: From the consent, however often the grant is refreshed; None means no fixed end.
        grant_limit: Living grants of one account; None: unlimited, or unknown.
        rotation: None means unknown: treated as optional without a window.
        replay_window: How long after a presentation the same refresh token may be presented again.
        authorize_params, authorize_names: Constants of the authorization request, and its renamed parameters.
        field_names: The provider's names for the request's fields, where they are not RFC 6749's.
        token_params: Constant fields of every token request; `refresh_params` and `code_params` of one kind.
        token_headers: Constant headers sent with every token request.
        metadata_fields: Request field -> key of the connection's metadata it is filled from.
        tenant_field: Key of the connection's metadata that tells which of the provider's tenants a grant
            belongs to; None: the provider has no tenants whose trouble is their own.
        variables: The parts of URLs that each connection has of its own, by their key in its metadata.
        answer_names: The provider's names (dotted paths) for the answer's fields, tried in order.
        answer_ok: What a 2xx token answer must say; None: any without an error.
        error_member: Dotted paths where error codes stand, tried in order.
        events: What the provider pushes to us, and how that is verified; None: nothing.
        token_types: The token types that are presented as bearer tokens (RFC 6749 §7.1), in lower case.
        unconfirmed: Key of this table -> why its value is a best guess.
    """

    id: Annotated[str, Field(pattern=rf"^{ID_PATTERN.pattern}$")]
    display_name: Word
    grant: GrantKind
    issuer: Url | None = None
    authorize_url: UrlTemplate | None = None
    token_url: UrlTemplate | None = None
    refresh_url: UrlTemplate | None = None
    device_url: UrlTemplate | None = None
    revoke_url: UrlTemplate | None = None
    manage_url: Url | None = None
    client_auth: ClientAuth = ClientAuth.CLIENT_SECRET_POST
    body_format: BodyFormat = BodyFormat.FORM
    scopes: tuple[Word, ...] = ()
    known_scopes: tuple[KnownScope, ...] = ()
    scope_aliases: dict[Word, Word] = Field(default_factory=dict)
    scope_separator: Literal[" ", ","] = " "
    pkce: bool = True
    access_token_lifetime: Seconds | None = None
    lifetime_unit: LifetimeUnit = LifetimeUnit.SECONDS
    refresh_token_lifetime: Seconds | None = None
    refresh_token_idle_lifetime: Seconds | None = None
    grant_lifetime: Seconds | None = None
    grant_limit: GrantLimit | None = None
    rotation: Rotation | None = None
    replay_window: Window = None
    max_requests_per_second: Rate | None = None
    max_requests_per_second_per_account: Rate | None = None
    max_concurrency: Annotated[int, Field(ge=1)] | None = None
    authorize_params: dict[Word, Word] = Field(default_factory=dict)
    authorize_names: dict[AuthorizeField, Word] = Field(default_factory=dict)
    field_names: dict[RequestField, Word] = Field(default_factory=dict)
    token_params: dict[Word, Word] = Field(default_factory=dict)
    refresh_params: dict[Word, Word] = Field(default_factory=dict)
    code_params: dict[Word, Word] = Field(default_factory=dict)
    token_headers: Headers = Field(default_factory=dict)
    metadata_fields: dict[Word, Word] = Field(default_factory=dict)
    tenant_field: Word | None = None
    variables: dict[VariableName, Variable] = Field(default_factory=dict)
    answer_names: dict[AnswerField, tuple[Word, ...]] = Field(default_factory=dict)
    answer_ok: Ok | None = None
    error_member: Annotated[tuple[Word, ...], Field(min_length=1)] = ("error",)
    token_types: tuple[Word, ...] = ("bearer",)
    check: Check | None = None
    revoke: Revoke | None = None
    account: Account | None = None
    events: Events | None = None
    judgements: tuple[Judgement, ...] = ()
    sources: tuple[Word, ...] = ()
    unconfirmed: dict[str, Word] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if problems := list(contradictions(self)):
            message = "; ".join(f"{key}: {reason}" for key, reason in problems)
            raise PydanticCustomError(
                "contradiction", "{message}", {"message": message, "problems": problems}
            )
        return self

    @cached_property
    def facts(self) -> ProviderFacts:
        """What policy decides from. Unknown rotation becomes optional without a window."""
        refreshes = self.grant is GrantKind.REFRESH_TOKEN
        rotation = (self.rotation or Rotation.OPTIONAL) if refreshes else Rotation.NONE
        window = self.replay_window
        if window is None and rotation is not Rotation.NONE:
            window = timedelta(0)
        limit = self.grant_limit
        return ProviderFacts(
            provider_id=self.id,
            grant=self.grant,
            rotation=rotation,
            replay_window=window,
            access_token_lifetime=self.access_token_lifetime,
            refresh_token_idle_lifetime=self.refresh_token_idle_lifetime,
            check_interval=None if self.check is None else self.check.interval,
            refresh_token_lifetime=self.refresh_token_lifetime,
            grant_lifetime=self.grant_lifetime,
            grant_limit=None if limit is None else limit.facts,
        )

    @cached_property
    def replay(self) -> Replay:
        """What may be done after an unanswered presentation (`domain.timing.replay_of`)."""
        return replay_of(self.facts)

    @property
    def required_metadata(self) -> tuple[str, ...]:
        """The metadata keys without which a connection of this provider cannot be refreshed."""
        return tuple(self.metadata_fields.values())

    @cached_property
    def kept_variables(self) -> tuple[str, ...]:
        """The variables that a connection needs once it is made: to be refreshed, checked and revoked."""
        refreshing = self.refresh_url or self.token_url if self.grant is not GrantKind.NONE else None
        check = None if self.check is None else self.check.url
        urls = (refreshing, check, self.revocation_url)
        names = (name for url in urls if url is not None for name in names_in(url))
        return tuple(dict.fromkeys(name for name in names if name in self.variables))

    @property
    def revocation_url(self) -> str | None:
        """Where a token is taken back, in the RFC's way or the provider's; None: nowhere."""
        return self.revoke_url if self.revoke is None else self.revoke.url

    @property
    def revoked_token(self) -> TokenKind:
        """Which token is revoked to end a grant: the refresh token, unless the provider wants the other."""
        return TokenKind.REFRESH_TOKEN if self.revoke is None else self.revoke.token

    @property
    def requires_secret(self) -> bool:
        """Whether the app needs a client secret to count as configured."""
        return self.client_auth is not ClientAuth.NONE

    @property
    def capabilities(self) -> tuple[str, ...]:
        """What Evergrant can do for a connection of this provider."""
        can = {
            "connect": self.authorize_url is not None,
            "device": self.device_url is not None,
            "refresh": self.grant is not GrantKind.NONE,
            "health_check": self.check is not None,
            "revoke": self.revocation_url is not None,
        }
        return tuple(name for name, able in can.items() if able)

    @cached_property
    def rules(self) -> dict[Endpoint, tuple[Judgement, ...]]:
        """The judgement rules by the endpoint they are about, in the order of the table.

        An account is asked for at the API that checks ask, and a device where tokens come from: what is known
        of those answers counts there too, behind the rules of their own.
        """
        of = {e: tuple(rule for rule in self.judgements if rule.on is e) for e in Endpoint}
        of[Endpoint.ACCOUNT] += of[Endpoint.CHECK]
        of[Endpoint.DEVICE] += of[Endpoint.TOKEN]
        return of
