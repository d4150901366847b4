"""Between rows of `tokens` and the domain's values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, Row, func

from domain.token import ConnectionRef, Status, TokenState
from storage.schema import connections, tokens
from storage.sealing import RowRef

_STATE: Final = tuple(TokenState.__slots__)
#: What makes a `ConnectionRef` and a `TokenState`, and the database's time.
STATE_COLUMNS: Final[tuple[ColumnElement[Any], ...]] = (
    *(tokens.c[name] for name in _STATE),
    connections.c.user_id,
    connections.c.account_id,
    connections.c.metadata,
    connections.c.scope,
    func.clock_timestamp().label("now"),
)
SEALED_COLUMNS: Final[tuple[ColumnElement[Any], ...]] = (tokens.c.access_token, tokens.c.refresh_token)
#: Where in a row of `STATE_COLUMNS` these are.
ATTEMPT: Final = _STATE.index("attempt_id")
_STATUS: Final = _STATE.index("status")


@dataclass(frozen=True, slots=True)
class Sealed:
    """A row's credentials as they are stored. Opening them is an explicit call of the store's."""

    connection_id: UUID
    access_token: bytes = field(repr=False)
    refresh_token: bytes | None = field(repr=False)


def token_ref(column: str, connection_id: UUID) -> RowRef:
    """Return the place of a sealed column of `tokens`."""
    return RowRef("tokens", column, connection_id)


def spare_ref(column: str, connection_id: UUID, attempt_id: UUID) -> RowRef:
    """Return the place of a sealed column of `spare_tokens`."""
    return RowRef("spare_tokens", column, connection_id, attempt_id)


def revocation_ref(column: str, connection_id: UUID, row_id: UUID) -> RowRef:
    """Return the place of a sealed column of `pending_revocations`."""
    return RowRef("pending_revocations", column, connection_id, row_id)


def ref_of(row: Row[Any]) -> ConnectionRef:
    """Return whose token the row is."""
    return ConnectionRef(row.connection_id, row.user_id, row.provider_id, row.account_id, row.metadata)


def state_of(row: Row[Any]) -> TokenState:
    """Return the row's state."""
    values = dict(zip(_STATE, row, strict=False))
    values["status"] = Status(row.status)
    return TokenState(**values)


def split(row: Sequence[Any]) -> tuple[TokenState, Sequence[Any]]:
    """Return the state of a row that begins with `STATE_COLUMNS`, and what follows it there.

    A fifth of the time of `state_of`, which is for rows that know their columns' names.
    """
    values = list(row[: len(_STATE)])
    values[_STATUS] = Status(values[_STATUS])
    return TokenState(*values), row[len(_STATE) :]


def now_of(row: Row[Any]) -> datetime:
    """Return Postgres' time at the moment the row was read or written."""
    moment: datetime = row.now
    return moment


def sealed_of(row: Row[Any]) -> Sealed:
    """Return the row's credentials, sealed."""
    return Sealed(row.connection_id, row.access_token, row.refresh_token)
