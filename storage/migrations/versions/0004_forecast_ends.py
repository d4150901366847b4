"""Remember when grants die although they are refreshed, and find those that do, or are not refreshed.

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TIMESTAMP

from storage.migrations.online import create_index, online, update_tokens

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

#: What cannot be refreshed has its end at once, the rest as it lands.
_ENDS = sa.text("""
    UPDATE tokens SET dies_at = expires_at
     WHERE connection_id > :after AND connection_id <= :upto
       AND NOT refreshable AND expires_at IS NOT NULL AND dies_at IS NULL
""")


def upgrade() -> None:
    """Add the column and the indexes; workers go on meanwhile."""
    # A run that was interrupted after this has the column already.
    op.add_column("tokens", sa.Column("dies_at", TIMESTAMP(timezone=True)), if_not_exists=True)
    with online() as connection:
        update_tokens(connection, _ENDS)
        create_index(
            connection,
            "ix_tokens_dies_at",
            "tokens",
            ["provider_id", "dies_at"],
            where="dies_at IS NOT NULL AND status IN ('active', 'in_doubt')",
        )
        create_index(
            connection,
            "ix_tokens_failing",
            "tokens",
            ["provider_id", "issued_at"],
            where="failures > 0 AND refresh_due_at IS NOT NULL",
        )
        create_index(
            connection, "ix_connections_connected_at", "connections", ["provider_id", "connected_at"]
        )


def downgrade() -> None:
    """Undo it."""
    op.drop_index("ix_connections_connected_at", table_name="connections")
    op.drop_index("ix_tokens_failing", table_name="tokens")
    op.drop_index("ix_tokens_dies_at", table_name="tokens")
    op.drop_column("tokens", "dies_at")
