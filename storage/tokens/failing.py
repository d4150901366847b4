"""Failures: what an attempt that brought no answer writes, fenced by attempt and version."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    Boolean,
    ColumnElement,
    DateTime,
    Integer,
    Text,
    bindparam,
    case,
    func,
    literal_column,
    null,
    or_,
    select,
    update,
)

from domain.policy import EXPLAINING
from domain.token import ReauthReason, Status
from storage.activity import Note, noting
from storage.alerts import AlertSpec, open_alert, resolve_connections
from storage.engine import single, transaction
from storage.schema import tokens
from storage.tokens.base import StoreBase


@dataclass(frozen=True, slots=True)
class FailureRecord:
    """What an attempt came to, and what the policy decided about it.

    Attributes:
        version: The row's version when the attempt claimed it.
        status: `active` (tried again), `in_doubt` (the presentation stays unresolved) or `needs_reauth`.
        failures: Consecutive failures, this one included.
        code: The error's stable word.
        refresh_due_at: When to act next; None (never) with `needs_reauth` alone.
        not_before: No presentation before then, not even a forced one; None lifts an earlier one.
        note: What goes into the activity log.
        alert: Opened, or counted, in the same transaction; None tells nobody.
        refused: The provider refused the refresh token, and no lost rotation explains it.
    """

    connection_id: UUID
    attempt_id: UUID
    version: int
    status: Status
    failures: int
    code: str
    refresh_due_at: datetime | None
    note: Note
    not_before: datetime | None = None
    reauth_reason: ReauthReason | None = None
    alert: AlertSpec | None = None
    refused: bool = False


def last_error(code: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return what becomes of the row's last error: this code, unless the one it has explains a refusal."""
    explained = tokens.c.last_error_code.in_([literal_column(f"'{kept}'") for kept in EXPLAINING])
    return case((explained, tokens.c.last_error_code), else_=code)


_INSTANT: Final = DateTime(timezone=True)
_STATUS: Final = bindparam("new_status", type_=Text)
_CODE: Final = bindparam("error_code", type_=Text)
_DOUBT: Final = _STATUS == "in_doubt"
_CHANGED: Final = (
    update(tokens)
    .where(
        tokens.c.connection_id == bindparam("wanted_id"),
        tokens.c.attempt_id == bindparam("held_by"),
        tokens.c.version == bindparam("at_version"),
    )
    .values(
        status=_STATUS,
        failures=bindparam("in_a_row", type_=Integer),
        last_error_code=case(
            (_STATUS == "needs_reauth", _CODE),
            else_=last_error(_CODE),
        ),
        last_error_at=func.clock_timestamp(),
        refresh_due_at=bindparam("due_at", type_=_INSTANT),
        check_due_at=case((_STATUS == "needs_reauth", null()), else_=tokens.c.check_due_at),
        refresh_enqueued_until=null(),
        not_before=bindparam("held_off_until", type_=_INSTANT),
        lease_owner=case((_DOUBT, tokens.c.lease_owner), else_=null()),
        lease_until=null(),
        attempt_id=case((_DOUBT, tokens.c.attempt_id), else_=null()),
        presented_at=case((_DOUBT, tokens.c.presented_at), else_=null()),
        first_presented_at=case((_DOUBT, tokens.c.first_presented_at), else_=null()),
        reauth_reason=bindparam("reason", type_=Text),
        alerted=or_(tokens.c.alerted, bindparam("alerting", type_=Boolean)),
        # The first refusal counts: what is refused again and again is no sign that more are.
        refused_at=case(
            (bindparam("refused", type_=Boolean), func.coalesce(tokens.c.refused_at, func.clock_timestamp())),
            else_=tokens.c.refused_at,
        ),
    )
    .returning(tokens.c.connection_id, tokens.c.provider_id, tokens.c.version)
    .cte("changed")
)
_RECORD: Final = select(_CHANGED.c.version).add_cte(noting(_CHANGED))


class Failures(StoreBase):
    """The part of the token store that records failed attempts."""

    def record_failure(self, failure: FailureRecord) -> bool:
        """Write what the attempt came to and give its lease back; False if the row has moved on from it.

        With False nothing was written, and no alert was opened. This is also how a row is read again before
        its grant is declared dead: attempt and version are compared by the very statement that writes the
        sentence, so that nothing can come between looking and writing.
        """
        parameters: dict[str, object] = {
            "wanted_id": failure.connection_id,
            "held_by": failure.attempt_id,
            "at_version": failure.version,
            "new_status": failure.status.value,
            "in_a_row": failure.failures,
            "error_code": failure.code,
            "due_at": failure.refresh_due_at,
            "held_off_until": failure.not_before,
            "reason": failure.reauth_reason,
            "alerting": failure.alert is not None,
            "refused": failure.refused,
            **failure.note.parameters(failure.attempt_id),
        }
        if failure.alert is None:
            with single(self._auto) as connection:
                return connection.execute(_RECORD, parameters).one_or_none() is not None
        with transaction(self._engine) as connection:
            if connection.execute(_RECORD, parameters).one_or_none() is None:
                return False
            if failure.status is Status.NEEDS_REAUTH:
                # What is told from here on takes the place of "is being tried again".
                resolve_connections(connection, [failure.connection_id], forecasts=True)
            open_alert(connection, failure.alert)
            return True
