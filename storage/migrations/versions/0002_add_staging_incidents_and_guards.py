"""Add what the promises under fire need: processes, verdict holds, revocations, the deployment's own row.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TIMESTAMP

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def _instant(name: str, *, required: bool = False) -> sa.Column[object]:
    default = sa.text("clock_timestamp()") if required else None
    return sa.Column(name, TIMESTAMP(timezone=True), nullable=not required, server_default=default)


def upgrade() -> None:
    """Add the columns, indexes and tables."""
    op.add_column("tokens", sa.Column("tenant", sa.Text()))
    op.add_column("tokens", _instant("refused_at"))
    op.drop_constraint(op.f("ck_tokens_lease_is_whole"), "tokens", type_="check")
    op.create_check_constraint(
        op.f("ck_tokens_lease_has_owner"), "tokens", "lease_until IS NULL OR lease_owner IS NOT NULL"
    )
    op.create_index(
        "ix_tokens_refused",
        "tokens",
        ["provider_id", "refused_at"],
        unique=False,
        postgresql_where=sa.text("refused_at IS NOT NULL"),
    )
    op.create_index("ix_activity_at", "activity", ["at"], unique=False, postgresql_using="brin")
    _create_verdict_holds()
    _create_pending_revocations()
    _create_processes()
    op.create_table(
        "deployment",
        sa.Column("singleton", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("sealing_key", sa.Text()),
        sa.Column("former_keys", ARRAY(sa.Text()), server_default=sa.text("'{}'::text[]"), nullable=False),
        sa.Column("identity", sa.Text()),
        sa.Column("line_offset", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        _instant("guarded_since"),
        sa.Column("guard_found", JSONB()),
        sa.CheckConstraint("singleton", name=op.f("ck_deployment_one_row")),
        sa.PrimaryKeyConstraint("singleton", name="pk_deployment"),
        comment="What this database knows of the deployment around it.",
    )
    op.execute("INSERT INTO deployment DEFAULT VALUES")


def _create_verdict_holds() -> None:
    op.create_table(
        "verdict_holds",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("provider_id", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text()),
        sa.Column("presented", sa.Integer(), nullable=False),
        sa.Column("refused", sa.Integer(), nullable=False),
        _instant("opened_at", required=True),
        _instant("ended_at"),
        sa.Column("ended_as", sa.Text()),
        sa.CheckConstraint(
            "ended_as IN ('recovered', 'confirmed', 'dismissed', 'abandoned')",
            name=op.f("ck_verdict_holds_ended_as"),
        ),
        sa.CheckConstraint(
            "(ended_at IS NULL) = (ended_as IS NULL)", name=op.f("ck_verdict_holds_end_is_whole")
        ),
        sa.PrimaryKeyConstraint("id", name="pk_verdict_holds"),
        comment="Waves of refusals: while one is open, nobody in its scope is declared dead.",
    )
    op.create_index(
        "uq_verdict_holds_open_scope",
        "verdict_holds",
        ["scope"],
        unique=True,
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    op.create_index("ix_verdict_holds_scope_ended_at", "verdict_holds", ["scope", "ended_at"], unique=False)


def _create_pending_revocations() -> None:
    op.create_table(
        "pending_revocations",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("connection_id", sa.Uuid(), nullable=False),
        sa.Column("grant_id", sa.Uuid(), nullable=False),
        sa.Column("provider_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text()),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("token", sa.LargeBinary(), nullable=False),
        sa.Column("token_kind", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        _instant("next_at", required=True),
        _instant("created_at", required=True),
        sa.CheckConstraint(
            "token_kind IN ('refresh_token', 'access_token')", name=op.f("ck_pending_revocations_token_kind")
        ),
        sa.PrimaryKeyConstraint("id", name="pk_pending_revocations"),
        comment="Tokens of ended grants on their way to the provider's revocation endpoint; erased after it.",
    )
    op.create_index("ix_pending_revocations_next_at", "pending_revocations", ["next_at"], unique=False)
    op.create_index(
        "ix_connections_account",
        "connections",
        ["provider_id", "account_id"],
        unique=False,
        postgresql_where=sa.text("account_id <> ''"),
    )


def _create_processes() -> None:
    op.create_table(
        "processes",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        _instant("started_at", required=True),
        _instant("seen_at", required=True),
        _instant("settled_until", required=True),
        _instant("gone_at"),
        sa.Column("staged", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("unsafe", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("key_ids", ARRAY(sa.Text()), server_default=sa.text("'{}'::text[]"), nullable=False),
        sa.Column("staged_key_ids", ARRAY(sa.Text()), server_default=sa.text("'{}'::text[]"), nullable=False),
        sa.Column("sealing_key_id", sa.Text()),
        sa.PrimaryKeyConstraint("id", name="pk_processes"),
        comment="Who presents, and how far each has settled: what recovery and key rotation wait for.",
    )


def downgrade() -> None:
    """Undo it; doubts forget who presented."""
    for table in ("deployment", "processes", "pending_revocations", "verdict_holds"):
        op.drop_table(table)
    op.drop_index("ix_connections_account", table_name="connections")
    op.drop_index("ix_activity_at", table_name="activity")
    op.drop_index("ix_tokens_refused", table_name="tokens")
    op.drop_constraint(op.f("ck_tokens_lease_has_owner"), "tokens", type_="check")
    op.execute("UPDATE tokens SET lease_owner = NULL WHERE lease_until IS NULL")
    op.create_check_constraint(
        op.f("ck_tokens_lease_is_whole"), "tokens", "(lease_owner IS NULL) = (lease_until IS NULL)"
    )
    op.drop_column("tokens", "refused_at")
    op.drop_column("tokens", "tenant")
