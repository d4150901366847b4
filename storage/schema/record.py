"""What happened: activity, alerts and their outbox."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Identity,
    Index,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from storage.schema.base import instant, metadata

activity = Table(
    "activity",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    instant("at", required=True),
    # No foreign key: what happened outlives the connection it happened to. Null where somebody tried to
    # connect, and it came to no connection.
    Column("connection_id", Uuid),
    Column("provider_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("attempt_id", Uuid),
    Column("version", BigInteger),
    Column("code", Text),
    Column("detail", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    Index("ix_activity_connection_id_id", "connection_id", text("id DESC")),
    # Lines come in the order of time, so a few bytes a block find the last ten minutes.
    Index("ix_activity_at", "at", postgresql_using="brin"),
    # Append-only: by default a vacuum for inserts would come at a fifth of a table that never shrinks.
    postgresql_with={"autovacuum_vacuum_insert_scale_factor": "0.05"},
    comment="Append-only: what happened to each connection.",
)

alerts = Table(
    "alerts",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("cause", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("severity", Text, nullable=False),
    Column("status", Text, nullable=False, server_default="open"),
    Column("count", BigInteger, nullable=False, server_default=text("1")),
    instant("first_seen_at", required=True),
    instant("last_seen_at", required=True),
    instant("acknowledged_at"),
    instant("resolved_at"),
    Column("provider_id", Text),
    Column("connection_id", Uuid),
    Column("title", Text, nullable=False),
    Column("help", Text, nullable=False),
    Column("detail", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    CheckConstraint("status IN ('open', 'acknowledged', 'resolved')", name="status"),
    CheckConstraint("severity IN ('info', 'warning', 'critical')", name="severity"),
    CheckConstraint("(status = 'resolved') = (resolved_at IS NOT NULL)", name="resolved_has_time"),
    Index("uq_alerts_unresolved_cause", "cause", unique=True, postgresql_where=text("status <> 'resolved'")),
    Index("ix_alerts_connection_id", "connection_id"),
    Index("ix_alerts_status_last_seen_at", "status", "last_seen_at"),
    comment="At most one unresolved alert a cause; repetition counts.",
)

alert_events = Table(
    "alert_events",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("alert_id", Uuid, ForeignKey("alerts.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("event", Text, nullable=False),
    Column("payload", JSONB, nullable=False),
    instant("created_at", required=True),
    instant("delivered_at"),
    CheckConstraint("event IN ('opened', 'acknowledged', 'resolved')", name="event"),
    Index("ix_alert_events_undelivered", "id", postgresql_where=text("delivered_at IS NULL")),
    comment="The outbox: written with the alert's change, delivered later.",
)
