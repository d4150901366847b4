"""What every table shares: one set of metadata, names of constraints, instants."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Column, MetaData, text
from sqlalchemy.dialects.postgresql import TIMESTAMP

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


def instant(name: str, *, required: bool = False) -> Column[object]:
    """Return a column of aware instants; a required one defaults to Postgres' clock."""
    default = text("clock_timestamp()") if required else None
    return Column(name, TIMESTAMP(timezone=True), nullable=not required, server_default=default)
