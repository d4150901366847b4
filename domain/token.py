"""A connection's token as policy sees it: state and times, nothing secret, nothing sealed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID

from pydantic import SecretStr

#: The last error of a token that has probably been spent since the backup from which it was restored.
RESTORED: Final = "restored"


class Status(StrEnum):
    """The states of a connection, as the command line and HTTP name them."""

    ACTIVE = "active"
    IN_DOUBT = "in_doubt"
    NEEDS_REAUTH = "needs_reauth"
    DISCONNECTED = "disconnected"


class ReauthReason(StrEnum):
    """Why only a person can help."""

    GRANT_REJECTED = "grant_rejected"
    ROTATION_PROBABLY_LOST = "rotation_probably_lost"
    TOKEN_REVOKED = "token_revoked"  # noqa: S105 - a reason, not a credential
    REVOKED_AT_PROVIDER = "revoked_at_provider"
    ACCOUNT_DISABLED = "account_disabled"


class TokenKind(StrEnum):
    """The two tokens of a grant, by the names that revocation calls them (RFC 7009 §2.1)."""

    REFRESH_TOKEN = "refresh_token"  # noqa: S105 - a kind, not a credential
    ACCESS_TOKEN = "access_token"  # noqa: S105 - a kind, not a credential


@dataclass(frozen=True, slots=True)
class ConnectionRef:
    """Who a token belongs to. `account_id` is "" where a user has one account at the provider."""

    connection_id: UUID
    user_id: str
    provider_id: str
    account_id: str = ""
    metadata: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TokenState:
    """Everything a decision about one token may look at. All instants are aware UTC, by Postgres' clock.

    Attributes:
        version: Counts the rotations of the connection, over all its grants; fences every write.
        grant_id: Changes when the user connects anew; an answer for an older grant never lands.
        issued_at: When the request that brought the access token began; None if unknown.
        expires_at: None means unknown or never, as the provider's definition says.
        refresh_due_at: When the refresh task must act next (refresh, retry or recovery); None means never.
        check_due_at: When the next health check is due; None means never.
        not_before: No presentation before this instant, not even a forced one (backoff, Retry-After).
        lease_owner: The process that holds the lease, or whose presentation is unresolved; None: neither.
        attempt_id: The attempt that holds the lease, or whose presentation is unresolved.
        committed_attempt_id: The attempt whose answer is the row's current version; None before the first.
        presented_at: The refresh token has been, or may have been, sent by `attempt_id`; None: resolved.
        first_presented_at: When the current refresh token was first presented without a known answer;
            replay windows count from here. None: no doubt.
        failures: Consecutive failed attempts since the last success.
        check_failures: Consecutive health checks that called the token dead.
        alerted: An alert about this connection may be open.
        refreshable: There is something to present: a refresh token, or client credentials.
        tenant: Which of the provider's tenants the grant belongs to; None: none.
        refused_at: When the provider first refused the current refresh token; None: it has not.
    """

    connection_id: UUID
    provider_id: str
    status: Status
    version: int
    grant_id: UUID
    issued_at: datetime | None = None
    expires_at: datetime | None = None
    refresh_due_at: datetime | None = None
    check_due_at: datetime | None = None
    not_before: datetime | None = None
    lease_until: datetime | None = None
    lease_owner: str | None = None
    attempt_id: UUID | None = None
    committed_attempt_id: UUID | None = None
    presented_at: datetime | None = None
    first_presented_at: datetime | None = None
    failures: int = 0
    check_failures: int = 0
    last_refreshed_at: datetime | None = None
    last_verified_at: datetime | None = None
    last_error_code: str | None = None
    reauth_reason: str | None = None
    alerted: bool = False
    refreshable: bool = True
    tenant: str | None = None
    refused_at: datetime | None = None

    @property
    def lifetime(self) -> timedelta | None:
        """How long the current access token lives in all; None if unknown or never-ending."""
        if self.issued_at is None or self.expires_at is None:
            return None
        return self.expires_at - self.issued_at


@dataclass(frozen=True, slots=True)
class Credentials:
    """A grant's tokens in the clear. They exist in memory only; `repr` shows neither.

    Attributes:
        refresh_token: None where the provider issued none (client credentials, tokens that never expire).
    """

    access_token: SecretStr
    refresh_token: SecretStr | None


@dataclass(frozen=True, slots=True)
class Answer:
    """A provider's successful answer (RFC 6749 §5.1), judged and strict.

    Attributes:
        refresh_token: None where the answer omits it: the old one stays (RFC 6749 §6).
        expires_in: None where the answer names no lifetime.
        scope: None where the answer names none: unchanged (RFC 6749 §5.1).
        refresh_expires_in: Lifetime of the refresh token where the provider tells it, else None.
        id_token: OpenID Connect's word on who the user is; None where there is none. Nothing keeps it.
    """

    access_token: SecretStr
    refresh_token: SecretStr | None = None
    expires_in: timedelta | None = None
    scope: tuple[str, ...] | None = None
    refresh_expires_in: timedelta | None = None
    id_token: SecretStr | None = None
