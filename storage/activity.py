"""The append-only record of what happened to connections, written in the statement it belongs to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import CTE, ColumnElement, Connection, bindparam, func, insert, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeEngine

from storage.schema import activity


@dataclass(frozen=True, slots=True)
class Note:
    """What to write into the activity log beside a change.

    Attributes:
        kind: A stable lower-case word, such as ``refreshed`` or ``retry``.
        code: The error's code; None for a success.
        detail: JSON values, never a secret.
    """

    kind: str
    code: str | None = None
    detail: Mapping[str, object] = field(default_factory=dict)

    def parameters(self, attempt_id: UUID | None) -> dict[str, object]:
        """Return the parameters that a statement built with `noting` expects."""
        return {
            "note_kind": self.kind,
            "note_code": self.code,
            "note_detail": dict(self.detail),
            "note_attempt": attempt_id,
        }


@dataclass(frozen=True, slots=True)
class Activity:
    """One line of a connection's record. None: does not apply."""

    at: datetime
    connection_id: UUID
    provider_id: str
    kind: str
    attempt_id: UUID | None
    version: int | None
    code: str | None
    detail: Mapping[str, object]


#: What a note needs of whoever writes it: `Note.parameters`, or columns of these names.
NOTED: Final[dict[str, TypeEngine[Any]]] = {
    "note_kind": activity.c.kind.type,
    "note_code": activity.c.code.type,
    "note_detail": JSONB(),
    "note_attempt": activity.c.attempt_id.type,
}


def _parameter(name: str) -> ColumnElement[Any]:
    return bindparam(name, type_=NOTED[name])


def noting(changed: CTE, given: Callable[[str], ColumnElement[Any]] = _parameter) -> CTE:
    """Return the insert that records a change, one line for each row that `changed` really wrote.

    Args:
        changed: Returns connection_id, provider_id and version of the rows.
        given: Where the statement has the parts of the note, by the names of `NOTED`.
    """
    return (
        insert(activity)
        .from_select(
            ["at", "connection_id", "provider_id", "version", "kind", "code", "detail", "attempt_id"],
            select(
                func.clock_timestamp(),
                changed.c.connection_id,
                changed.c.provider_id,
                changed.c.version,
                *(given(name) for name in NOTED),
            ),
            # The other columns default on the server.
            include_defaults=False,
        )
        .cte("noted")
    )


def record(
    connection: Connection,
    note: Note,
    *,
    connection_id: UUID | None,
    provider_id: str,
    version: int | None = None,
    attempt_id: UUID | None = None,
) -> None:
    """Write one line within the caller's transaction; `connection_id` None: there is no connection yet."""
    connection.execute(
        insert(activity).values(
            connection_id=connection_id,
            provider_id=provider_id,
            version=version,
            kind=note.kind,
            code=note.code,
            detail=dict(note.detail),
            attempt_id=attempt_id,
        )
    )


def recorded(connection: Connection, kind: str, *, connection_id: UUID, attempt_id: UUID) -> bool:
    """Say whether an attempt has written a line of this kind."""
    lines = select(activity.c.id).where(
        activity.c.connection_id == connection_id,
        activity.c.attempt_id == attempt_id,
        activity.c.kind == kind,
    )
    return connection.execute(lines.limit(1)).first() is not None


def recent(connection: Connection, connection_id: UUID, *, limit: int) -> list[Activity]:
    """Return a connection's latest lines, newest first."""
    rows = connection.execute(
        select(
            activity.c.at,
            activity.c.connection_id,
            activity.c.provider_id,
            activity.c.kind,
            activity.c.attempt_id,
            activity.c.version,
            activity.c.code,
            activity.c.detail,
        )
        .where(activity.c.connection_id == connection_id)
        .order_by(activity.c.id.desc())
        .limit(limit)
    )
    return [Activity(*row) for row in rows]
