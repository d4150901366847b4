"""The device flow (RFC 8628): a person agrees on another device, and whoever waits here asks after it.

The provider is asked when somebody asks us, never more often than it allows, whoever asks and however often:
the right to ask is taken in Postgres. Nothing else polls, so that a flow which nobody waits for any more
costs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID, uuid4

import structlog

from domain.errors import SealBroken
from services.connecting.asking import Asking, Wish
from services.connecting.calling import Refusal
from services.connecting.exchange import Exchange, StillPending
from services.connecting.landing import Landing
from services.connecting.outcomes import CannotConnect, Failure
from services.providers import ProviderDesk, ReadyProvider
from storage.activity import Note
from storage.flows import Flow, FlowStore, NewFlow

log = structlog.get_logger(__name__)

#: RFC 8628 §3.5: by how much the interval grows when the provider says `slow_down`.
SLOWER: Final = timedelta(seconds=5)
PENDING: Final = "pending"
CONNECTED: Final = "connected"


@dataclass(frozen=True, slots=True)
class Begun:
    """What to show to the person."""

    flow_id: UUID
    user_code: str
    verification_uri: str
    verification_uri_complete: str | None
    expires_at: datetime
    interval: timedelta


@dataclass(frozen=True, slots=True)
class Standing:
    """How a flow stands.

    Attributes:
        status: `pending`, `connected`, or a `Failure`.
        retry_after: When asking again may tell more; None: never.
    """

    status: str
    connection_id: UUID | None = None
    missing: tuple[str, ...] = ()
    retry_after: timedelta | None = None


class Devices:
    """One per process; thread-safe."""

    def __init__(
        self, asking: Asking, desk: ProviderDesk, flows: FlowStore, exchange: Exchange, landing: Landing
    ) -> None:
        self._asking = asking
        self._desk = desk
        self._flows = flows
        self._exchange = exchange
        self._landing = landing

    def begin(self, provider_id: str, wish: Wish) -> Begun:
        """Ask the provider for a code to show.

        Raises:
            CannotConnect: It could never come to a connection, or the provider gives no code now; says why.
            ServiceUnavailable: Postgres is away.
        """
        request = self._asking.request(provider_id, wish, by_browser=False)
        device = self._exchange.device(request.provider, request.scopes, request.variables)
        if isinstance(device, Refusal):
            name = request.provider.definition.display_name
            raise CannotConnect("provider_unavailable", f"{name} gives no device code now ({device.code})")
        flow = NewFlow(
            id=uuid4(),
            provider_id=provider_id,
            user_id=wish.user_id,
            account_id=wish.account_id,
            scopes=request.scopes,
            variables=request.variables,
            lifetime=device.expires_in,
            secret=device.device_code,
        )
        ends = self._flows.begin_device(flow, poll=device.interval)
        return Begun(
            flow.id,
            device.user_code,
            device.verification_uri,
            device.verification_uri_complete,
            ends,
            device.interval,
        )

    def look(self, provider_id: str, flow_id: UUID) -> Standing | None:
        """Return how a flow stands, after asking the provider if it is time; None: there is no such flow.

        Raises:
            ServiceUnavailable: Postgres is away.
        """
        claimed = self._flows.claim_poll(flow_id, provider_id)
        if claimed is not None:
            return self._ask(claimed)
        flow = self._flows.read_device(flow_id, provider_id)
        if flow is None:
            return None
        if flow.ended_as is not None:
            missing: Any = flow.detail.get("missing", ())
            return Standing(flow.ended_as, flow.connection_id, tuple(missing))
        if flow.expired:
            return self._ended(flow, Failure.EXPIRED_DEVICE, None)
        return _pending(flow)

    def _ask(self, flow: Flow) -> Standing:
        provider = self._desk.ready(flow.provider_id)
        if not isinstance(provider, ReadyProvider):
            return _pending(flow)
        try:
            code = self._flows.open(flow)
        except SealBroken as broken:
            log.error("device_code_unreadable", flow_id=str(flow.id), why=str(broken))
            return self._ended(flow, Failure.UNAVAILABLE, "unreadable")
        if code is None:
            raise AssertionError("unreachable: a device flow that has not ended has its code")
        polled = self._exchange.poll(provider, flow, code)
        if isinstance(polled, StillPending):
            if polled.slow_down:
                self._flows.slow_down(flow.id, SLOWER)
            return _pending(flow, longer=SLOWER if polled.slow_down else timedelta(0))
        if isinstance(polled, Refusal):
            return self._ended(flow, polled.failure, polled.code)
        finished = self._landing.store(provider, flow, polled)
        if finished.failure is not None:
            return self._ended(flow, finished.failure, finished.code)
        self._flows.end(
            flow.id,
            CONNECTED,
            connection_id=finished.connection_id,
            detail={"missing": list(finished.missing)},
        )
        return Standing(CONNECTED, finished.connection_id, finished.missing)

    def _ended(self, flow: Flow, failure: Failure, code: str | None) -> Standing:
        detail: Mapping[str, object] = {"user_id": flow.user_id, "flow_id": str(flow.id), "said": code}
        self._flows.end(flow.id, failure)
        self._flows.note(flow.provider_id, Note("connect_failed", failure, detail))
        log.warning(
            "connect_failed", provider=flow.provider_id, code=str(failure), said=code, flow_id=str(flow.id)
        )
        return Standing(failure)


def _pending(flow: Flow, *, longer: timedelta = timedelta(0)) -> Standing:
    if flow.next_poll_at is None:
        raise AssertionError("unreachable: a device flow knows when to ask next")
    return Standing(PENDING, retry_after=max(flow.next_poll_at - flow.now, timedelta(0)) + longer)
