"""Alerts about what people consented to, and about providers that let nobody connect."""

from __future__ import annotations

from datetime import datetime

from domain.token import ConnectionRef
from providers.app_credentials import variable_names
from storage.alerts import NOT_RENEWABLE, SCOPE_SHORTFALL, AlertSpec


def scope_shortfall(ref: ConnectionRef, display_name: str, *, missing: tuple[str, ...]) -> AlertSpec:
    """A person consented to less than was asked for."""
    return AlertSpec(
        cause=f"connection:{ref.connection_id}:{SCOPE_SHORTFALL}",
        kind=SCOPE_SHORTFALL,
        severity="warning",
        title=f"User {ref.user_id} gave {display_name} less access than was asked for",
        help=f"Not given: {', '.join(missing)}. What needs it will be refused by {display_name}. Let the "
        "user connect again and tick what was left out, or do without it and acknowledge this alert; it ends "
        "when the user connects again.",
        provider_id=ref.provider_id,
        connection_id=ref.connection_id,
        detail={"missing": list(missing)},
    )


def not_renewable(ref: ConnectionRef, display_name: str, *, expires_at: datetime) -> AlertSpec:
    """A consent brought an access token that ends, and nothing to renew it by."""
    return AlertSpec(
        cause=f"connection:{ref.connection_id}:{NOT_RENEWABLE}",
        kind=NOT_RENEWABLE,
        severity="warning",
        title=f"The {display_name} connection of user {ref.user_id} cannot be renewed",
        help=f"{display_name} gave an access token without a refresh token; it ends at "
        f"{expires_at.isoformat(timespec='seconds')}. Some providers give one only if it is asked for: by a "
        "scope such as offline_access, or by a parameter (authorize_params of the definition, such as "
        "access_type = offline with prompt = consent); others only to approved apps. Mend the definition and "
        "let the user connect again.",
        provider_id=ref.provider_id,
        connection_id=ref.connection_id,
        detail={"expires_at": expires_at.isoformat()},
    )


def connect_cause(provider_id: str) -> str:
    """Return the cause under which all that keeps a provider's users from connecting is one incident."""
    return f"provider:{provider_id}:connect"


def connect_refused(provider_id: str, display_name: str, *, code: str) -> AlertSpec:
    """A provider refuses our app when people come back from it: nobody can connect."""
    client_id, client_secret = variable_names(provider_id)
    return AlertSpec(
        cause=connect_cause(provider_id),
        kind="connect_refused",
        severity="warning",
        title=f"{display_name} lets nobody connect: it refuses our app ({code})",
        help=f"People who agree at {display_name} are told to try again later. Check {client_id} and "
        f"{client_secret}, the definition's token_url, and that the app's redirect URIs at {display_name} "
        f"have EVERGRANT_PUBLIC_URL followed by /oauth/{provider_id}/callback. Connections that are there "
        "already are refreshed as before. It ends with the first connection that succeeds.",
        provider_id=provider_id,
        detail={"code": code},
    )
