"""The statements of a claim, built once: one for each reason to refresh, one for recovery, one for groups."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Interval,
    Text,
    Update,
    and_,
    bindparam,
    func,
    literal_column,
    or_,
    select,
    true,
    update,
)

from storage.direct import Direct
from storage.schema import connections, tokens
from storage.tokens.arrays import unnested
from storage.tokens.rows import SEALED_COLUMNS, STATE_COLUMNS

_MINUTE: Final = literal_column("interval '60 seconds'", Interval)
HALF_LIFE: Final = literal_column("(tokens.expires_at - tokens.issued_at) / 2", Interval)
_NOW: Final = func.clock_timestamp()


class ClaimKind(StrEnum):
    """What a claim is made for, and so which tokens it takes."""

    SCHEDULED = "scheduled"
    ON_DEMAND = "on_demand"
    IF_VERSION = "if_version"
    FORCE = "force"


def _due() -> ColumnElement[bool]:
    return tokens.c.refresh_due_at <= _NOW


def _rested() -> ColumnElement[bool]:
    # LEAST ignores NULL: an unknown lifetime leaves the minute. Keep in sync with `schedule.min_interval`.
    interval = func.least(_MINUTE, HALF_LIFE)
    return or_(tokens.c.last_refreshed_at.is_(None), tokens.c.last_refreshed_at + interval <= _NOW)


def _asked(kind: ClaimKind) -> ColumnElement[bool]:
    match kind:
        case ClaimKind.SCHEDULED:
            return _due()
        case ClaimKind.ON_DEMAND:
            wanted = func.least(bindparam("min_validity", type_=Interval), HALF_LIFE)
            return and_(or_(tokens.c.expires_at - wanted <= _NOW, _due()), _rested())
        case ClaimKind.IF_VERSION:
            return and_(tokens.c.version == bindparam("if_version"), _rested())
        case ClaimKind.FORCE:
            return _rested()


# One instant for both columns of a first presentation, so that a later one can be told from it by comparing
# them. The lease is counted from the clock after a wait for the row's lock, this instant from before it.
_STAMP: Final = select(_NOW.label("at")).offset(literal_column("0")).subquery("stamp")


#: Who claims, where a statement claims one row.
_WANTED: Final = bindparam("wanted_id", type_=tokens.c.connection_id.type)
#: The join brings what a presentation needs to know of its owner, without a second statement.
_OWNED: Final = connections.c.id == tokens.c.connection_id


def _free() -> ColumnElement[bool]:
    return and_(
        or_(tokens.c.lease_until.is_(None), tokens.c.lease_until < _STAMP.c.at),
        or_(tokens.c.not_before.is_(None), tokens.c.not_before <= _NOW),
    )


def _claimable(kind: ClaimKind) -> ColumnElement[bool]:
    return and_(
        _free(),
        tokens.c.status == literal_column("'active'"),
        tokens.c.refreshable == true(),
        tokens.c.presented_at.is_(None),
        _asked(kind),
    )


def _claim(
    *,
    attempt: ColumnElement[Any],
    owner: ColumnElement[Any],
    lease: ColumnElement[Any],
    at: ColumnElement[Any],
    first: ColumnElement[Any],
) -> Update:
    return update(tokens).values(
        attempt_id=attempt,
        lease_owner=owner,
        lease_until=_NOW + lease,
        presented_at=at,
        first_presented_at=first,
    )


#: Should this worker die, the scheduler finds the row here. Due rows keep their value, which keeps the update
#: off the index.
_FOUND: Final = {"refresh_due_at": func.least(tokens.c.refresh_due_at, _NOW)}
_ALONE: Final[dict[str, ColumnElement[Any]]] = {
    "attempt": bindparam("new_attempt", type_=tokens.c.attempt_id.type),
    "owner": bindparam("owner", type_=Text),
    "lease": bindparam("lease", type_=Interval),
    "at": _STAMP.c.at,
}


def _plain_claim(kind: ClaimKind) -> Update:
    return (
        _claim(**_ALONE, first=_STAMP.c.at)
        .values(_FOUND)
        .where(tokens.c.connection_id == _WANTED, _OWNED, _claimable(kind))
        .returning(*STATE_COLUMNS, *SEALED_COLUMNS)
    )


CLAIMS: Final = {kind: _plain_claim(kind) for kind in ClaimKind}
CLAIM_RECOVERY: Final = (
    _claim(**_ALONE, first=func.coalesce(tokens.c.first_presented_at, _STAMP.c.at))
    .where(
        tokens.c.connection_id == _WANTED,
        _OWNED,
        _free(),
        tokens.c.status == literal_column("'in_doubt'"),
        tokens.c.attempt_id.is_not_distinct_from(bindparam("seen_attempt", type_=tokens.c.attempt_id.type)),
        _due(),
    )
    .returning(*STATE_COLUMNS, *SEALED_COLUMNS)
)


def _group_claim() -> Update:
    """Return the claim of several due tokens at once; it returns those rows that it has taken.

    A row that somebody else is writing at this moment is passed over, so that groups of two processes never
    wait for one another, in whatever order they name their rows. Where a row is named twice it is taken once:
    the attempt that it returns tells by whom.
    """
    wanted = unnested(
        "wanted",
        connection_id=tokens.c.connection_id.type,
        attempt_id=tokens.c.attempt_id.type,
        owner=Text(),
        lease=Interval(),
    )
    claimable = (
        select(tokens.c.connection_id)
        .where(tokens.c.connection_id == wanted.c.connection_id, _claimable(ClaimKind.SCHEDULED))
        .with_for_update(key_share=True, skip_locked=True, of=tokens)
        .correlate(wanted, _STAMP)
        .lateral("claimable")
    )
    taken = select(wanted, _STAMP.c.at).join(_STAMP, true()).join(claimable, true()).cte("taken")
    return (
        _claim(
            attempt=taken.c.attempt_id,
            owner=taken.c.owner,
            lease=taken.c.lease,
            at=taken.c.at,
            first=taken.c.at,
        )
        .values(_FOUND)
        .where(tokens.c.connection_id == taken.c.connection_id, _OWNED)
        .returning(*STATE_COLUMNS, *SEALED_COLUMNS)
    )


CLAIM_GROUP: Final = Direct(_group_claim())
