"""Add what pushed messages need: those that were taken, and the digests by which credentials are found.

Revision ID: 0005
Revises: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TIMESTAMP

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def _instant(name: str, *, required: bool = False) -> sa.Column[object]:
    default = sa.text("clock_timestamp()") if required else None
    return sa.Column(name, TIMESTAMP(timezone=True), nullable=not required, server_default=default)


def upgrade() -> None:
    """Create the two tables."""
    op.create_table(
        "received_events",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("provider_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("meaning", sa.Text(), nullable=False),
        sa.Column("account_id", sa.Text()),
        _instant("happened_at"),
        _instant("received_at", required=True),
        sa.Column("outcome", sa.Text(), server_default="nothing", nullable=False),
        sa.Column("changed", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint("source", "event_id", name="pk_received_events"),
        comment="Messages that providers have pushed, for some weeks: a repeated one does nothing.",
    )
    op.create_index("ix_received_events_received_at", "received_events", ["received_at"], unique=False)
    op.create_index(
        "ix_received_events_enabled",
        "received_events",
        ["source", "account_id", "happened_at"],
        unique=False,
        postgresql_where=sa.text("meaning = 'enabled'"),
    )
    op.create_table(
        "event_digests",
        sa.Column("connection_id", sa.Uuid(), nullable=False),
        sa.Column("grant_id", sa.Uuid(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("refresh_digest", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["connection_id"],
            ["connections.id"],
            name="fk_event_digests_connection_id_connections",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("connection_id", name="pk_event_digests"),
        comment="Finds the refresh token that a provider names by its hash; of providers that do so alone.",
    )
    op.create_index("ix_event_digests_digest", "event_digests", ["digest"], unique=False)


def downgrade() -> None:
    """Drop them: what was taken before may then be taken once more."""
    op.drop_table("event_digests")
    op.drop_table("received_events")
