"""Claims: the exclusive, expiring right to present a connection's refresh token."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row, bindparam, select

from domain.token import ConnectionRef, Credentials, Status, TokenState
from storage.combining import GroupFailed
from storage.engine import single
from storage.schema import connections, tokens
from storage.tokens.base import StoreBase
from storage.tokens.claim_statements import CLAIM_RECOVERY, CLAIMS, ClaimKind
from storage.tokens.groups import ClaimedRow, WantedClaim
from storage.tokens.releasing import RELEASE
from storage.tokens.rows import (
    STATE_COLUMNS,
    Sealed,
    now_of,
    ref_of,
    sealed_of,
    split,
    state_of,
    token_ref,
)


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


_READ: Final = select(*STATE_COLUMNS).where(
    tokens.c.connection_id == bindparam("wanted_id"), connections.c.id == tokens.c.connection_id
)
_FIND: Final = select(connections.c.id).where(
    connections.c.user_id == bindparam("of_user"),
    connections.c.provider_id == bindparam("at_provider"),
    connections.c.account_id == bindparam("account"),
)
#: Of a user who names no account: what there is to choose from.
_FIND_ANY: Final = (
    select(connections.c.id, connections.c.account_id, tokens.c.status)
    .join(tokens, tokens.c.connection_id == connections.c.id)
    .where(
        connections.c.user_id == bindparam("of_user"),
        connections.c.provider_id == bindparam("at_provider"),
    )
    .order_by(connections.c.account_id)
    .limit(100)
)


def _claimed(row: Row[Any] | None) -> Claimed | None:
    if row is None:
        return None
    return Claimed(ref_of(row), state_of(row), now_of(row), tuple(row.scope), sealed_of(row))


def _claimed_in_group(row: ClaimedRow) -> Claimed:
    state, (user_id, account_id, metadata, scope, now, access, refresh) = split(row)
    ref = ConnectionRef(state.connection_id, user_id, state.provider_id, account_id, metadata)
    return Claimed(ref, state, now, tuple(scope), Sealed(state.connection_id, access, refresh))


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
        if when.kind is ClaimKind.SCHEDULED:
            try:
                row = self._groups.claim(WantedClaim(connection_id, attempt_id, owner, lease, unless))
            except GroupFailed:
                self._give_back(connection_id, attempt_id)
                row = None
            if row is not None:
                return _claimed_in_group(row)
            # Being written by somebody else at this moment, or not to be had: alone one waits for the row.
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
            return _claimed(connection.execute(CLAIMS[when.kind], parameters).one_or_none())

    def _give_back(self, connection_id: UUID, attempt_id: UUID) -> None:
        """Undo a claim that may have been made without our hearing of it.

        The group's rows can have been committed when one of them turned out not to be readable, or its thread
        was ended. To the claim alone that would be another's presentation, which nobody will ever resolve.
        """
        with single(self._auto) as connection:
            connection.execute(RELEASE, {"wanted_id": connection_id, "held_by": attempt_id, "due_at": None})

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
            return _claimed(connection.execute(CLAIM_RECOVERY, parameters).one_or_none())

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
        """Return the id of a user's connection; None if there is none.

        Args:
            account_id: "" names the connection without an account id, or else the only one that the user has
                there; one that was disconnected counts only where there is no other. None of several: the
                account has to be named.
        """
        parameters = {"of_user": user_id, "at_provider": provider_id, "account": account_id}
        with single(self._auto) as connection:
            if account_id:
                found: UUID | None = connection.execute(_FIND, parameters).scalar_one_or_none()
                return found
            rows = connection.execute(_FIND_ANY, parameters).all()
        living = [row for row in rows if row.status != Status.DISCONNECTED] or rows
        # The one without a name comes first.
        if living and (len(living) == 1 or living[0].account_id == ""):
            return UUID(str(living[0].id))
        return None
