"""Connections as callers with a key see them: what there is, how it is, and its end. Never a token."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict

from api.authentication import WithKey
from api.context import TheServices
from api.parameters import AccountId, Name, OfAccount, ProviderId, UserId
from api.problems import Problem
from services.disconnecting import DisconnectOutcome
from services.wiring import Services
from storage.connections import ConnectionSummary

router = APIRouter(tags=["connections"])


class ConnectionStatus(BaseModel):
    """A connection without anything secret. Instants are UTC.

    Attributes:
        expires_at: When the access token does; null: unknown or never.
        refresh_expires_at: When the refresh token does unless it is used or renewed before; null as above.
        dies_at: When the grant ends although it is refreshed; null: not known to.
    """

    id: str
    user_id: str
    provider_id: str
    account_id: str
    status: str
    version: int
    scope: tuple[str, ...]
    metadata: dict[str, Any]
    connected_at: datetime
    expires_at: datetime | None
    refresh_expires_at: datetime | None
    dies_at: datetime | None
    last_refreshed_at: datetime | None
    last_verified_at: datetime | None
    last_error_code: str | None
    reauth_reason: str | None


class ProviderStatus(BaseModel):
    """A provider, and whether the user has a connection there that is not disconnected."""

    id: str
    display_name: str
    capabilities: tuple[str, ...]
    configured: bool
    variables: dict[str, str]
    connected: bool


class Disconnect(BaseModel):
    """Which connection is to end."""

    model_config = ConfigDict(extra="forbid")

    user_id: Name
    account_id: AccountId | None = None


@router.get("/oauth/providers")
def providers(user_id: UserId, services: TheServices, _key: WithKey) -> list[ProviderStatus]:
    """List every provider, and which of them the user has connected."""
    connected = {
        found.provider_id
        for found in services.connections.list(user_id=user_id)
        if found.status != "disconnected"
    }
    return [
        ProviderStatus(
            id=definition.id,
            display_name=definition.display_name,
            capabilities=definition.capabilities,
            configured=services.desk.configured(definition.id),
            variables={
                name: variable.help or ""
                for name, variable in definition.variables.items()
                if not variable.learned
            },
            connected=definition.id in connected,
        )
        for definition in services.desk.catalogue
    ]


@router.get("/oauth/{provider_id}/status")
def status(
    provider_id: ProviderId,
    user_id: UserId,
    services: TheServices,
    _key: WithKey,
    account_id: OfAccount = None,
) -> ConnectionStatus:
    """Return how a connection is."""
    return _shown(chosen(services, provider_id, user_id, account_id))


@router.post("/oauth/{provider_id}/disconnect")
def disconnect(
    provider_id: ProviderId, which: Disconnect, services: TheServices, _key: WithKey
) -> dict[str, object]:
    """End a connection: revoked at the provider where it can be, and erased here."""
    found = chosen(services, provider_id, which.user_id, which.account_id)
    result = services.disconnection.disconnect(found.id)
    if result.outcome is DisconnectOutcome.NOT_FOUND:
        raise _no_connection()
    if result.outcome is DisconnectOutcome.RECONNECTED:
        raise Problem(
            409,
            "reconnected",
            "It was connected anew meanwhile, and the new grant was left alone; ask again to end it.",
        )
    return result.as_json()


def chosen(services: Services, provider_id: str, user_id: str, account_id: str | None) -> ConnectionSummary:
    """Return the connection that a caller means: without an account, the one without a name, else the only
    one.

    Raises:
        Problem: 404 where there is none, 409 where there are several and no account is named.
    """
    if provider_id not in services.desk.catalogue:
        raise Problem(404, "unknown_provider", "No provider definition has this id.")
    found = [
        connection
        for connection in services.connections.list(user_id=user_id, provider_id=provider_id)
        if account_id in (None, connection.account_id)
    ]
    # One that has ended is meant only where there is no other.
    living = [connection for connection in found if connection.status != "disconnected"] or found
    if len(living) > 1 and living[0].account_id:
        # The one without a name would have come first.
        accounts = ", ".join(repr(connection.account_id) for connection in living)
        raise Problem(
            409, "account_needed", f"The user has several accounts there; name one by account_id: {accounts}."
        )
    if not living:
        raise _no_connection()
    return living[0]


def _no_connection() -> Problem:
    return Problem(404, "not_connected", "The user has no such connection at this provider.")


def _shown(connection: ConnectionSummary) -> ConnectionStatus:
    return ConnectionStatus(
        id=str(connection.id),
        user_id=connection.user_id,
        provider_id=connection.provider_id,
        account_id=connection.account_id,
        status=str(connection.status),
        version=connection.version,
        scope=connection.scope,
        metadata=dict(connection.metadata),
        connected_at=connection.connected_at,
        expires_at=connection.expires_at,
        refresh_expires_at=connection.refresh_expires_at,
        dies_at=connection.dies_at,
        last_refreshed_at=connection.last_refreshed_at,
        last_verified_at=connection.last_verified_at,
        last_error_code=connection.last_error_code,
        reauth_reason=connection.reauth_reason,
    )
