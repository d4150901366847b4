"""Connections and their tokens: who has connected what, and the sealed credentials."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from storage.schema.base import SPENT_KEPT, instant, metadata

connections = Table(
    "connections",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("user_id", Text, nullable=False),
    Column("provider_id", Text, nullable=False),
    Column("account_id", Text, nullable=False, server_default=""),
    Column("scope", ARRAY(Text), nullable=False, server_default=text("'{}'::text[]")),
    Column("metadata", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    instant("created_at", required=True),
    instant("updated_at", required=True),
    instant("connected_at", required=True),
    # Also the index of a user's connections, and the order in which they are listed.
    UniqueConstraint("user_id", "provider_id", "account_id"),
    # Who else has connected the same account: asked before anything is revoked there.
    Index("ix_connections_account", "provider_id", "account_id", postgresql_where=text("account_id <> ''")),
    # Whose grant began so long ago that it ends: asked of providers whose grants have a life of their own.
    Index("ix_connections_connected_at", "provider_id", "connected_at"),
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
    instant("issued_at"),
    instant("expires_at"),
    instant("refresh_expires_at"),
    instant("refresh_due_at"),
    instant("check_due_at"),
    instant("refresh_enqueued_until"),
    instant("check_enqueued_until"),
    instant("not_before"),
    Column("lease_owner", Text),
    instant("lease_until"),
    Column("attempt_id", Uuid),
    instant("presented_at"),
    instant("first_presented_at"),
    Column("committed_attempt_id", Uuid),
    Column("failures", Integer, nullable=False, server_default=text("0")),
    Column("check_failures", Integer, nullable=False, server_default=text("0")),
    Column("last_error_code", Text),
    instant("last_error_at"),
    instant("last_refreshed_at"),
    instant("last_verified_at"),
    instant("last_used_at"),
    Column("reauth_reason", Text),
    Column("alerted", Boolean, nullable=False, server_default=text("false")),
    Column("refreshable", Boolean, nullable=False, server_default=text("true")),
    # Which of the provider's tenants the grant belongs to; null where the provider has none.
    Column("tenant", Text),
    # When the provider first refused the current refresh token; a success clears it.
    instant("refused_at"),
    # When the grant dies although it is refreshed: the part of `refresh_expires_at` that the last refresh did
    # not move, or the end of an access token that cannot be refreshed. Null of almost all.
    instant("dies_at"),
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
    # The owner outlives the lease: a doubt still knows which process presented.
    CheckConstraint("lease_until IS NULL OR lease_owner IS NOT NULL", name="lease_has_owner"),
    CheckConstraint("(refresh_token IS NULL) = (refresh_digest IS NULL)", name="refresh_token_has_digest"),
    CheckConstraint("status = 'disconnected' OR access_token IS NOT NULL", name="living_has_access_token"),
    CheckConstraint(f"cardinality(spent_digests) <= {SPENT_KEPT}", name="spent_digests_bounded"),
    # The only indexes that ordinary writes touch, beside the primary key: a write that leaves these two
    # columns alone (claims of due tokens, the scheduler's marks) is heap-only, and there is no third index
    # to write where it is not.
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
    # Refused tokens alone: none in a healthy fleet, so no ordinary write touches it.
    Index(
        "ix_tokens_refused",
        "provider_id",
        "refused_at",
        postgresql_where=text("refused_at IS NOT NULL"),
    ),
    # What a forecast looks for: grants that end whatever is done, and those that are not being refreshed.
    # Both hold few rows; a landing of any other writes nothing into them.
    Index(
        "ix_tokens_dies_at",
        "provider_id",
        "dies_at",
        postgresql_where=text("dies_at IS NOT NULL AND status IN ('active', 'in_doubt')"),
    ),
    Index(
        "ix_tokens_failing",
        "provider_id",
        "issued_at",
        postgresql_where=text("failures > 0 AND refresh_due_at IS NOT NULL"),
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
    instant("issued_at"),
    instant("expires_at"),
    instant("received_at", required=True),
    comment="Answers that came when the row had moved on; tried before a grant is declared dead.",
)
