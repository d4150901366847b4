"""The words that definitions choose from: enumerations, and the names of fields that may be renamed."""

from __future__ import annotations

from enum import StrEnum
from typing import Final, Literal


class ClientAuth(StrEnum):
    """How the client says who it is at the token endpoint (RFC 6749 §2.3.1)."""

    CLIENT_SECRET_POST = "client_secret_post"  # noqa: S105 - a method's name
    CLIENT_SECRET_BASIC = "client_secret_basic"  # noqa: S105 - a method's name
    NONE = "none"


class RevokeAuth(StrEnum):
    """Who a revocation says it is from."""

    CLIENT = "client"
    BASIC = "basic"
    BODY = "body"
    BEARER = "bearer"
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
    ACCOUNT = "account"
    DEVICE = "device"


class Outcome(StrEnum):
    """What a judgement rule may conclude; each is one of `domain.errors`' ProviderErrors."""

    GRANT_REJECTED = "grant_rejected"
    CLIENT_MISCONFIGURED = "client_misconfigured"
    TRANSIENT = "transient"
    RATE_LIMITED = "rate_limited"
    REFUSED = "refused"
    INSUFFICIENT_SCOPE = "insufficient_scope"
    OUTCOME_UNKNOWN = "outcome_unknown"


class LifetimeUnit(StrEnum):
    """What an answer's `expires_in` counts."""

    SECONDS = "seconds"
    MILLISECONDS = "milliseconds"
    MINUTES = "minutes"


class AccountSource(StrEnum):
    """Where it is told who the user is at the provider."""

    REQUEST = "request"
    ANSWER = "answer"
    ID_TOKEN = "id_token"  # noqa: S105 - where claims stand, not a credential
    CALLBACK = "callback"
    VARIABLE = "variable"


class BeyondLimit(StrEnum):
    """What a provider does with a grant beyond its limit."""

    OLDEST_DIES = "oldest_dies"
    REFUSED = "refused"


RequestField = Literal[
    "grant_type",
    "client_id",
    "client_secret",
    "refresh_token",
    "code",
    "redirect_uri",
    "code_verifier",
    "scope",
]
AuthorizeField = Literal["client_id", "redirect_uri", "scope", "state", "response_type"]
AnswerField = Literal[
    "access_token",
    "refresh_token",
    "token_type",
    "expires_in",
    "scope",
    "refresh_expires_in",
    "expires_at",
    "refresh_expires_at",
    "id_token",
]

#: Parameters of the authorization request that we set ourselves (RFC 6749 §4.1.1, RFC 7636 §4.3).
AUTHORIZE_OWN: Final = frozenset(
    {
        "client_id",
        "redirect_uri",
        "scope",
        "state",
        "response_type",
        "code_challenge",
        "code_challenge_method",
    }
)
#: Fields of token requests that a constant must never stand in for: they say who we are and what we present.
TOKEN_OWN: Final = frozenset(
    {"client_id", "client_secret", "refresh_token", "code", "redirect_uri", "code_verifier", "device_code"}
)
