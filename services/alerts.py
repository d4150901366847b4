"""The alerts that the services raise: one cause each, in words for the person who is woken by it."""

from __future__ import annotations

from datetime import datetime
from typing import Final
from uuid import UUID

from domain.policy import HoldReason
from domain.token import ConnectionRef, ReauthReason
from services.scopes import Scope
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


def needs_reauth(ref: ConnectionRef, display_name: str, reason: ReauthReason, *, code: str) -> AlertSpec:
    """Only a person can help this connection."""
    title, advice = _REAUTH[reason]
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


def named(scope: Scope) -> str:
    """Return what people call the scope: the provider, its tenant where it has some, and what is called."""
    name = scope.display_name if scope.tenant is None else f"{scope.display_name} (tenant {scope.tenant})"
    return f"{name} (health checks)" if scope.checks else name


def provider_cause(scope: str) -> str:
    """Return the cause under which all that stops one provider's calls is one incident."""
    return f"provider:{scope}:held"


def provider_held(scope: Scope, reason: HoldReason, *, code: str) -> AlertSpec:
    """Calls to a provider are stopped: it refuses our client, does not answer, or asked us to stay away."""
    display_name = named(scope)
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
    return AlertSpec(
        cause=provider_cause(scope.key),
        kind=f"provider_{reason}",
        severity="critical",
        title=title,
        help=advice,
        provider_id=scope.provider_id,
        connection_id=None,
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
