"""Alerts about a provider, or about one of its scopes."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from domain.errors import ADDRESS_INSIDE
from domain.policy import HoldReason
from providers.app_credentials import variable_names
from services.scopes import Call, Scope
from storage.alerts import AlertSpec

_INSIDE: Final = (
    "The name server answers for it with an address of this machine, of the network around it or of the "
    "cloud's own services. Nothing was sent and no token was changed. Check the definition's URLs and the "
    "name server; if the host belongs inside, name it in EVERGRANT_INTERNAL_HOSTS and restart. One probe at "
    "a time looks again, and the alert ends by itself with the first success."
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
    if code == ADDRESS_INSIDE:
        title = f"{display_name} is not called: its host leads into our own network ({code})"
        advice = _INSIDE
    elif reason is HoldReason.CLIENT_MISCONFIGURED:
        client_id, client_secret = variable_names(scope.provider_id)
        title = f"{display_name} refuses our client ({code})"
        advice = (
            f"No token was changed. Check {client_id} and {client_secret} and the "
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
    if revoking and code != ADDRESS_INSIDE:
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
    client_id, _ = variable_names(provider_id)
    return AlertSpec(
        cause=f"provider:{provider_id}:not_configured",
        kind=NOT_CONFIGURED,
        severity="warning",
        title=f"Connections of {provider_id!r} wait: {why}",
        help=f"Their tokens are kept but not refreshed. Set {client_id} (and _CLIENT_SECRET), or "
        "add the definition to EVERGRANT_PROVIDERS_FILE, and restart the workers.",
        provider_id=provider_id,
        connection_id=None,
        detail={},
    )
