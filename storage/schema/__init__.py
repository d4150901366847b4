"""The tables. `storage/migrations` creates them; `make check` holds both together."""

from storage.schema.base import SPENT_KEPT, metadata
from storage.schema.connecting import connect_flows
from storage.schema.deployment import deployment, processes
from storage.schema.events import event_digests, received_events
from storage.schema.providers import pending_revocations, provider_holds, verdict_holds
from storage.schema.record import activity, alert_events, alerts
from storage.schema.tokens import connections, spare_tokens, tokens

__all__ = [
    "SPENT_KEPT",
    "activity",
    "alert_events",
    "alerts",
    "connect_flows",
    "connections",
    "deployment",
    "event_digests",
    "metadata",
    "pending_revocations",
    "processes",
    "provider_holds",
    "received_events",
    "spare_tokens",
    "tokens",
    "verdict_holds",
]
