"""Leases that end without an answer: given back unused, or lapsed with the presentation unresolved."""

from __future__ import annotations

from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import (
    DateTime,
    Text,
    and_,
    bindparam,
    case,
    func,
    literal_column,
    not_,
    null,
    or_,
    select,
    update,
)

from storage.activity import Note, noting
from storage.engine import single
from storage.schema import tokens
from storage.tokens.base import StoreBase
from storage.tokens.failing import last_error

_NOW: Final = func.clock_timestamp()
_IN_DOUBT: Final = tokens.c.status == literal_column("'in_doubt'")
#: An earlier attempt than the releasing one left a doubt; without that, the token was never presented.
_STILL_DOUBTED: Final = and_(_IN_DOUBT, tokens.c.presented_at != tokens.c.first_presented_at)
_ENDED: Final = and_(_IN_DOUBT, not_(_STILL_DOUBTED))
_RESCHEDULED: Final = bindparam("due_at", type_=DateTime(timezone=True))
#: Of `wanted_id`, where `held_by` has it; `due_at` as `Releases.release` has it.
RELEASE: Final = (
    update(tokens)
    .where(tokens.c.connection_id == bindparam("wanted_id"), tokens.c.attempt_id == bindparam("held_by"))
    .values(
        status=case((_ENDED, literal_column("'active'")), else_=tokens.c.status),
        attempt_id=null(),
        lease_owner=null(),
        lease_until=null(),
        presented_at=null(),
        first_presented_at=case((_STILL_DOUBTED, tokens.c.first_presented_at), else_=null()),
        refresh_due_at=func.coalesce(
            _RESCHEDULED,
            # The time of the recovery, which may be just before expiry, goes with the doubt.
            case((_ENDED, func.least(tokens.c.refresh_due_at, _NOW)), else_=tokens.c.refresh_due_at),
        ),
        # With a new time the scheduler's mark of the old one would only be in the way.
        refresh_enqueued_until=case((_RESCHEDULED.is_(None), tokens.c.refresh_enqueued_until), else_=null()),
    )
    .returning(tokens.c.connection_id)
)
_LAPSED: Final = (
    update(tokens)
    .where(
        tokens.c.connection_id == bindparam("wanted_id"),
        tokens.c.attempt_id == bindparam("held_by"),
        tokens.c.status.in_((literal_column("'active'"), literal_column("'in_doubt'"))),
        tokens.c.presented_at.is_not(None),
        tokens.c.lease_until < _NOW,
    )
    .values(
        status="in_doubt",
        # The owner stays: recovery asks what became of the process that presented.
        lease_until=null(),
        refresh_due_at=bindparam("recover_at", type_=DateTime(timezone=True)),
        refresh_enqueued_until=null(),
        last_error_code=last_error(literal_column("'lease_lapsed'", Text)),
        last_error_at=_NOW,
    )
    .returning(tokens.c.connection_id, tokens.c.provider_id, tokens.c.version)
    .cte("changed")
)
#: Without a line of activity: it is done every few seconds while a place that may hold the answer is silent.
_PUT_OFF: Final = (
    update(tokens)
    .where(
        tokens.c.connection_id == bindparam("wanted_id"),
        _IN_DOUBT,
        or_(tokens.c.lease_until.is_(None), tokens.c.lease_until < _NOW),
    )
    .values(refresh_due_at=bindparam("until", type_=DateTime(timezone=True)), refresh_enqueued_until=null())
)
_MARK_LAPSED: Final = select(_LAPSED.c.version).add_cte(noting(_LAPSED))


class Releases(StoreBase):
    """The part of the token store that ends leases."""

    def release(
        self, connection_id: UUID, attempt_id: UUID, *, refresh_due_at: datetime | None = None
    ) -> bool:
        """Give a claim back of which nothing was sent; False if the row is no longer this attempt's.

        An earlier attempt's doubt stays as it was. A doubt that is only this claim's own lapsed lease ends:
        its holder is the one who knows that nothing was sent.

        Args:
            refresh_due_at: When to act next; None leaves the schedule alone, or, with the end of a doubt,
                makes the refresh due at once.
        """
        parameters = {"wanted_id": connection_id, "held_by": attempt_id, "due_at": refresh_due_at}
        with single(self._auto) as connection:
            return connection.execute(RELEASE, parameters).one_or_none() is not None

    def mark_lapsed(self, connection_id: UUID, *, attempt_id: UUID, recover_at: datetime) -> bool:
        """Call a row in doubt, once more if it is, whose holder let the lease lapse; False if that is not so.

        Args:
            attempt_id: The attempt that held the lease, as read.
            recover_at: When the recovery rule is to look at it.
        """
        parameters = {"wanted_id": connection_id, "held_by": attempt_id, "recover_at": recover_at}
        parameters |= Note("in_doubt", "lease_lapsed").parameters(attempt_id)
        with single(self._auto) as connection:
            return connection.execute(_MARK_LAPSED, parameters).one_or_none() is not None

    def put_off_recovery(self, connection_id: UUID, *, until: datetime) -> None:
        """Look at a doubt again later; nothing is done if it is not one any more, or is being recovered."""
        with single(self._auto) as connection:
            connection.execute(_PUT_OFF, {"wanted_id": connection_id, "until": until})
