"""The tables. `storage/migrations` creates them; `make check` holds both together."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TIMESTAMP

#: How many spent refresh tokens of a grant are remembered.
SPENT_KEPT: Final = 32

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)


def _instant(name: str, *, required: bool = False) -> Column[object]:
    default = text("clock_timestamp()") if required else None
    return Column(name, TIMESTAMP(timezone=True), nullable=not required, server_default=default)


connections = Table(
    "connections",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("user_id", Text, nullable=False),
    Column("provider_id", Text, nullable=False),
    Column("account_id", Text, nullable=False, server_default=""),
    Column("scope", ARRAY(Text), nullable=False, server_default=text("'{}'::text[]")),
    Column("metadata", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    _instant("created_at", required=True),
    _instant("updated_at", required=True),
    _instant("connected_at", required=True),
    # Also the index of a user's connections, and the order in which they are listed.
    UniqueConstraint("user_id", "provider_id", "account_id"),
    comment="Who has connected what. Not written on the hot path.",
)

tokens = Table(
    "tokens",
    metadata,
    Column("connection_id", Uuid, ForeignKey("connections.id", ondelete="CASCADE"), primary_key=True),
    Column("provider_id", Text, nullable=False),
    Column("status", Text, nullable=False, server_default="active"),
    Column("version", BigInteger, nullable=False, server_default=text("1")),
    Column("grant_id", Uuid, nullable=False),
    Column("key_id", Text, nullable=False),
    Column("access_token", LargeBinary),
    Column("refresh_token", LargeBinary),
    # Recognises the current refresh token, so that it can join the spent ones without being opened.
    Column("refresh_digest", LargeBinary),
    Column("spent_digests", ARRAY(LargeBinary), nullable=False, server_default=text("'{}'::bytea[]")),
    _instant("issued_at"),
    _instant("expires_at"),
    _instant("refresh_expires_at"),
    _instant("refresh_due_at"),
    _instant("check_due_at"),
    _instant("refresh_enqueued_until"),
    _instant("check_enqueued_until"),
    _instant("not_before"),
    Column("lease_owner", Text),
    _instant("lease_until"),
    Column("attempt_id", Uuid),
    _instant("presented_at"),
    _instant("first_presented_at"),
    Column("committed_attempt_id", Uuid),
    Column("failures", Integer, nullable=False, server_default=text("0")),
    Column("check_failures", Integer, nullable=False, server_default=text("0")),
    Column("last_error_code", Text),
    _instant("last_error_at"),
    _instant("last_refreshed_at"),
    _instant("last_verified_at"),
    _instant("last_used_at"),
    Column("reauth_reason", Text),
    Column("alerted", Boolean, nullable=False, server_default=text("false")),
    Column("refreshable", Boolean, nullable=False, server_default=text("true")),
    CheckConstraint("status IN ('active', 'in_doubt', 'needs_reauth', 'disconnected')", name="status"),
    CheckConstraint(
        "status IN ('active', 'in_doubt') OR (refresh_due_at IS NULL AND check_due_at IS NULL)",
        name="rests_unless_living",
    ),
    CheckConstraint("status <> 'in_doubt' OR first_presented_at IS NOT NULL", name="doubt_has_a_beginning"),
    CheckConstraint(
        "presented_at IS NULL OR (attempt_id IS NOT NULL AND first_presented_at IS NOT NULL)",
        name="presented_by_an_attempt",
    ),
    CheckConstraint("(lease_owner IS NULL) = (lease_until IS NULL)", name="lease_is_whole"),
    CheckConstraint("(refresh_token IS NULL) = (refresh_digest IS NULL)", name="refresh_token_has_digest"),
    CheckConstraint("status = 'disconnected' OR access_token IS NOT NULL", name="living_has_access_token"),
    CheckConstraint(f"cardinality(spent_digests) <= {SPENT_KEPT}", name="spent_digests_bounded"),
    # The only indexes beside the primary key: a write that leaves these two columns alone (claims of due
    # tokens, the scheduler's marks) is heap-only, and there is no third index to write where it is not.
    Index(
        "ix_tokens_refresh_due",
        "provider_id",
        "refresh_due_at",
        postgresql_where=text("refresh_due_at IS NOT NULL"),
    ),
    Index(
        "ix_tokens_check_due",
        "provider_id",
        "check_due_at",
        postgresql_where=text("check_due_at IS NOT NULL"),
    ),
    # Every row is rewritten three times a cycle (mark, claim, landing). The spare fifth of each page keeps
    # the first two in place; vacuum comes at a fiftieth dead instead of a fifth, or both due indexes would
    # carry a fifth of the table in entries that every tick's scan must step over.
    postgresql_with={
        "fillfactor": "80",
        "autovacuum_vacuum_scale_factor": "0.02",
        "autovacuum_vacuum_threshold": "1000",
        "autovacuum_analyze_scale_factor": "0.05",
    },
    comment="One row a connection: sealed credentials, schedule, lease. The row of the hot path.",
)

spare_tokens = Table(
    "spare_tokens",
    metadata,
    Column("attempt_id", Uuid, primary_key=True),
    Column(
        "connection_id", Uuid, ForeignKey("connections.id", ondelete="CASCADE"), nullable=False, index=True
    ),
    Column("grant_id", Uuid, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("key_id", Text, nullable=False),
    Column("access_token", LargeBinary, nullable=False),
    Column("refresh_token", LargeBinary),
    Column("refresh_digest", LargeBinary),
    _instant("issued_at"),
    _instant("expires_at"),
    _instant("received_at", required=True),
    comment="Answers that came when the row had moved on; tried before a grant is declared dead.",
)

activity = Table(
    "activity",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    _instant("at", required=True),
    # No foreign key: what happened outlives the connection it happened to.
    Column("connection_id", Uuid, nullable=False),
    Column("provider_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("attempt_id", Uuid),
    Column("version", BigInteger),
    Column("code", Text),
    Column("detail", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    Index("ix_activity_connection_id_id", "connection_id", text("id DESC")),
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
    _instant("first_seen_at", required=True),
    _instant("last_seen_at", required=True),
    _instant("acknowledged_at"),
    _instant("resolved_at"),
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
    _instant("created_at", required=True),
    _instant("delivered_at"),
    CheckConstraint("event IN ('opened', 'acknowledged', 'resolved')", name="event"),
    Index("ix_alert_events_undelivered", "id", postgresql_where=text("delivered_at IS NULL")),
    comment="The outbox: written with the alert's change, delivered later.",
)

provider_holds = Table(
    "provider_holds",
    metadata,
    Column("scope", Text, primary_key=True),
    Column("provider_id", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("failures", Integer, nullable=False, server_default=text("1")),
    _instant("held_until"),
    _instant("opened_at"),
    _instant("updated_at", required=True),
    comment="Breakers that all workers share; a row with no held_until is closed.",
)
