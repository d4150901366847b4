"""The tables within a provider's table, as strict models: check, revoke, account, variables, judgements."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from functools import cached_property
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from domain import provider
from domain.token import TokenKind
from providers.patterns import read
from providers.toml_values import (
    AskingHeaders,
    BetweenPattern,
    CapturingPattern,
    Codes,
    PatternText,
    Rate,
    RevokeHeaders,
    RevokeTemplate,
    Seconds,
    Template,
    UrlTemplate,
    Word,
)
from providers.vocabulary import AccountSource, BeyondLimit, BodyFormat, Endpoint, Outcome, RevokeAuth

#: Keys of an account's table that describe its request, and mean nothing where there is none.
_OF_A_REQUEST: Final = ("method", "url", "headers", "query", "body", "body_format", "bearer")


class Table(BaseModel):
    """A table of a definition: unknown keys are refused, and so is "1" for 1."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Ok(Table):
    """A member of a 2xx answer that must have a value for the answer to be a good one.

    Attributes:
        member: Dotted path, such as ``active`` or ``data.valid``.
    """

    member: Word
    equals: bool | int | str


class Where(Table):
    """What else an answer must say for a judgement rule to match.

    Attributes:
        member: Dotted path of a text, such as ``error_description``.
        contains: A part of that text, in capitals or not.
    """

    member: Word
    contains: Word


class _Asking(Table):
    """A request with an access token.

    Attributes:
        bearer: Send ``Authorization: Bearer <token>`` (RFC 6750 §2.1). False where the provider wants the
            token in a header of another name or scheme, in the query or in the body, by the placeholder
            ``{access_token}``.
    """

    method: Literal["GET", "POST"] = "GET"
    bearer: bool = True
    headers: AskingHeaders = Field(default_factory=dict)
    query: dict[str, Template] = Field(default_factory=dict)
    body: dict[str, Template] = Field(default_factory=dict)
    body_format: BodyFormat = BodyFormat.JSON

    @cached_property
    def templates(self) -> str:
        """All templates, for the question which placeholders they use."""
        return " ".join((*self.headers.values(), *self.query.values(), *self.body.values()))

    def contradictions(self, key: str) -> Iterator[tuple[str, str]]:
        """Yield what does not fit together, with its key."""
        if self.bearer + self.templates.count("{access_token}") != 1:
            where = "bearer = true, or {access_token} in headers, query or body"
            yield key, f"must send the token exactly once: {where}"
        if self.body and self.method != "POST":
            yield f"{key}.body", f'has no meaning with method = "{self.method}"; use "POST"'


class Check(_Asking):
    """The cheapest authenticated request.

    Attributes:
        interval: Pace of checks of one connection.
        ok: None means that any 2xx without an error in it says the token is alive.
        scope_member: Where the answer lists the token's scopes; None if it does not.
        expires_at_member: Where the answer tells the expiry in Unix seconds; None if it does not.
        max_requests_per_second: Where the API's limit differs from the token endpoint's.
    """

    url: UrlTemplate
    interval: Seconds = timedelta(days=1)
    ok: Ok | None = None
    scope_member: Word | None = None
    expires_at_member: Word | None = None
    max_requests_per_second: Rate | None = None


class Account(_Asking):
    """Who the user is at the provider.

    Attributes:
        source: ``from`` in TOML: a request of its own, the code exchange's answer, its id_token's claims, the
            authorization callback, or a variable of the URLs.
        url: Where to ask; only where a request is made.
        id: Dotted path of what tells accounts apart, the callback's parameter, or a text with variables.
        label: Dotted path of what people see; None: nothing.
    """

    source: AccountSource = Field(alias="from")
    url: UrlTemplate | None = None
    id: Word
    label: Word | None = None

    def contradictions(self, key: str) -> Iterator[tuple[str, str]]:
        """Yield what does not fit together, with its key."""
        if self.source is AccountSource.REQUEST:
            if self.url is None:
                yield f"{key}.url", 'is required with from = "request"'
            yield from super().contradictions(key)
            return
        told_otherwise = (*_OF_A_REQUEST, "label") if self.source is AccountSource.VARIABLE else _OF_A_REQUEST
        for name in told_otherwise:
            if name in self.model_fields_set:
                yield f"{key}.{name}", f'has no meaning with from = "{self.source}"; leave it out'


class Revoke(Table):
    """A revocation that is not RFC 7009's.

    Attributes:
        url: May hold ``{client_id}`` in its path.
        auth: ``client``: as `client_auth` says; ``body``: id and secret in the body, whatever that says;
            ``bearer``: the token itself.
        token: Which token is revoked.
        headers, query, body: May use ``{token}`` and ``{client_id}``.
    """

    method: Literal["POST", "DELETE", "GET"] = "POST"
    url: UrlTemplate
    auth: RevokeAuth = RevokeAuth.CLIENT
    token: TokenKind = TokenKind.REFRESH_TOKEN
    headers: RevokeHeaders = Field(default_factory=dict)
    query: dict[str, RevokeTemplate] = Field(default_factory=dict)
    body: dict[str, RevokeTemplate] = Field(default_factory=dict)
    body_format: BodyFormat = BodyFormat.FORM

    def contradictions(self, key: str) -> Iterator[tuple[str, str]]:
        """Yield what does not fit together, with its key."""
        templates = " ".join((*self.headers.values(), *self.query.values(), *self.body.values()))
        if (self.auth is RevokeAuth.BEARER) + templates.count("{token}") != 1:
            yield (
                key,
                ('must send the token exactly once: auth = "bearer", or {token} in headers, query or body'),
            )
        if self.body and self.method == "GET":
            yield f"{key}.body", 'has no meaning with method = "GET"; use query, or another method'


class FromAnswer(Table):
    """Where a variable's value stands in the code exchange's answer.

    Attributes:
        member: Dotted path of a text.
        pattern: What the text looks like, with one group, the value; None: the whole text is the value.
    """

    member: Word
    pattern: CapturingPattern | None = None


class FromCallback(Table):
    """Where a variable's value stands in the authorization callback.

    Attributes:
        parameter: Its name.
        pattern: Plain text around one ``(.+)``, the value; None: the whole of it is the value.
    """

    parameter: Word
    pattern: BetweenPattern | None = None


def _parameter(value: object) -> object:
    return {"parameter": value} if isinstance(value, str) else value


class Variable(Table):
    """A part of URLs that each connection has of its own, under the variable's name in its metadata.

    Attributes:
        pattern: What the whole value must look like (`providers.patterns`).
        help: What people are told who have to give it.
        example: A value that fits.
        default: Used where a connection has none.
        from_answer, from_callback: Where the connect flow learns it; None: people give it.
    """

    pattern: PatternText
    help: Word | None = None
    example: Word | None = None
    default: Word | None = None
    from_answer: FromAnswer | None = None
    from_callback: Annotated[FromCallback | None, BeforeValidator(_parameter)] = None

    @property
    def learned(self) -> bool:
        """Whether the connect flow learns it."""
        return self.from_answer is not None or self.from_callback is not None

    def contradictions(self, key: str) -> Iterator[tuple[str, str]]:
        """Yield what does not fit together, with its key."""
        if self.from_answer is not None and self.from_callback is not None:
            yield f"{key}.from_callback", "cannot stand beside from_answer; a value comes from one place"
        if self.default is None and not self.learned:
            for name in ("help", "example"):
                if getattr(self, name) is None:
                    yield f"{key}.{name}", "is required, because people have to give the value; add it"
        for name in ("default", "example"):
            value = getattr(self, name)
            if value is not None and not read(self.pattern).matches(value):
                yield f"{key}.{name}", f"does not match the variable's pattern {self.pattern!r}"


class GrantLimit(Table):
    """How many living grants of one account a client may have, and what becomes of one more."""

    max: Annotated[int, Field(ge=1)]
    beyond: BeyondLimit

    @property
    def facts(self) -> provider.GrantLimit:
        """What policy decides from."""
        return provider.GrantLimit(self.max, refused=self.beyond is BeyondLimit.REFUSED)


class Judgement(Table):
    """One rule of a provider's error dialect. The first rule that matches wins over the RFCs' defaults.

    Attributes:
        status: None matches every status.
        code: None matches whatever the member says.
        member: Dotted path of the member that holds the code; ``error`` is RFC 6749 §5.2's. A number in the
            path is a place in a list.
        where: What must hold too; None: nothing.
        name: The code that people and metrics see; None shows the provider's own.
    """

    on: Endpoint
    status: Annotated[int, Field(ge=100, le=599)] | None = None
    code: Codes | None = None
    member: Word = "error"
    where: Where | None = None
    outcome: Outcome
    name: Annotated[str, Field(pattern=r"^[a-z0-9_.-]{1,64}$")] | None = None

    @model_validator(mode="after")
    def _says_when(self) -> Self:
        if self.status is None and self.code is None:
            raise ValueError("needs a status, a code or both; a rule that matches everything judges nothing")
        if self.outcome is Outcome.INSUFFICIENT_SCOPE and self.on not in (Endpoint.CHECK, Endpoint.ACCOUNT):
            raise ValueError('outcome "insufficient_scope" belongs to checks (on = "check")')
        told = self.code is not None or self.where is not None
        if self.outcome is Outcome.GRANT_REJECTED and self.on is Endpoint.TOKEN and not told:
            raise ValueError(
                'outcome "grant_rejected" on tokens ends grants, and a status alone says too little for '
                "that; add the code, or where"
            )
        return self
