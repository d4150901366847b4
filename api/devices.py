"""Connecting without a browser of our own: the device flow (RFC 8628)."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from api.authentication import WithKey
from api.context import TheServices
from api.parameters import AccountId, Name, ProviderId
from api.problems import Problem
from services.connecting.asking import Wish

router = APIRouter(tags=["device flow"])


class DeviceWish(BaseModel):
    """Who is to connect what by a code that is typed elsewhere."""

    model_config = ConfigDict(extra="forbid")

    user_id: Name
    account_id: AccountId | None = None
    scopes: list[Name] | None = None
    variables: dict[str, Name] = Field(default_factory=dict)


class DeviceCode(BaseModel):
    """What to show to the person, and where to ask how it went.

    Attributes:
        verification_uri_complete: Holds the code already; None where the provider gives none.
        interval: Seconds between two questions of yours; more of them change nothing.
    """

    flow: UUID
    user_code: str
    verification_uri: str
    verification_uri_complete: str | None
    expires_at: datetime
    interval: int


class DeviceStatus(BaseModel):
    """How a device flow stands: `pending`, `connected`, or why it came to nothing."""

    status: str
    connection: UUID | None = None
    missing_scopes: tuple[str, ...] = ()
    retry_after: int | None = None


@router.post("/oauth/{provider_id}/device", status_code=201)
def start(provider_id: ProviderId, wish: DeviceWish, services: TheServices, _key: WithKey) -> DeviceCode:
    """Ask the provider for a code that the person types there."""
    wanted = Wish(
        user_id=wish.user_id,
        account_id=wish.account_id,
        scopes=None if wish.scopes is None else tuple(wish.scopes),
        variables=wish.variables,
    )
    begun = services.connecting.devices.begin(provider_id, wanted)
    return DeviceCode(
        flow=begun.flow_id,
        user_code=begun.user_code,
        verification_uri=begun.verification_uri,
        verification_uri_complete=begun.verification_uri_complete,
        expires_at=begun.expires_at,
        interval=round(begun.interval.total_seconds()),
    )


@router.get("/oauth/{provider_id}/device/{flow}")
def look(provider_id: ProviderId, flow: UUID, services: TheServices, _key: WithKey) -> DeviceStatus:
    """Ask the provider, if it is time, whether the person has agreed; say how it stands."""
    standing = services.connecting.devices.look(provider_id, flow)
    if standing is None:
        raise Problem(404, "unknown_flow", "No device flow of this id is under way at this provider.")
    return DeviceStatus(
        status=standing.status,
        connection=standing.connection_id,
        missing_scopes=standing.missing,
        retry_after=None
        if standing.retry_after is None
        else max(1, round(standing.retry_after.total_seconds())),
    )
