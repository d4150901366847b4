"""Everything about connecting, wired once a process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from providers.client import ProviderClient
from services.admission import Admission
from services.connecting.asking import Asking
from services.connecting.devices import Devices
from services.connecting.exchange import Exchange
from services.connecting.landing import Landing
from services.connecting.leaving import Leaving
from services.connecting.links import Links
from services.connecting.returning import Returning
from services.events import EventDigests
from services.providers import ProviderDesk
from storage.alerts import AlertStore
from storage.connecting import ConnectStore
from storage.connections import ConnectionStore
from storage.flows import FlowStore
from storage.signing import Signer
from storage.tokens.store import TokenStore


@dataclass(frozen=True, slots=True)
class Connecting:
    """The parts that routes call."""

    asking: Asking
    leaving: Leaving
    returning: Returning
    devices: Devices


def assemble(
    desk: ProviderDesk,
    signer: Signer,
    flows: FlowStore,
    store: ConnectStore,
    connections: ConnectionStore,
    tokens: TokenStore,
    client: ProviderClient,
    admission: Admission,
    alert_store: AlertStore,
    event_digests: EventDigests,
    *,
    clock: Callable[[], datetime],
) -> Connecting:
    """Put the parts together.

    Args:
        clock: Postgres' clock.
    """
    links = Links(signer)
    exchange, landing = Exchange(client, admission), Landing(store, event_digests)
    asking = Asking(desk, connections, links, clock)
    return Connecting(
        asking=asking,
        leaving=Leaving(desk, links, flows, clock),
        returning=Returning(desk, flows, tokens, exchange, landing, alert_store),
        devices=Devices(asking, desk, flows, exchange, landing),
    )
