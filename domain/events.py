"""Decisions about what a provider pushes to us: what a verified statement means for a connection.

Something else acts on what is decided here. Nothing is refused for its age: a statement is history, and
whether it is about what is held now is told by the credential itself or by when it was connected.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from domain.token import ReauthReason, Status

#: How far the provider's clock and Postgres' may be apart, and how much later than what it tells of a
#: statement may be made: within this time of a connecting nobody knows which of the two came first.
CLOCKS_APART: Final = timedelta(minutes=5)
#: For how long providers deliver again what was not taken (Shopify and Google: up to two days). A statement
#: that names no time may be as old as that when it comes.
LATEST_DELIVERY: Final = timedelta(days=2)


def credential_hash(refresh_token: str) -> str:
    """Return how a provider names a refresh token without telling it: base64 of SHA-512 of SHA-512 of it.

    Google's `hash_base64_sha512_sha512`, without padding.
    """
    twice = hashlib.sha512(hashlib.sha512(refresh_token.encode("utf-8")).digest()).digest()
    return as_credential_hash(base64.b64encode(twice).decode("ascii"))


def as_credential_hash(text: str) -> str:
    """Return such a hash in the one spelling that is compared, whichever base64 it was written in."""
    return text.rstrip("=").replace("-", "+").replace("_", "/")


class Meaning(StrEnum):
    """What a provider says; the words of a definition's `events`."""

    REVOKED = "revoked"
    DISABLED = "disabled"
    ENABLED = "enabled"
    LOOK = "look"
    VERIFY = "verify"
    CHALLENGE = "challenge"


@dataclass(frozen=True, slots=True)
class Statement:
    """One thing that a provider has said, verified.

    Attributes:
        kind: The provider's own word for it, for people.
        account_id: Whose account it is about; None: it is about one credential, or about nobody.
        credential: `credential_hash` of the refresh token that it is about; None: it is about all that the
            account has given to us.
        at: When it happened, by the provider's clock; None: it does not say.
    """

    kind: str
    meaning: Meaning
    account_id: str | None = None
    credential: str | None = None
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Held:
    """A connection that a statement may be about. Instants are Postgres' clock.

    Attributes:
        connected_at: When its grant was given to us.
        presenting: A presentation of its refresh token is under way.
        enabled_since: The provider has said that the account was enabled at a later time than the
            statement's.
    """

    status: Status
    reauth_reason: str | None
    connected_at: datetime
    presenting: bool
    enabled_since: bool = False


class Effect(StrEnum):
    """What becomes of a connection.

    Attributes:
        NEEDS_REAUTH: Only a person can help; nothing is erased.
        TRY_AGAIN: It needed a person, and is tried again now.
        LOOK: It is refreshed and checked now; what the provider answers decides.
        NOTHING: It is not concerned.
    """

    NEEDS_REAUTH = "needs_reauth"
    TRY_AGAIN = "try_again"
    LOOK = "look"
    NOTHING = "nothing"


#: Why a connection needs a person after a statement.
REASONS: Final = {
    Meaning.REVOKED: ReauthReason.REVOKED_AT_PROVIDER,
    Meaning.DISABLED: ReauthReason.ACCOUNT_DISABLED,
}


def effect_of(statement: Statement, held: Held, *, received_at: datetime) -> Effect:
    """Decide what a statement means for one connection of the account, or for the credential that it names.

    A connection made after what is told of is another grant, which the statement is not about. Where that
    cannot be told, the provider is asked instead of believed: a token that lives is not taken from anybody.
    So is a presentation under way left to its own end, which knows more than the statement.

    Args:
        held: Of a statement about a credential: the connection that holds this very one.
        received_at: When it came, by Postgres' clock.
    """
    if held.status is Status.DISCONNECTED:
        return Effect.NOTHING
    match statement.meaning:
        case Meaning.REVOKED | Meaning.DISABLED:
            if held.status is Status.NEEDS_REAUTH:
                return Effect.NOTHING
            concerned = _concerned(statement, held, received_at)
            if concerned is Effect.NEEDS_REAUTH and (held.presenting or _enabled(statement, held)):
                return Effect.LOOK
            return concerned
        case Meaning.ENABLED:
            disabled = held.reauth_reason == ReauthReason.ACCOUNT_DISABLED
            return Effect.TRY_AGAIN if held.status is Status.NEEDS_REAUTH and disabled else Effect.NOTHING
        case Meaning.LOOK:
            return Effect.NOTHING if held.status is Status.NEEDS_REAUTH else Effect.LOOK
        case Meaning.VERIFY | Meaning.CHALLENGE:
            return Effect.NOTHING


def _concerned(statement: Statement, held: Held, received_at: datetime) -> Effect:
    if statement.credential is not None:
        return Effect.NEEDS_REAUTH
    if statement.at is None:
        early = held.connected_at < received_at - LATEST_DELIVERY
        return Effect.NEEDS_REAUTH if early else Effect.LOOK
    if held.connected_at > statement.at + CLOCKS_APART:
        return Effect.NOTHING
    return Effect.LOOK if held.connected_at > statement.at - CLOCKS_APART else Effect.NEEDS_REAUTH


def _enabled(statement: Statement, held: Held) -> bool:
    """Say whether a disabling was overtaken by the enabling that followed it."""
    return statement.meaning is Meaning.DISABLED and held.enabled_since
