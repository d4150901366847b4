"""Create the tables.

Revision ID: 0001
Revises: nothing
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TIMESTAMP

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def _instant(name: str, *, required: bool = False) -> sa.Column[object]:
    default = sa.text("clock_timestamp()") if required else None
    return sa.Column(name, TIMESTAMP(timezone=True), nullable=not required, server_default=default)


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "activity",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        _instant("at", required=True),
        sa.Column("connection_id", sa.Uuid(), nullable=False),
        sa.Column("provider_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("attempt_id", sa.Uuid()),
        sa.Column("version", sa.BigInteger()),
        sa.Column("code", sa.Text()),
        sa.Column("detail", JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_activity"),
        comment="Append-only: what happened to each connection.",
        postgresql_with={"autovacuum_vacuum_insert_scale_factor": "0.05"},
    )
    op.create_index(
        "ix_activity_connection_id_id",
        "activity",
        ["connection_id", sa.literal_column("id DESC")],
        unique=False,
    )
    op.create_table(
        "alerts",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), server_default="open", nullable=False),
        sa.Column("count", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        _instant("first_seen_at", required=True),
        _instant("last_seen_at", required=True),
        _instant("acknowledged_at"),
        _instant("resolved_at"),
        sa.Column("provider_id", sa.Text()),
        sa.Column("connection_id", sa.Uuid()),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("help", sa.Text(), nullable=False),
        sa.Column("detail", JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False),
        sa.CheckConstraint(
            "(status = 'resolved') = (resolved_at IS NOT NULL)", name=op.f("ck_alerts_resolved_has_time")
        ),
        sa.CheckConstraint("severity IN ('info', 'warning', 'critical')", name=op.f("ck_alerts_severity")),
        sa.CheckConstraint("status IN ('open', 'acknowledged', 'resolved')", name=op.f("ck_alerts_status")),
        sa.PrimaryKeyConstraint("id", name="pk_alerts"),
        comment="At most one unresolved alert a cause; repetition counts.",
    )
    op.create_index("ix_alerts_connection_id", "alerts", ["connection_id"], unique=False)
    op.create_index("ix_alerts_status_last_seen_at", "alerts", ["status", "last_seen_at"], unique=False)
    op.create_index(
        "uq_alerts_unresolved_cause",
        "alerts",
        ["cause"],
        unique=True,
        postgresql_where=sa.text("status <> 'resolved'"),
    )
    op.create_table(
        "connections",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("provider_id", sa.Text(), nullable=False),
        sa.Column("account_id", sa.Text(), server_default="", nullable=False),
        sa.Column("scope", ARRAY(sa.Text()), server_default=sa.text("'{}'::text[]"), nullable=False),
        sa.Column("metadata", JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False),
        _instant("created_at", required=True),
        _instant("updated_at", required=True),
        _instant("connected_at", required=True),
        sa.PrimaryKeyConstraint("id", name="pk_connections"),
        sa.UniqueConstraint(
            "user_id", "provider_id", "account_id", name="uq_connections_user_id_provider_id_account_id"
        ),
        comment="Who has connected what. Not written on the hot path.",
    )
    op.create_table(
        "provider_holds",
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("provider_id", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("failures", sa.Integer(), server_default=sa.text("1"), nullable=False),
        _instant("held_until"),
        _instant("opened_at"),
        _instant("updated_at", required=True),
        sa.PrimaryKeyConstraint("scope", name="pk_provider_holds"),
        comment="Breakers that all workers share; a row with no held_until is closed.",
    )
    op.create_table(
        "alert_events",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("alert_id", sa.Uuid(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("payload", JSONB(), nullable=False),
        _instant("created_at", required=True),
        _instant("delivered_at"),
        sa.CheckConstraint(
            "event IN ('opened', 'acknowledged', 'resolved')", name=op.f("ck_alert_events_event")
        ),
        sa.ForeignKeyConstraint(
            ["alert_id"], ["alerts.id"], name="fk_alert_events_alert_id_alerts", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_alert_events"),
        comment="The outbox: written with the alert's change, delivered later.",
    )
    op.create_index("ix_alert_events_alert_id", "alert_events", ["alert_id"], unique=False)
    op.create_index(
        "ix_alert_events_undelivered",
        "alert_events",
        ["id"],
        unique=False,
        postgresql_where=sa.text("delivered_at IS NULL"),
    )
    op.create_table(
        "spare_tokens",
        sa.Column("attempt_id", sa.Uuid(), nullable=False),
        sa.Column("connection_id", sa.Uuid(), nullable=False),
        sa.Column("grant_id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("access_token", sa.LargeBinary(), nullable=False),
        sa.Column("refresh_token", sa.LargeBinary()),
        sa.Column("refresh_digest", sa.LargeBinary()),
        _instant("issued_at"),
        _instant("expires_at"),
        _instant("received_at", required=True),
        sa.ForeignKeyConstraint(
            ["connection_id"],
            ["connections.id"],
            name="fk_spare_tokens_connection_id_connections",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("attempt_id", name="pk_spare_tokens"),
        comment="Answers that came when the row had moved on; tried before a grant is declared dead.",
    )
    op.create_index("ix_spare_tokens_connection_id", "spare_tokens", ["connection_id"], unique=False)
    op.create_table(
        "tokens",
        sa.Column("connection_id", sa.Uuid(), nullable=False),
        sa.Column("provider_id", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), server_default="active", nullable=False),
        sa.Column("version", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("grant_id", sa.Uuid(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("access_token", sa.LargeBinary()),
        sa.Column("refresh_token", sa.LargeBinary()),
        sa.Column("refresh_digest", sa.LargeBinary()),
        sa.Column(
            "spent_digests", ARRAY(sa.LargeBinary()), server_default=sa.text("'{}'::bytea[]"), nullable=False
        ),
        _instant("issued_at"),
        _instant("expires_at"),
        _instant("refresh_expires_at"),
        _instant("refresh_due_at"),
        _instant("check_due_at"),
        _instant("refresh_enqueued_until"),
        _instant("check_enqueued_until"),
        _instant("not_before"),
        sa.Column("lease_owner", sa.Text()),
        _instant("lease_until"),
        sa.Column("attempt_id", sa.Uuid()),
        _instant("presented_at"),
        _instant("first_presented_at"),
        sa.Column("committed_attempt_id", sa.Uuid()),
        sa.Column("failures", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("check_failures", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("last_error_code", sa.Text()),
        _instant("last_error_at"),
        _instant("last_refreshed_at"),
        _instant("last_verified_at"),
        _instant("last_used_at"),
        sa.Column("reauth_reason", sa.Text()),
        sa.Column("alerted", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("refreshable", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.CheckConstraint(
            "status <> 'in_doubt' OR first_presented_at IS NOT NULL",
            name=op.f("ck_tokens_doubt_has_a_beginning"),
        ),
        sa.CheckConstraint(
            "status = 'disconnected' OR access_token IS NOT NULL",
            name=op.f("ck_tokens_living_has_access_token"),
        ),
        sa.CheckConstraint(
            "status IN ('active', 'in_doubt') OR (refresh_due_at IS NULL AND check_due_at IS NULL)",
            name=op.f("ck_tokens_rests_unless_living"),
        ),
        sa.CheckConstraint(
            "status IN ('active', 'in_doubt', 'needs_reauth', 'disconnected')", name=op.f("ck_tokens_status")
        ),
        sa.CheckConstraint(
            "(lease_owner IS NULL) = (lease_until IS NULL)", name=op.f("ck_tokens_lease_is_whole")
        ),
        sa.CheckConstraint(
            "(refresh_token IS NULL) = (refresh_digest IS NULL)",
            name=op.f("ck_tokens_refresh_token_has_digest"),
        ),
        sa.CheckConstraint("cardinality(spent_digests) <= 32", name=op.f("ck_tokens_spent_digests_bounded")),
        sa.CheckConstraint(
            "presented_at IS NULL OR (attempt_id IS NOT NULL AND first_presented_at IS NOT NULL)",
            name=op.f("ck_tokens_presented_by_an_attempt"),
        ),
        sa.ForeignKeyConstraint(
            ["connection_id"],
            ["connections.id"],
            name="fk_tokens_connection_id_connections",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("connection_id", name="pk_tokens"),
        comment="One row a connection: sealed credentials, schedule, lease. The row of the hot path.",
        postgresql_with={
            "fillfactor": "80",
            "autovacuum_vacuum_scale_factor": "0.02",
            "autovacuum_vacuum_threshold": "1000",
            "autovacuum_analyze_scale_factor": "0.05",
        },
    )
    op.create_index(
        "ix_tokens_check_due",
        "tokens",
        ["provider_id", "check_due_at"],
        unique=False,
        postgresql_where=sa.text("check_due_at IS NOT NULL"),
    )
    op.create_index(
        "ix_tokens_refresh_due",
        "tokens",
        ["provider_id", "refresh_due_at"],
        unique=False,
        postgresql_where=sa.text("refresh_due_at IS NOT NULL"),
    )
    # Sealed bytes do not compress; EXTERNAL saves trying it at every landing.
    for table in ("tokens", "spare_tokens"):
        for column in ("access_token", "refresh_token"):
            op.execute(f"ALTER TABLE {table} ALTER COLUMN {column} SET STORAGE EXTERNAL")


def downgrade() -> None:
    """Undo it: everything Evergrant stored is dropped."""
    for table in (
        "tokens",
        "spare_tokens",
        "alert_events",
        "alerts",
        "activity",
        "provider_holds",
        "connections",
    ):
        op.drop_table(table)
