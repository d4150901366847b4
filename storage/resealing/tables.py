"""The tables that hold sealed values, and the statements by which these are read and written anew."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    LargeBinary,
    Row,
    Select,
    Table,
    Update,
    Uuid,
    and_,
    bindparam,
    case,
    column,
    func,
    literal_column,
    null,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY

from storage.flows import flow_ref
from storage.schema import connect_flows, pending_revocations, spare_tokens, tokens
from storage.sealing import RowRef
from storage.tokens.rows import revocation_ref, spare_ref, token_ref

#: Rows read and written together. Their locks are held for the one statement that writes them.
PAGE: Final = 500
_DIGEST: Final = "refresh_digest"


@dataclass(frozen=True)
class SealedTable:
    """A table with sealed columns.

    Attributes:
        key: Its primary key, a UUID.
        sealed: The sealed columns; each may be null.
        place: Where a column's value of a row is bound to.
        versioned: Its rows have a version, which is compared as well.
    """

    table: Table
    key: str
    sealed: tuple[str, ...]
    place: Callable[[str, Row[Any]], RowRef]
    versioned: bool = False

    @property
    def digested(self) -> bool:
        """Whether a digest of the refresh token stands beside it."""
        return _DIGEST in self.table.c

    @property
    def compared(self) -> tuple[str, ...]:
        """The columns that must still be as they were read: fence, key, and the sealed bytes themselves."""
        return (*(("version",) if self.versioned else ()), "key_id", *self.sealed)

    @property
    def renewed(self) -> tuple[str, ...]:
        """The columns that are written, beside the key's id."""
        return (*self.sealed, *((_DIGEST,) if self.digested else ()))

    @cached_property
    def page(self) -> Select[Any]:
        """Return the next `PAGE` rows after :after; `done` ones without their bytes.

        Every row is looked at, so that a page costs the same however few are left: there is no index by key.
        """
        c = self.table.c
        begins = [
            or_(c[name].is_(None), func.substr(c[name], 1, func.length(_HEADER)) == _HEADER)
            for name in self.sealed
        ]
        done = and_(c.key_id == bindparam("wanted_key"), *begins)
        kept = [name for name in self.compared if name not in self.sealed]
        return (
            select(
                c[self.key].label("row_id"),
                *([] if self.key == "connection_id" else [c.connection_id]),
                *(c[name] for name in kept),
                done.label("done"),
                *(case((done, null()), else_=c[name]).label(name) for name in self.sealed),
            )
            .where(c[self.key] > bindparam("after", type_=Uuid))
            .order_by(c[self.key])
            .limit(literal_column(str(PAGE)))
        )

    @cached_property
    def write(self) -> Update:
        """Return the statement that writes rows which are as they were read; it returns their ids.

        Rows that somebody holds at the moment are passed over instead of waited for, so that neither a
        refresh nor another rotation can ever stand in a circle with this statement.
        """
        c = self.table.c
        olds = {name: f"old_{name}" for name in self.compared}
        news = {name: f"new_{name}" for name in self.renewed}
        arrays: dict[str, ColumnElement[Any]] = {"row_id": _array("row_ids", Uuid())}
        arrays |= {olds[name]: _array(olds[name], c[name].type) for name in self.compared}
        arrays |= {news[name]: _array(news[name], c[name].type) for name in self.renewed}
        given = (
            func.unnest(*arrays.values())
            .table_valued(*(column(name) for name in arrays), name="given")
            .render_derived()
        )
        free = (
            select(c[self.key].label("free_id"))
            .where(c[self.key] == func.any(_array("row_ids", Uuid())))
            .order_by(c[self.key])
            .with_for_update(key_share=True, skip_locked=True)
            .cte("free")
        )
        # As an array, which is made once and before anything else: joined, each row would be compared with
        # each, because the planner expects a single row.
        locked = func.any(func.array(select(free.c.free_id).scalar_subquery()))
        return (
            update(self.table)
            .where(
                c[self.key] == given.c.row_id,
                given.c.row_id == locked,
                *(c[name].is_not_distinct_from(given.c[old]) for name, old in olds.items()),
            )
            .values(key_id=bindparam("wanted_key"), **{name: given.c[new] for name, new in news.items()})
            .returning(c[self.key])
        )

    @cached_property
    def keys(self) -> Select[Any]:
        """Return how many rows need which keys: what the row says, and what its sealed bytes say."""
        c = self.table.c
        needed = [c.key_id, *(_key_of(c[name]).label(f"{name}_key") for name in self.sealed)]
        return select(*needed, func.count().label("rows")).group_by(*needed)


_HEADER: Final = bindparam("wanted_header", type_=LargeBinary)


def _array(name: str, of: Any) -> ColumnElement[Any]:  # noqa: ANN401 - a column's type, whichever
    return bindparam(name, type_=ARRAY(of))


def _key_of(blob: ColumnElement[Any]) -> ColumnElement[Any]:
    """The key's id in a blob's header, in bytes: format, length of the id, id (`storage.sealing`)."""
    return case(
        (func.length(blob) < literal_column("2"), null()),
        else_=func.substr(blob, literal_column("3"), func.get_byte(blob, literal_column("1"))),
    )


TOKENS: Final = SealedTable(
    tokens,
    "connection_id",
    ("access_token", "refresh_token"),
    lambda name, row: token_ref(name, row.row_id),
    versioned=True,
)
SPARES: Final = SealedTable(
    spare_tokens,
    "attempt_id",
    ("access_token", "refresh_token"),
    lambda name, row: spare_ref(name, row.connection_id, row.row_id),
)
REVOCATIONS: Final = SealedTable(
    pending_revocations,
    "id",
    ("token",),
    lambda name, row: revocation_ref(name, row.connection_id, row.row_id),
)
#: A flow's id stands in for the connection that it may come to.
FLOWS: Final = SealedTable(
    connect_flows,
    "id",
    ("secret",),
    lambda name, row: flow_ref(name, row.row_id),
)
#: Before every id that occurs: ids are drawn at random (RFC 9562 §5.4), and nil is none of them.
BEFORE_ALL: Final = UUID(int=0)
