"""Add what connecting needs: flows under way, and activity that belongs to no connection yet.

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TIMESTAMP

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table; activity may be about no connection."""
    op.create_table(
        "connect_flows",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("provider_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("account_id", sa.Text()),
        sa.Column("scopes", ARRAY(sa.Text()), server_default=sa.text("'{}'::text[]"), nullable=False),
        sa.Column("variables", JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False),
        sa.Column("redirect_uri", sa.Text()),
        sa.Column("redirect_to", sa.Text()),
        sa.Column("state_hash", sa.LargeBinary()),
        sa.Column("browser_hash", sa.LargeBinary()),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("secret", sa.LargeBinary()),
        sa.Column("poll_seconds", sa.Integer()),
        sa.Column("next_poll_at", TIMESTAMP(timezone=True)),
        sa.Column(
            "created_at",
            TIMESTAMP(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("expires_at", TIMESTAMP(timezone=True), nullable=False),
        sa.Column("ended_as", sa.Text()),
        sa.Column("connection_id", sa.Uuid()),
        sa.Column("detail", JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False),
        sa.CheckConstraint("kind IN ('code', 'device')", name=op.f("ck_connect_flows_kind")),
        sa.CheckConstraint(
            "(kind = 'code') = (state_hash IS NOT NULL)", name=op.f("ck_connect_flows_code_has_state")
        ),
        sa.CheckConstraint(
            "(state_hash IS NULL) = (browser_hash IS NULL)", name=op.f("ck_connect_flows_state_has_browser")
        ),
        sa.CheckConstraint(
            "(kind = 'device') = (poll_seconds IS NOT NULL)", name=op.f("ck_connect_flows_device_is_polled")
        ),
        sa.CheckConstraint(
            "(poll_seconds IS NULL) = (next_poll_at IS NULL)", name=op.f("ck_connect_flows_poll_is_whole")
        ),
        sa.PrimaryKeyConstraint("id", name="pk_connect_flows"),
        comment=(
            "Connections that are being made: taken by the first callback, or erased when they have expired."
        ),
    )
    op.create_index("uq_connect_flows_state_hash", "connect_flows", ["state_hash"], unique=True)
    op.create_index("ix_connect_flows_expires_at", "connect_flows", ["expires_at"], unique=False)
    op.alter_column("activity", "connection_id", existing_type=sa.Uuid(), nullable=True)


def downgrade() -> None:
    """Undo it; activity about no connection is lost, and so are connections that are being made."""
    op.drop_table("connect_flows")
    op.execute("DELETE FROM activity WHERE connection_id IS NULL")
    op.alter_column("activity", "connection_id", existing_type=sa.Uuid(), nullable=False)
