"""The alerts that the services raise: one cause each, in words for the person who is woken by it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, cast

from domain.policy import HoldReason
from domain.restore import Sign
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
}


#: How the scope of a provider's health checks ends.
CHECKS: Final = "|check"


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


def provider_cause(scope: str) -> str:
    """Return the cause under which all that stops one provider's calls is one incident."""
    return f"provider:{scope}:held"


def provider_held(
    provider_id: str, display_name: str, reason: HoldReason, *, scope: str, code: str
) -> AlertSpec:
    """Calls to a provider are stopped: it refuses our client, does not answer, or asked us to stay away."""
    if scope.endswith(CHECKS):
        display_name = f"{display_name} (health checks)"
    if reason is HoldReason.CLIENT_MISCONFIGURED:
        variable = "EVERGRANT_" + provider_id.upper().replace("-", "_")
        title = f"{display_name} refuses our client ({code})"
        advice = (
            f"No token was changed. Check {variable}_CLIENT_ID and {variable}_CLIENT_SECRET and the "
            "definition's endpoints. Calls are held back and one probe at a time is sent; the alert ends by "
            "itself with the first success."
        )
    elif reason is HoldReason.RATE_LIMITED:
        title = f"{display_name} asked us to stay away for long"
        advice = (
            "It answered 429 with a long Retry-After, which is obeyed. Tokens that expire meanwhile cannot "
            "be refreshed. Ask the provider about the client's quota; calls go on by themselves when the "
            "time is over."
        )
    else:
        title = f"{display_name} does not answer ({code})"
        advice = (
            "Calls are held back and one probe at a time is sent; valid tokens are still served. The alert "
            "ends by itself with the first success. Nothing needs to be done unless it lasts."
        )
    return AlertSpec(
        cause=provider_cause(scope),
        kind=f"provider_{reason}",
        severity="critical",
        title=title,
        help=advice,
        provider_id=provider_id,
        connection_id=None,
        detail={"code": code},
    )


#: The kind of alert that `housekeeping` opens and resolves.
NOT_CONFIGURED: Final = "provider_not_configured"


def not_configured(provider_id: str, why: str) -> AlertSpec:
    """Connections of a provider wait because this deployment cannot call it."""
    variable = "EVERGRANT_" + provider_id.upper().replace("-", "_")
    return AlertSpec(
        cause=f"provider:{provider_id}:not_configured",
        kind=NOT_CONFIGURED,
        severity="warning",
        title=f"Connections of {provider_id!r} wait: {why}",
        help=f"Their tokens are kept but not refreshed. Set {variable}_CLIENT_ID (and _CLIENT_SECRET), or "
        "add the definition to EVERGRANT_PROVIDERS_FILE, and restart the workers.",
        provider_id=provider_id,
        connection_id=None,
        detail={},
    )


#: The one incident of a database that was put back to an older state.
RESTORED_CAUSE: Final = "deployment:restored"
_SIGNS: Final = {
    Sign.OTHER_IDENTITY: "it is another server, timeline or database than the one that was last accepted",
    Sign.LINES_MISSING: "activity is missing that was seen before",
    Sign.WAL_MISSING: "its write-ahead log ends before where it was seen to be",
    Sign.DECLARED: "an operator says so",
}


def signs_in_words(signs: Sequence[str]) -> str:
    """Return the signs of a restore in a sentence's words."""
    return "; ".join(_SIGNS[Sign(sign)] for sign in signs)


def restored(found: Mapping[str, object]) -> AlertSpec:
    """The database looks like a restored backup: what rotates is not presented until somebody answers."""
    signs = [str(sign) for sign in cast("list[object]", found["signs"])]
    return AlertSpec(
        cause=RESTORED_CAUSE,
        kind="restored",
        severity="critical",
        title="The database looks like a restored backup; providers that rotate tokens are not refreshed",
        help=f"What was found: {signs_in_words(signs)}. The refresh tokens of a backup have been spent "
        "since, and presenting them can kill grants that live. Nothing is presented to rotating providers "
        "until you run `evergrant doctor --after-restore`, which says what it found and what it will do. All "
        "other providers go on. If the database was put back by mistake, stop the workers and bring the "
        "newer one back first.",
        provider_id=None,
        connection_id=None,
        detail=dict(found),
    )
