"""Alerts about one connection."""

from __future__ import annotations

from datetime import datetime
from typing import Final
from uuid import UUID

from domain.token import ConnectionRef, ReauthReason
from storage.alerts import AlertSpec

_REAUTH: Final = {
    ReauthReason.GRANT_REJECTED: (
        "{provider} no longer honours the grant of user {user}",
        (
            "The provider rejects the refresh token: the user revoked access, changed a password, or the "
            "grant expired. Ask the user to connect {provider} again; nothing was deleted here."
        ),
    ),
    ReauthReason.ROTATION_PROBABLY_LOST: (
        "A rotated refresh token of user {user} at {provider} was probably lost",
        (
            "A refresh was cut off after it was sent, {provider} had probably already rotated the token, and "
            "the one later attempt was refused. The user has most likely not revoked anything. Ask the user "
            "to connect {provider} again."
        ),
    ),
    ReauthReason.TOKEN_REVOKED: (
        "{provider} no longer accepts the token of user {user}",
        (
            "Two health checks in a row were refused, and this kind of token cannot be refreshed. Ask the "
            "user to connect {provider} again."
        ),
    ),
    ReauthReason.REVOKED_AT_PROVIDER: (
        "{provider} has told that user {user} revoked access",
        (
            "{provider} itself said so, in a signed message: the user, or an administrator, has removed the "
            "app or revoked its tokens there. Ask the user to connect {provider} again, if that was not "
            "meant; nothing was deleted here."
        ),
    ),
    ReauthReason.ACCOUNT_DISABLED: (
        "{provider} has told that the account of user {user} is disabled",
        (
            "{provider} itself said so, in a signed message. If it tells that the account is enabled again, "
            "the connection is tried again by itself; else ask the user to connect {provider} again. Nothing "
            "was deleted here."
        ),
    ),
}


_RESTORED: Final = (
    _REAUTH[ReauthReason.ROTATION_PROBABLY_LOST][0],
    (
        "The database was restored from an older backup, {provider} had probably rotated the token after it, "
        "and the one attempt with the backup's token was refused. The user has most likely not revoked "
        "anything. Ask the user to connect {provider} again."
    ),
)


def needs_reauth(
    ref: ConnectionRef, display_name: str, reason: ReauthReason, *, code: str, restored: bool = False
) -> AlertSpec:
    """Only a person can help this connection.

    Args:
        restored: Its refresh token came out of a backup.
    """
    title, advice = _RESTORED if restored else _REAUTH[reason]
    words = {"provider": display_name, "user": ref.user_id}
    return AlertSpec(
        cause=f"connection:{ref.connection_id}:needs_reauth",
        kind="needs_reauth",
        severity="warning",
        title=title.format(**words),
        help=advice.format(**words),
        provider_id=ref.provider_id,
        connection_id=ref.connection_id,
        detail={"reason": str(reason), "code": code},
    )


def failing(
    ref: ConnectionRef, display_name: str, *, code: str, failures: int, retry_at: datetime
) -> AlertSpec:
    """A connection that fails again and again, although the provider has not rejected its grant."""
    return AlertSpec(
        cause=f"connection:{ref.connection_id}:failing",
        kind="failing",
        severity="warning",
        title=f"Refreshing the {display_name} connection of user {ref.user_id} keeps failing",
        help=f"It has failed {failures} times in a row, last with {code!r}. It is tried again with growing "
        "waits, so nothing needs to be done if the provider recovers. If it lasts, look at the connection's "
        "activity with `evergrant connections show`.",
        provider_id=ref.provider_id,
        connection_id=ref.connection_id,
        detail={"code": code, "failures": failures, "retry_at": retry_at.isoformat()},
    )


def unreadable(ref: ConnectionRef, display_name: str, *, why: str) -> AlertSpec:
    """A sealed token cannot be opened."""
    return AlertSpec(
        cause=f"connection:{ref.connection_id}:unreadable",
        kind="unreadable",
        severity="critical",
        title=f"The {display_name} token of user {ref.user_id} cannot be opened",
        help=f"{why}. Put the missing key back into EVERGRANT_KEYS; the token is kept as it is meanwhile.",
        provider_id=ref.provider_id,
        connection_id=ref.connection_id,
        detail={},
    )


def not_revoked(
    connection_id: UUID,
    provider_id: str,
    display_name: str,
    *,
    user_id: str,
    code: str,
    manage_url: str | None,
) -> AlertSpec:
    """A disconnected grant may live on at its provider, because it could not be revoked there for a day."""
    where = f"{display_name}'s account settings" if manage_url is None else manage_url
    return AlertSpec(
        cause=f"connection:{connection_id}:not_revoked",
        kind="not_revoked",
        severity="warning",
        title=f"The {display_name} grant of user {user_id} was not revoked",
        help=f"The user disconnected it, and it was erased here, but {display_name} did not take the "
        f"revocation for 24 hours (last: {code!r}). The grant may still live there, although Evergrant has "
        f"no token of it any more. The user can remove the app under {where}. Acknowledge this alert when he "
        "has been told; it ends when he connects again.",
        provider_id=provider_id,
        connection_id=connection_id,
        detail={"code": code},
    )
