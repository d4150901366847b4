"""Claims: the exclusive, expiring right to present a connection's refresh token."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Interval,
    Row,
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

from domain.token import ConnectionRef, Credentials, TokenState
from storage.engine import single
from storage.schema import connections, tokens
from storage.tokens.base import StoreBase
from storage.tokens.rows import (
    SEALED_COLUMNS,
    STATE_COLUMNS,
    Sealed,
    now_of,
    ref_of,
    sealed_of,
    state_of,
    token_ref,
)

_MINUTE: Final = literal_column("interval '60 seconds'", Interval)
_HALF_LIFE: Final = literal_column("(tokens.expires_at - tokens.issued_at) / 2", Interval)
_NOW: Final = func.clock_timestamp()


class ClaimKind(StrEnum):
    """What a claim is made for, and so which tokens it takes."""

    SCHEDULED = "scheduled"
    ON_DEMAND = "on_demand"
    IF_VERSION = "if_version"
    FORCE = "force"


@dataclass(frozen=True, slots=True)
class ClaimCondition:
    """When a token may be claimed, beyond what always holds (active, unpresented, lease free, not held off).

    Attributes:
        min_validity: For on-demand claims: how long the access token must still live to be left alone,
            capped at half of its lifetime.
        version: For conditional claims: the version that did not work for the caller.
    """

    kind: ClaimKind
    min_validity: timedelta | None = None
    version: int | None = None

    @classmethod
    def scheduled(cls) -> ClaimCondition:
        """Take the token if its refresh is due."""
        return cls(ClaimKind.SCHEDULED)

    @classmethod
    def on_demand(cls, min_validity: timedelta) -> ClaimCondition:
        """Take the token if it expires within `min_validity`, or if its refresh is due."""
        return cls(ClaimKind.ON_DEMAND, min_validity=min_validity)

    @classmethod
    def if_version(cls, version: int) -> ClaimCondition:
        """Take the token if it still has this version."""
        return cls(ClaimKind.IF_VERSION, version=version)

    @classmethod
    def force(cls) -> ClaimCondition:
        """Take the token however fresh it is; the minimum interval between refreshes still holds."""
        return cls(ClaimKind.FORCE)


@dataclass(frozen=True, slots=True)
class Claimed:
    """A claimed token: the caller alone may present it until `state.lease_until`.

    Attributes:
        now: Postgres' time when the claim was made; count on from here with a monotonic clock.
        scope: As stored; hand it to a landing only where an answer names another one.
        sealed: Opened by `TokenStore.open`.
    """

    ref: ConnectionRef
    state: TokenState
    now: datetime
    scope: tuple[str, ...]
    sealed: Sealed = field(repr=False)


def _due() -> ColumnElement[bool]:
    return tokens.c.refresh_due_at <= _NOW


def _rested() -> ColumnElement[bool]:
    # LEAST ignores NULL: an unknown lifetime leaves the minute. Keep in sync with `schedule.min_interval`.
    interval = func.least(_MINUTE, _HALF_LIFE)
    return or_(tokens.c.last_refreshed_at.is_(None), tokens.c.last_refreshed_at + interval <= _NOW)


def _asked(kind: ClaimKind) -> ColumnElement[bool]:
    match kind:
        case ClaimKind.SCHEDULED:
            return _due()
        case ClaimKind.ON_DEMAND:
            wanted = func.least(bindparam("min_validity", type_=Interval), _HALF_LIFE)
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


_CLAIMS: Final = {kind: _plain_claim(kind) for kind in ClaimKind}
_CLAIM_RECOVERY: Final = (
    _claim(stamps={"first_presented_at": func.coalesce(tokens.c.first_presented_at, _STAMP.c.at)})
    .where(
        _free(),
        tokens.c.status == literal_column("'in_doubt'"),
        tokens.c.attempt_id.is_not_distinct_from(bindparam("seen_attempt", type_=tokens.c.attempt_id.type)),
        _due(),
    )
    .returning(*STATE_COLUMNS, *SEALED_COLUMNS)
)
_READ: Final = select(*STATE_COLUMNS).where(
    tokens.c.connection_id == bindparam("wanted_id"), connections.c.id == tokens.c.connection_id
)
_FIND: Final = select(connections.c.id).where(
    connections.c.user_id == bindparam("of_user"),
    connections.c.provider_id == bindparam("at_provider"),
    connections.c.account_id == bindparam("account"),
)


def _claimed(row: Row[Any] | None) -> Claimed | None:
    if row is None:
        return None
    return Claimed(ref_of(row), state_of(row), now_of(row), tuple(row.scope), sealed_of(row))


def _never() -> bool:
    return False


class Claims(StoreBase):
    """The part of the token store that takes and returns leases."""

    def claim(
        self,
        connection_id: UUID,
        *,
        attempt_id: UUID,
        owner: str,
        lease: timedelta,
        when: ClaimCondition,
        unless: Callable[[], bool] = _never,
    ) -> Claimed | None:
        """Take the exclusive right to present and stamp the presentation; None if the token is not to be had.

        The token must be active and refreshable, with no presentation unresolved, its lease free, not held
        off, and `when` must hold; all of it is judged and written in one statement over one row. From here
        on the presentation counts as made: a caller that sends nothing must `release`.

        Args:
            attempt_id: New for every call.
            owner: For people: who holds the lease.
            unless: Asked when the connection to Postgres is had, and the statement is about to be sent: True
                claims nothing.
        """
        parameters = {
            "wanted_id": connection_id,
            "new_attempt": attempt_id,
            "owner": owner,
            "lease": lease,
        }
        if when.kind is ClaimKind.ON_DEMAND:
            parameters["min_validity"] = when.min_validity or timedelta()
        elif when.kind is ClaimKind.IF_VERSION:
            parameters["if_version"] = when.version
        with single(self._auto) as connection:
            if unless():
                return None
            return _claimed(connection.execute(_CLAIMS[when.kind], parameters).one_or_none())

    def claim_recovery(
        self,
        connection_id: UUID,
        *,
        seen: UUID | None,
        attempt_id: UUID,
        owner: str,
        lease: timedelta,
        unless: Callable[[], bool] = _never,
    ) -> Claimed | None:
        """Take the right to present a token in doubt once more; None if it is not in doubt, due and free.

        `first_presented_at` stays, so replay windows go on counting from the first presentation, and
        `presented_at` differs from it from now on: the doubt has been presented again.
        `unless` as in `claim`.

        Args:
            seen: The attempt whose presentation is unresolved, as read when the time of recovery was judged;
                None: there was none. Another one since then has a settling time of its own.
        """
        parameters = {
            "wanted_id": connection_id,
            "seen_attempt": seen,
            "new_attempt": attempt_id,
            "owner": owner,
            "lease": lease,
        }
        with single(self._auto) as connection:
            if unless():
                return None
            return _claimed(connection.execute(_CLAIM_RECOVERY, parameters).one_or_none())

    def open(self, claimed: Claimed) -> Credentials:
        """Open the claimed credentials.

        Raises:
            KeyMissing: The key that sealed them is not in the ring.
            SealBroken: They are damaged or belong elsewhere.
        """
        sealed = claimed.sealed
        refresh = sealed.refresh_token
        return Credentials(
            self._sealer.open(sealed.access_token, token_ref("access_token", sealed.connection_id)),
            None
            if refresh is None
            else self._sealer.open(refresh, token_ref("refresh_token", sealed.connection_id)),
        )

    def read(self, connection_id: UUID) -> tuple[ConnectionRef, TokenState, datetime] | None:
        """Return whose token it is, its state, and Postgres' time; None if there is no such connection."""
        with single(self._auto) as connection:
            row = connection.execute(_READ, {"wanted_id": connection_id}).one_or_none()
        return None if row is None else (ref_of(row), state_of(row), now_of(row))

    def find(self, user_id: str, provider_id: str, account_id: str = "") -> UUID | None:
        """Return the id of a user's connection; None if there is none."""
        parameters = {"of_user": user_id, "at_provider": provider_id, "account": account_id}
        with single(self._auto) as connection:
            found: UUID | None = connection.execute(_FIND, parameters).scalar_one_or_none()
        return found
