"""The alerts that the services raise: one cause each, in words for the person who is woken by it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, cast
from uuid import UUID

from domain.policy import HoldReason
from domain.restore import Sign
from domain.token import ConnectionRef, ReauthReason
from services.scopes import Call, Scope
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


#: Kinds of alerts about staged answers, which `services.staged` resolves.
ANSWERS_UNSAFE: Final = "answers_unsafe"
STAGED_UNREADABLE: Final = "staged_unreadable"
STAGED_REFUSED: Final = "staged_refused"


def answers_unsafe(host: str, *, count: int, folder: str) -> AlertSpec:
    """Answers were, or are, in a worker's memory alone: neither Postgres nor the spool took them."""
    return AlertSpec(
        cause=f"staging:{host}:unsafe",
        kind=ANSWERS_UNSAFE,
        severity="critical",
        title=f"A worker on {host} holds received tokens in its memory alone",
        help=f"Postgres did not take {count} answers, and the spool {folder} refused them (is its disk full "
        "or read-only?). Do not kill the workers there: free the disk, or bring Postgres back, and they are "
        "stored by themselves. Workers that are asked to stop wait until then.",
        detail={"host": host, "count": count},
    )


def staged_unreadable(connection_id: UUID, *, why: str) -> AlertSpec:
    """A staged answer cannot be opened."""
    return AlertSpec(
        cause=f"connection:{connection_id}:staged_unreadable",
        kind=STAGED_UNREADABLE,
        severity="critical",
        title="A received token waits in the spool and cannot be opened",
        help=f"{why}. Put the missing key back into EVERGRANT_KEYS and restart the workers of that machine: "
        "the token is kept as it is meanwhile, and nothing is presented for the connection. "
        "`evergrant doctor` shows what is staged.",
        connection_id=connection_id,
    )


def staged_damaged(connection_id: UUID, *, file: str, folder: str) -> AlertSpec:
    """A file of the spool is no staged answer of this version."""
    return AlertSpec(
        cause=f"connection:{connection_id}:staged_damaged",
        kind=STAGED_UNREADABLE,
        severity="critical",
        title="A received token waits in the spool, and its file cannot be read",
        help=f"{folder}/{file} is damaged, or was written by a later version of Evergrant. It is kept, and "
        "nothing is presented for the connection meanwhile. Start the version that wrote it, or restore the "
        "file; if neither is possible, remove it, and the doubt is resolved as its provider allows.",
        connection_id=connection_id,
    )


def staged_refused(connection_id: UUID, *, error: str) -> AlertSpec:
    """A staged answer cannot be stored, for another reason than Postgres being away."""
    return AlertSpec(
        cause=f"connection:{connection_id}:staged_refused",
        kind=STAGED_REFUSED,
        severity="critical",
        title="A received token waits in the spool, and Postgres refuses it",
        help=f"Storing it fails with {error}; the worker's log says more. Look for a missing privilege or a "
        "schema of another version (`evergrant doctor`). It is kept and tried again every few seconds.",
        connection_id=connection_id,
        detail={"error": error},
    )


_CALLED: Final = {Call.TOKEN: "", Call.CHECK: " (health checks)", Call.REVOKE: " (revocations)"}


def named(scope: Scope) -> str:
    """Return what people call the scope: the provider, its tenant where it has some, and what is called."""
    name = scope.display_name if scope.tenant is None else f"{scope.display_name} (tenant {scope.tenant})"
    return name + _CALLED[scope.call]


def provider_cause(scope: str) -> str:
    """Return the cause under which all that stops one provider's calls is one incident."""
    return f"provider:{scope}:held"


def provider_held(scope: Scope, reason: HoldReason, *, code: str) -> AlertSpec:
    """Calls to a provider are stopped: it refuses our client, does not answer, or asked us to stay away."""
    display_name = named(scope)
    revoking = scope.call is Call.REVOKE
    if reason is HoldReason.CLIENT_MISCONFIGURED:
        variable = "EVERGRANT_" + scope.provider_id.upper().replace("-", "_")
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
    if revoking:
        advice = (
            "Disconnected grants are not revoked meanwhile; nobody's token depends on it. What waits is "
            "tried for a day, one probe at a time, and the alert ends by itself with the first success. If "
            "it lasts, check the client's id and secret and the definition's revoke_url."
        )
    return AlertSpec(
        cause=provider_cause(scope.key),
        kind=f"provider_{reason}",
        severity="warning" if revoking else "critical",
        title=title,
        help=advice,
        provider_id=scope.provider_id,
        connection_id=None,
        detail={"code": code},
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


def wave_cause(scope: str) -> str:
    """Return the cause under which one scope's wave of refusals is one incident."""
    return f"provider:{scope}:verdict_hold"


def wave(scope: Scope, incident: UUID, *, refused: int, presented: int) -> AlertSpec:
    """A provider rejects so many grants at once that nobody is declared dead for it."""
    name = named(scope)
    return AlertSpec(
        cause=wave_cause(scope.key),
        kind="verdict_hold",
        severity="critical",
        title=f"{name} suddenly rejects many grants: {refused} of {presented} in ten minutes",
        help="This is more likely a fault at the provider, or in our app's registration there, than so many "
        "users who left at once. Refreshing goes on, the rejected are tried again with growing waits, and no "
        "connection is declared dead meanwhile. Look at the provider's status page and at the app's settings "
        "there. It ends by itself once the others succeed as usual. If the rejections are true (the app was "
        f"removed, or its grants were revoked), run `evergrant incidents confirm {incident}`: the rejected "
        "connections then need their users. If they were a mistake that is over, run "
        f"`evergrant incidents dismiss {incident}`: they are tried again at once.",
        provider_id=scope.provider_id,
        connection_id=None,
        detail={
            "incident": str(incident),
            "refused": refused,
            "presented": presented,
            "tenant": scope.tenant,
        },
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
