"""Words beside the codes that results carry."""

from __future__ import annotations

from typing import Final

from domain.errors import ADDRESS_INSIDE
from domain.incidents import UNDER_HOLD

RESTORE_GUARD: Final = "restore_guard"

#: A word for people beside each code. Codes that providers coin have none and speak for themselves.
MESSAGES: Final = {
    "in_doubt": "the refresh token was sent and no answer is known; recovery waits for its time",
    "minimum_interval": "the token was refreshed a moment ago",
    "staged": "the provider has answered, and Postgres does not take it yet; it lands as soon as it does",
    "lease_held": "another worker is refreshing this token",
    "provider_not_configured": "set the provider's client id and secret",
    "unknown_provider": "no provider definition has this id",
    "wrong_provider": "the connection belongs to another provider than the one that was named",
    "rate": "the provider's request rate is used up for the moment",
    "account_rate": "the request rate of this account at the provider is used up for the moment",
    "concurrency": "the provider's share of this worker is in use",
    "client_misconfigured": "the provider refuses our client; see the open alert",
    "unreachable": "the provider does not answer; calls are held back",
    ADDRESS_INSIDE: "the provider's host leads into our own network; nothing was sent, see the open alert",
    "rate_limited": "the provider asked us to stay away",
    "grant_rejected": "the provider does not honour this grant any more; the user must reconnect",
    "rotation_probably_lost": "a rotated refresh token was probably lost; the user must reconnect",
    "presented_twice": "the token before was presented twice; the other call must come to its end first",
    "token_revoked": "the provider does not accept this token any more; the user must reconnect",
    "revoked_at_provider": "the provider has told that access was revoked; the user must reconnect",
    "account_disabled": "the provider has told that the account is disabled; it is tried again when enabled",
    UNDER_HOLD: "the provider refuses many grants at once; it is tried again, see the open alert",
    "busy": "too many callers wait for this provider already",
    "not_found": "no such connection",
    "disconnected": "the connection was disconnected",
    RESTORE_GUARD: "the database looks like a restored backup; `evergrant doctor --after-restore` tells more",
    "unreadable": "the sealed token cannot be opened; see the open alert",
}


def explained(code: str | None) -> dict[str, str] | None:
    """Return the contract's `error` object for a code; None for none."""
    if code is None:
        return None
    return {"code": code, "message": MESSAGES.get(code, code.replace("_", " "))}
