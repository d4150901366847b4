"""What a transcript may say, as strict models."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Final, Literal, Self
from urllib.parse import parse_qsl, urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from simulator.playing.id_tokens import with_id_tokens

#: What a request's texts may refer to; `simulator.playing.known` has their values.
REFERENCES: Final = frozenset(
    {
        "access_token",
        "refresh_token",
        "client_id",
        "client_secret",
        "code",
        "redirect_uri",
        "code_verifier",
        "device_code",
    }
)
#: Any value but an empty one.
ANY: Final = "*"
#: A word in braces; a GraphQL query's braces hold more than that.
_REFERENCE: Final = re.compile(r"\{([a-z_]+)\}")


def _text(value: str) -> str:
    for match in _REFERENCE.finditer(value):
        if match.group(1) not in REFERENCES:
            known = ", ".join(f"{{{name}}}" for name in sorted(REFERENCES))
            raise ValueError(f"may refer to {known}, and to nothing else in braces")
    return value


def _body(value: str) -> str:
    with_id_tokens(value, {})
    return value


def _address(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme != "https" or not parts.hostname or parts.fragment or parts.username is not None:
        raise ValueError("must be https://host/path, as the provider's page has it")
    return _text(value)


Word = Annotated[str, Field(min_length=1)]
Text = Annotated[str, AfterValidator(_text)]
Scalar = bool | int | Text
Address = Annotated[str, AfterValidator(_address)]
Seconds = Annotated[int, Field(ge=0)]

Endpoint = Literal["token", "check", "revoke", "account", "device"]
Grant = Literal["authorization_code", "refresh_token", "client_credentials", "device_code"]
Refusal = Literal[
    "grant_rejected",
    "client_misconfigured",
    "transient",
    "rate_limited",
    "refused",
    "insufficient_scope",
    "outcome_unknown",
]
#: What each call comes to when it goes well.
SUCCESS: Final[Mapping[Endpoint, str]] = {
    "token": "tokens",
    "check": "alive",
    "revoke": "revoked",
    "account": "account",
    "device": "device",
}


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Wanted(_Table):
    """What the provider insists on. Texts may refer to made-up values, such as ``{access_token}``.

    Attributes:
        url: Its query's parameters are insisted on as those of `query` are.
        client_auth: ``basic``, ``body``, ``bearer`` (the access token in the Authorization header), or
            ``none``: the client's secret must not be sent, nor an Authorization header.
        fields: Of the body; of the query where `body_format` is ``none``. ``*``: any value but an empty one.
        headers: By name, in whatever case.
        absent: Fields that must not be sent, in body or query.
    """

    method: Literal["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD"]
    url: Address
    client_auth: Literal["basic", "body", "bearer", "none"] = "none"
    body_format: Literal["form", "json", "none"] = "none"
    fields: dict[Word, Scalar] = Field(default_factory=dict)
    query: dict[Word, Scalar] = Field(default_factory=dict)
    headers: dict[Word, Text] = Field(default_factory=dict)
    absent: tuple[Word, ...] = ()

    @property
    def parameters(self) -> dict[str, Scalar]:
        """All that is insisted on in the query."""
        asked: dict[str, Scalar] = dict(parse_qsl(urlsplit(self.url).query, keep_blank_values=True))
        return {**asked, **self.query, **(self.fields if self.body_format == "none" else {})}

    @property
    def members(self) -> dict[str, Scalar]:
        """All that is insisted on in the body."""
        return {} if self.body_format == "none" else self.fields


class Told(_Table):
    """What the provider answers.

    Attributes:
        headers: Beside those every answer has; a ``date`` or ``content-type`` here replaces the usual one.
        body: ``{access_token}``, ``{refresh_token}`` and ``{id_token:{…}}`` stand for made-up tokens.
    """

    status: Annotated[int, Field(ge=200, le=599)]
    headers: dict[Word, str] = Field(default_factory=dict)
    body: Annotated[str, AfterValidator(_body)] = ""


class Means(_Table):
    """What a client must conclude. Of what is left out only `expires_in` is looked at.

    Attributes:
        outcome: The success of the call's kind, or the class of the refusal; ``pending``: the user of a
            device has not decided yet.
        code: The word that people see for a refusal.
        expires_in: Seconds; None: the answer names no lifetime.
        refresh_token: ``new``: the answer brings another one; ``same``: it brings the one that was presented;
            ``kept``: it brings none and the old one stays; ``none``: there is none. None is not looked at.
        again_for: How long after this the presented refresh token may be presented again, by the page; None:
            it does not say that it may.
    """

    outcome: Literal["tokens", "alive", "revoked", "account", "device", "pending"] | Refusal
    code: Word | None = None
    expires_in: Seconds | None = None
    refresh_token: Literal["new", "same", "kept", "none"] | None = None
    refresh_expires_in: Seconds | None = None
    scope: tuple[Word, ...] | None = None
    account_id: str | None = None
    account_label: str | None = None
    again_for: Seconds | Literal["until_successor_used", "unlimited"] | None = None
    retry_after: Seconds | None = None
    variables: dict[Word, str] = Field(default_factory=dict)


class Exchange(_Table):
    """One request and its answer.

    Attributes:
        grant: Of token requests, else None.
        source: The page or the client's code that shows it.
        documented: False: it is not on the provider's own pages; a comment in the file says where it is from.
        variables: Values of the URL's variables and of what else the connection's metadata holds.
        callback: Parameters of the authorization callback beside code, state and iss, before a code exchange.
    """

    name: Word
    on: Endpoint
    grant: Grant | None = None
    source: Word
    documented: bool = True
    variables: dict[Word, str] = Field(default_factory=dict)
    callback: dict[Word, str] = Field(default_factory=dict)
    request: Wanted
    answer: Told
    means: Means

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.on == "token") != (self.grant is not None):
            raise ValueError('grant: belongs to on = "token", and is required there')
        if self.means.again_for is not None and self.grant != "refresh_token":
            raise ValueError('means.again_for: belongs to grant = "refresh_token"')
        if self.means.outcome == "pending" and self.grant != "device_code":
            raise ValueError('means.outcome: "pending" belongs to grant = "device_code"')
        if self.means.outcome in SUCCESS.values() and self.means.outcome != SUCCESS[self.on]:
            raise ValueError(f'means.outcome: of on = "{self.on}" is "{SUCCESS[self.on]}", or a refusal')
        return self


class Consent(_Table):
    """Where a user's browser is sent to agree.

    Attributes:
        url: Without a query.
        query: What the provider insists on there. ``*``: any value but an empty one.
        variables: Values of the URL's variables.
    """

    source: Word
    documented: bool = True
    url: Address
    query: dict[Word, Text] = Field(default_factory=dict)
    variables: dict[Word, str] = Field(default_factory=dict)


class Transcript(_Table):
    """All exchanges of one provider.

    Attributes:
        authorize: None: it does not show the authorization request.
    """

    provider: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
    authorize: Consent | None = None
    exchange: Annotated[tuple[Exchange, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _has_names(self) -> Self:
        names = [one.name for one in self.exchange]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f'exchange: two are named "{name}"; a name is what a report points at')
        return self
