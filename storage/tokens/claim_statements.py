"""The statements of a claim, built once: one for each reason to refresh, and the one for recovery."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

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

from storage.schema import connections, tokens
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


def _free() -> ColumnElement[bool]:
    return and_(
        tokens.c.connection_id == bindparam("wanted_id"),
        # The join brings what a presentation needs to know of its owner, without a second statement.
        connections.c.id == tokens.c.connection_id,
        or_(tokens.c.lease_until.is_(None), tokens.c.lease_until < _STAMP.c.at),
        or_(tokens.c.not_before.is_(None), tokens.c.not_before <= _NOW),
    )


def _claim(*, stamps: dict[str, ColumnElement[object]]) -> Update:
    return update(tokens).values(
        attempt_id=bindparam("new_attempt"),
        lease_owner=bindparam("owner", type_=Text),
        lease_until=_NOW + bindparam("lease", type_=Interval),
        presented_at=_STAMP.c.at,
        **stamps,
    )


def _plain_claim(kind: ClaimKind) -> Update:
    return (
        _claim(
            stamps={
                "first_presented_at": _STAMP.c.at,
                # Should this worker die, the scheduler finds the row here. Due rows keep their value, which
                # keeps the update off the index.
                "refresh_due_at": func.least(tokens.c.refresh_due_at, _NOW),
            }
        )
        .where(
            _free(),
            tokens.c.status == literal_column("'active'"),
            tokens.c.refreshable == true(),
            tokens.c.presented_at.is_(None),
            _asked(kind),
        )
        .returning(*STATE_COLUMNS, *SEALED_COLUMNS)
    )


CLAIMS: Final = {kind: _plain_claim(kind) for kind in ClaimKind}
CLAIM_RECOVERY: Final = (
    _claim(stamps={"first_presented_at": func.coalesce(tokens.c.first_presented_at, _STAMP.c.at)})
    .where(
        _free(),
        tokens.c.status == literal_column("'in_doubt'"),
        tokens.c.attempt_id.is_not_distinct_from(bindparam("seen_attempt", type_=tokens.c.attempt_id.type)),
        _due(),
    )
    .returning(*STATE_COLUMNS, *SEALED_COLUMNS)
)
