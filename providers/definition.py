"""What a provider's TOML table may say, as strict models. A plain OAuth 2 provider needs no code."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from domain.provider import GrantKind, ProviderFacts, Replay, Rotation
from domain.timing import replay_of
from providers.toml_values import ID_PATTERN, Codes, Headers, Rate, Seconds, Template, Url, Window, Word


class ClientAuth(StrEnum):
    """How the client says who it is at the token endpoint (RFC 6749 §2.3.1)."""

    CLIENT_SECRET_POST = "client_secret_post"  # noqa: S105 - a method's name
    CLIENT_SECRET_BASIC = "client_secret_basic"  # noqa: S105 - a method's name
    NONE = "none"


class BodyFormat(StrEnum):
    """How a request's body is written."""

    FORM = "form"
    JSON = "json"


class Endpoint(StrEnum):
    """Which call an answer belongs to: the same words mean different things on different endpoints."""

    TOKEN = "token"  # noqa: S105 - an endpoint's name
    CHECK = "check"
    REVOKE = "revoke"


class Outcome(StrEnum):
    """What a judgement rule may conclude; each is one of `domain.errors`' ProviderErrors."""

    GRANT_REJECTED = "grant_rejected"
    CLIENT_MISCONFIGURED = "client_misconfigured"
    TRANSIENT = "transient"
    RATE_LIMITED = "rate_limited"
    REFUSED = "refused"
    INSUFFICIENT_SCOPE = "insufficient_scope"
    OUTCOME_UNKNOWN = "outcome_unknown"


RequestField = Literal["grant_type", "client_id", "client_secret", "refresh_token"]
AnswerField = Literal[
    "access_token", "refresh_token", "token_type", "expires_in", "scope", "refresh_expires_in"
]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Ok(_Table):
    """A member of a 2xx answer that must have a value for the token to count as alive.

    Attributes:
        member: Dotted path, such as ``active`` or ``data.valid``.
    """

    member: Word
    equals: bool | int | str


class Check(_Table):
    """The cheapest authenticated request.

    Attributes:
        interval: Pace of checks of one connection.
        bearer: Send ``Authorization: Bearer <token>`` (RFC 6750 §2.1). False where the provider wants the
            token in a query or body, by the placeholder ``{access_token}``.
        ok: None means that any 2xx without an error in it says the token is alive.
        scope_member: Where the answer lists the token's scopes; None if it does not.
        expires_at_member: Where the answer tells the expiry in Unix seconds; None if it does not.
        max_requests_per_second: Where the API's limit differs from the token endpoint's.
    """

    method: Literal["GET", "POST"] = "GET"
    url: Url
    bearer: bool = True
    headers: Headers = Field(default_factory=dict)
    query: dict[str, Template] = Field(default_factory=dict)
    body: dict[str, Template] = Field(default_factory=dict)
    body_format: BodyFormat = BodyFormat.JSON
    interval: Seconds = timedelta(days=1)
    ok: Ok | None = None
    scope_member: Word | None = None
    expires_at_member: Word | None = None
    max_requests_per_second: Rate | None = None

    @cached_property
    def templates(self) -> str:
        """All templates, for the question which placeholders they use."""
        return " ".join((*self.query.values(), *self.body.values()))


class Judgement(_Table):
    """One rule of a provider's error dialect. The first rule that matches wins over the RFCs' defaults.

    Attributes:
        status: None matches every status.
        code: None matches whatever the member says.
        member: Dotted path of the member that holds the code; ``error`` is RFC 6749 §5.2's. A number in the
            path is a place in a list.
        name: The code that people and metrics see; None shows the provider's own.
    """

    on: Endpoint
    status: Annotated[int, Field(ge=100, le=599)] | None = None
    code: Codes | None = None
    member: Word = "error"
    outcome: Outcome
    name: Annotated[str, Field(pattern=r"^[a-z0-9_.-]{1,64}$")] | None = None

    @model_validator(mode="after")
    def _says_when(self) -> Self:
        if self.status is None and self.code is None:
            raise ValueError("needs a status, a code or both; a rule that matches everything judges nothing")
        if self.outcome is Outcome.INSUFFICIENT_SCOPE and self.on is not Endpoint.CHECK:
            raise ValueError('outcome "insufficient_scope" belongs to checks (on = "check")')
        return self


class ProviderDefinition(_Table):
    """A provider, as its TOML table describes it. Durations are whole seconds in TOML.

    Attributes:
        revoke_url: Takes a token back (RFC 7009); None: the provider has nothing of the kind.
        manage_url: Where a user sees and removes the apps that he has let in; None where it is not known.
        rotation: None means unknown: treated as optional without a window.
        replay_window: How long after a presentation the same refresh token may be presented again.
        access_token_lifetime: Used where an answer names none; None means unknown.
        field_names: The provider's names for the request's fields, where they are not RFC 6749's.
        token_params: Constant fields sent with every token request.
        token_headers: Constant headers sent with every token request.
        metadata_fields: Request field -> key of the connection's metadata it is filled from.
        tenant_field: Key of the connection's metadata that tells which of the provider's tenants a grant
            belongs to; None: the provider has no tenants whose trouble is their own.
        answer_names: The provider's names (dotted paths) for the answer's fields, tried in order.
        token_types: The token types that are presented as bearer tokens (RFC 6749 §7.1), in lower case.
        unconfirmed: Key of this table -> why its value is a best guess.
    """

    id: Annotated[str, Field(pattern=rf"^{ID_PATTERN.pattern}$")]
    display_name: Word
    grant: GrantKind
    authorize_url: Url | None = None
    token_url: Url | None = None
    revoke_url: Url | None = None
    manage_url: Url | None = None
    client_auth: ClientAuth = ClientAuth.CLIENT_SECRET_POST
    body_format: BodyFormat = BodyFormat.FORM
    scopes: tuple[Word, ...] = ()
    scope_separator: Literal[" ", ","] = " "
    pkce: bool = True
    access_token_lifetime: Seconds | None = None
    refresh_token_idle_lifetime: Seconds | None = None
    rotation: Rotation | None = None
    replay_window: Window = None
    max_requests_per_second: Rate | None = None
    max_concurrency: Annotated[int, Field(ge=1)] | None = None
    field_names: dict[RequestField, Word] = Field(default_factory=dict)
    token_params: dict[Word, Word] = Field(default_factory=dict)
    token_headers: Headers = Field(default_factory=dict)
    metadata_fields: dict[Word, Word] = Field(default_factory=dict)
    tenant_field: Word | None = None
    answer_names: dict[AnswerField, tuple[Word, ...]] = Field(default_factory=dict)
    token_types: tuple[Word, ...] = ("bearer",)
    check: Check | None = None
    judgements: tuple[Judgement, ...] = ()
    sources: tuple[Word, ...] = ()
    unconfirmed: dict[str, Word] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if problems := list(self._contradictions()):
            message = "; ".join(f"{key}: {reason}" for key, reason in problems)
            raise PydanticCustomError(
                "contradiction", "{message}", {"message": message, "problems": problems}
            )
        return self

    def _contradictions(self) -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = []
        refreshes = self.grant is GrantKind.REFRESH_TOKEN
        if self.grant is not GrantKind.NONE and self.token_url is None:
            found.append(("token_url", f'is required with grant = "{self.grant}"'))
        if self.grant is GrantKind.NONE and self.check is None:
            found.append(("check", 'is required with grant = "none": health checks are all there is to do'))
        if self.grant is GrantKind.CLIENT_CREDENTIALS and self.client_auth is ClientAuth.NONE:
            found.append(
                ("client_auth", 'cannot be "none" with grant = "client_credentials" (RFC 6749 §4.4)')
            )
        if self.client_auth is ClientAuth.CLIENT_SECRET_BASIC and {"client_id", "client_secret"} & set(
            self.field_names
        ):
            found.append(
                ("field_names", 'cannot rename what client_auth = "client_secret_basic" never sends')
            )
        if not refreshes:
            found.extend(
                (key, f'has no meaning with grant = "{self.grant}"; leave it out')
                for key in ("rotation", "replay_window", "refresh_token_idle_lifetime")
                if getattr(self, key) not in (None, Rotation.NONE)
            )
        elif self.rotation in (Rotation.OPTIONAL, Rotation.SINGLE_USE):
            if self.replay_window is None:
                wanted = 'seconds (0: no window), "until_successor_used" or "unlimited"'
                found.append(("replay_window", f'is required with rotation = "{self.rotation}": {wanted}'))
        elif self.replay_window is not None:
            reason = 'has no meaning without rotation = "optional" or "single_use"; leave it out'
            found.append(("replay_window", reason))
        found.extend(self._check_contradictions())
        found.extend(
            (f"unconfirmed.{key}", "names no key of a provider's table")
            for key in self.unconfirmed
            if key.partition(".")[0] not in type(self).model_fields
        )
        return found

    def _check_contradictions(self) -> list[tuple[str, str]]:
        if self.check is None:
            return []
        found = []
        if self.check.bearer == ("{access_token}" in self.check.templates):
            reason = "must send the token exactly once: bearer = true, or {access_token} in query or body"
            found.append(("check", reason))
        if self.check.body and self.check.method != "POST":
            found.append(("check.body", f'has no meaning with method = "{self.check.method}"; use "POST"'))
        return found

    @cached_property
    def facts(self) -> ProviderFacts:
        """What policy decides from. Unknown rotation becomes optional without a window."""
        refreshes = self.grant is GrantKind.REFRESH_TOKEN
        rotation = (self.rotation or Rotation.OPTIONAL) if refreshes else Rotation.NONE
        window = self.replay_window
        if window is None and rotation is not Rotation.NONE:
            window = timedelta(0)
        return ProviderFacts(
            provider_id=self.id,
            grant=self.grant,
            rotation=rotation,
            replay_window=window,
            access_token_lifetime=self.access_token_lifetime,
            refresh_token_idle_lifetime=self.refresh_token_idle_lifetime,
            check_interval=None if self.check is None else self.check.interval,
        )

    @cached_property
    def replay(self) -> Replay:
        """What may be done after an unanswered presentation (`domain.timing.replay_of`)."""
        return replay_of(self.facts)

    @property
    def required_metadata(self) -> tuple[str, ...]:
        """The metadata keys without which a connection of this provider cannot be refreshed."""
        return tuple(self.metadata_fields.values())

    @property
    def requires_secret(self) -> bool:
        """Whether the app needs a client secret to count as configured."""
        return self.client_auth is not ClientAuth.NONE

    @property
    def capabilities(self) -> tuple[str, ...]:
        """What Evergrant can do for a connection of this provider: ``refresh``, ``health_check``."""
        refresh = ("refresh",) if self.grant is not GrantKind.NONE else ()
        return (*refresh, *(("health_check",) if self.check is not None else ()))

    @cached_property
    def rules(self) -> dict[Endpoint, tuple[Judgement, ...]]:
        """The judgement rules by the endpoint they are about, in the order of the table."""
        return {e: tuple(rule for rule in self.judgements if rule.on is e) for e in Endpoint}
