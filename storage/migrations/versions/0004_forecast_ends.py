"""Remember when grants die although they are refreshed, and find those that do, or are not refreshed.

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TIMESTAMP

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column and the indexes. What cannot be refreshed has its end at once, the rest as it lands."""
    op.add_column("tokens", sa.Column("dies_at", TIMESTAMP(timezone=True)))
    op.execute("UPDATE tokens SET dies_at = expires_at WHERE NOT refreshable AND expires_at IS NOT NULL")
    op.create_index(
        "ix_tokens_dies_at",
        "tokens",
        ["provider_id", "dies_at"],
        unique=False,
        postgresql_where=sa.text("dies_at IS NOT NULL AND status IN ('active', 'in_doubt')"),
    )
    op.create_index(
        "ix_tokens_failing",
        "tokens",
        ["provider_id", "issued_at"],
        unique=False,
        postgresql_where=sa.text("failures > 0 AND refresh_due_at IS NOT NULL"),
    )
    op.create_index(
        "ix_connections_connected_at", "connections", ["provider_id", "connected_at"], unique=False
    )


def downgrade() -> None:
    """Undo it."""
    op.drop_index("ix_connections_connected_at", table_name="connections")
    op.drop_index("ix_tokens_failing", table_name="tokens")
    op.drop_index("ix_tokens_dies_at", table_name="tokens")
    op.drop_column("tokens", "dies_at")
