"""The `events` table of a definition, as strict models: how what a provider pushes is signed, and read."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from domain.events import Meaning
from providers.toml_values import CapturingPattern, Url, Word

#: What is signed where a webhook says nothing else.
_BODY: Final = "{body}"
_HEADER_NAME: Final = r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$"

HeaderName = Annotated[str, Field(pattern=_HEADER_NAME)]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class EventSecret(StrEnum):
    """Which secret signs webhooks."""

    CLIENT_SECRET = "client_secret"  # noqa: S105 - whose, not which
    WEBHOOK_SECRET = "webhook_secret"  # noqa: S105 - whose, not which


class SecurityEventTokens(_Table):
    """Security event tokens (RFC 8417), pushed (RFC 8935). What they say has names of its own.

    Attributes:
        issuer: What their ``iss`` must be.
        jwks_url: Where the issuer's keys are (RFC 7517 §5).
        algorithms: Which signatures are accepted (RFC 7518 §3.1).
    """

    kind: Literal["security_event_token"]
    issuer: Url
    jwks_url: Url
    algorithms: Annotated[tuple[Literal["RS256", "ES256"], ...], Field(min_length=1)] = ("RS256",)

    def contradictions(self, key: str) -> Iterator[tuple[str, str]]:
        """Yield what does not fit together, with its key."""
        if len(set(self.algorithms)) < len(self.algorithms):
            yield f"{key}.algorithms", "names one twice"


class Place(_Table):
    """Where a webhook says something: in a header, or in its body.

    Attributes:
        member: Dotted path.
        pattern: What the text looks like, with one group, the value; None: the whole text is the value.
    """

    header: HeaderName | None = None
    member: Word | None = None
    pattern: CapturingPattern | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> Place:
        if (self.header is None) == (self.member is None):
            raise ValueError("must name a header or a member of the body, and not both")
        return self


class Signature(_Table):
    """How a webhook is signed: HMAC-SHA256 (RFC 2104) in a header.

    Attributes:
        header: Where the signature stands.
        prefix: What stands before it there.
        key: Where the header is a list like ``t=1,v1=abc``: the name before the signature; None: it is none.
        encoding: How the signature is written.
        content: What is signed; ``{body}`` and ``{timestamp}`` stand for these, byte by byte.
        timestamp: The header of the timestamp, or, with `key`, the name before it in the same header.
    """

    header: HeaderName
    prefix: str = ""
    key: Word | None = None
    encoding: Literal["hex", "base64"] = "hex"
    content: Annotated[str, Field(min_length=1)] = _BODY
    timestamp: HeaderName | None = None

    def contradictions(self, key: str) -> Iterator[tuple[str, str]]:
        """Yield what does not fit together, with its key."""
        bare = self.content.replace(_BODY, "", 1).replace("{timestamp}", "")
        if _BODY not in self.content or "{" in bare or "}" in bare:
            yield f"{key}.content", "must hold {body} once, may hold {timestamp}, and has no other braces"
        if ("{timestamp}" in self.content) != (self.timestamp is not None):
            yield f"{key}.timestamp", "goes with {timestamp} in content: name both, or neither"
        if self.key is not None and self.prefix:
            yield f"{key}.prefix", "has no meaning beside key; leave it out"


class Challenge(_Table):
    """How a receiver shows that it is one, where it is asked to.

    Attributes:
        value: What was sent for that, as a dotted path.
        echo_as: The answer's member that repeats it.
        signed_as: The answer's member with its HMAC-SHA256 in hex, by the webhook's secret; None: none.
    """

    value: Word
    echo_as: Word
    signed_as: Word | None = None


class Webhook(_Table):
    """Messages of the provider's own form.

    Attributes:
        secret: Whose secret signs; `webhook_secret` is ``EVERGRANT_<PROVIDER>_WEBHOOK_SECRET``.
        scheme: ``hmac``: as `signature` says; ``signed_request``: Meta's form field of that name.
        topic: Where it stands what the message is about; of several places the texts are joined by dots.
        id: Where the message's id stands; None: a digest of what was signed takes its place.
        account: Where it stands whose account it is about.
        at: Where it stands when it happened: Unix seconds, Unix milliseconds or ISO 8601; None: nowhere.
        topics: Topic -> what it means. Anything else is acknowledged, and means nothing.
        challenge: Only with a topic that means ``challenge``.
    """

    kind: Literal["webhook"]
    secret: EventSecret = EventSecret.WEBHOOK_SECRET
    scheme: Literal["hmac", "signed_request"] = "hmac"
    signature: Signature | None = None
    topic: tuple[Place, ...] = ()
    id: Place | None = None
    account: Place
    at: Place | None = None
    topics: Annotated[dict[str, Meaning], Field(min_length=1)]
    challenge: Challenge | None = None

    def contradictions(self, key: str) -> Iterator[tuple[str, str]]:
        """Yield what does not fit together, with its key."""
        if (self.scheme == "hmac") != (self.signature is not None):
            yield f"{key}.signature", 'goes with scheme = "hmac", and with that alone'
        if self.signature is not None:
            yield from self.signature.contradictions(f"{key}.signature")
        if (Meaning.CHALLENGE in self.topics.values()) != (self.challenge is not None):
            yield f"{key}.challenge", 'goes with a topic that means "challenge": write both, or neither'
        if not self.topic and tuple(self.topics) != ("",):
            yield f"{key}.topics", 'without topic there is one, named ""'
        elif self.topic and "" in self.topics:
            yield f'{key}.topics.""', "names no topic; leave it out"
        for name, place in (("id", self.id), ("at", self.at)):
            if place is not None and place.pattern is not None:
                yield f"{key}.{name}.pattern", "belongs to account alone; leave it out"


Events = Annotated[SecurityEventTokens | Webhook, Field(discriminator="kind")]
EVENT_TABLES: Final[dict[str, type[BaseModel]]] = {
    "security_event_token": SecurityEventTokens,
    "webhook": Webhook,
    "signature": Signature,
    "challenge": Challenge,
    "topic": Place,
    "account": Place,
    "id": Place,
    "at": Place,
}
