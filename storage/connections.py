"""Connections as operators see them: listed, shown, counted. Nothing sealed is read here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, Engine, select, tuple_

from domain.lifetimes import Life
from domain.token import Status
from storage.activity import Activity, recent
from storage.engine import autocommit, single, transaction
from storage.schema import connections, tokens

#: Rows of one page of a listing: memory stays constant however many there are.
_PAGE: Final = 1000


@dataclass(frozen=True, slots=True)
class ConnectionSummary:
    """A connection and the state of its token. None has the meaning of `TokenState`'s fields."""

    id: UUID
    user_id: str
    provider_id: str
    account_id: str
    status: Status
    version: int
    scope: tuple[str, ...]
    metadata: Mapping[str, object]
    created_at: datetime
    connected_at: datetime
    issued_at: datetime | None
    expires_at: datetime | None
    refresh_expires_at: datetime | None
    dies_at: datetime | None
    refresh_due_at: datetime | None
    check_due_at: datetime | None
    not_before: datetime | None
    failures: int
    last_error_code: str | None
    last_error_at: datetime | None
    last_refreshed_at: datetime | None
    last_verified_at: datetime | None
    last_used_at: datetime | None
    reauth_reason: str | None
    refreshable: bool

    @property
    def life(self) -> Life:
        """How long its grant lives."""
        return Life(**{name: getattr(self, name) for name in Life.__slots__})


_COLUMNS: Final[tuple[ColumnElement[Any], ...]] = tuple(
    connections.c[name] if name in connections.c else tokens.c[name] for name in ConnectionSummary.__slots__
)
_KEY: Final = (connections.c.user_id, connections.c.provider_id, connections.c.account_id)
_JOINED: Final = connections.join(tokens, tokens.c.connection_id == connections.c.id)


def _summary(row: Any) -> ConnectionSummary:  # noqa: ANN401 - a row's columns are known to SQL alone
    values = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's documented name for it
    values["status"] = Status(row.status)
    values["scope"] = tuple(row.scope)
    return ConnectionSummary(**values)


class ConnectionStore:
    """Reads connections. Raises `ServiceUnavailable`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._auto = autocommit(engine)

    def show(
        self, connection_id: UUID, *, activity: int = 20
    ) -> tuple[ConnectionSummary, list[Activity]] | None:
        """Return a connection and its latest lines of activity, newest first; None if there is none."""
        statement = select(*_COLUMNS).select_from(_JOINED).where(connections.c.id == connection_id)
        with transaction(self._engine) as connection:
            row = connection.execute(statement).one_or_none()
            if row is None:
                return None
            return _summary(row), recent(connection, connection_id, limit=activity)

    def list(
        self, *, user_id: str | None = None, provider_id: str | None = None, status: Status | None = None
    ) -> Iterator[ConnectionSummary]:
        """Yield connections in the order of user, provider and account; None filters nothing.

        Reads a page at a time and holds nothing in between: what is created meanwhile may or may not appear,
        nothing appears twice.
        """
        page = select(*_COLUMNS).select_from(_JOINED).order_by(*_KEY).limit(_PAGE)
        if user_id is not None:
            page = page.where(connections.c.user_id == user_id)
        if provider_id is not None:
            page = page.where(connections.c.provider_id == provider_id)
        if status is not None:
            page = page.where(tokens.c.status == status.value)
        after: tuple[str, str, str] | None = None
        while True:
            statement = page if after is None else page.where(tuple_(*_KEY) > tuple_(*after))
            with single(self._auto) as connection:
                found = [_summary(row) for row in connection.execute(statement)]
            yield from found
            if len(found) < _PAGE:
                return
            last = found[-1]
            after = (last.user_id, last.provider_id, last.account_id)
