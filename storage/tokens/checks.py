"""Health checks: read before, recorded after, dropped if the token moved in between."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from pydantic import SecretStr
from sqlalchemy import (
    Boolean,
    DateTime,
    Integer,
    Select,
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

from domain.token import ConnectionRef, ReauthReason, TokenState
from storage.activity import Note, noting
from storage.alerts import AlertSpec, open_alert, resolve_connections
from storage.engine import single, transaction
from storage.schema import connections, tokens
from storage.tokens.base import StoreBase
from storage.tokens.failing import last_error
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


@dataclass(frozen=True, slots=True)
class CheckRecord:
    """What a health check came to, and what the policy decided about it.

    Attributes:
        version: The row's version when the check began.
        verified: The provider confirmed the token: `last_verified_at` becomes now.
        check_failures: Consecutive checks that called the token dead, this one included.
        code: The error's stable word; None leaves the last error as it is.
        check_due_at: When to check next; None means never. Ignored with `needs_reauth`.
        refresh_now: Make the refresh due at once, to find out whether the grant lives.
        needs_reauth: The connection is declared dead for this reason; None leaves its status alone.
        note: What goes into the activity log; None writes nothing (an ordinary healthy check).
        alert: Opened, or counted, in the same transaction; None tells nobody.
        resolve_alerts: The connection has recovered: its unresolved alerts are resolved, and `needs_reauth`
            becomes `active`.
    """

    connection_id: UUID
    grant_id: UUID
    version: int
    verified: bool
    check_failures: int
    check_due_at: datetime | None
    code: str | None = None
    refresh_now: bool = False
    needs_reauth: ReauthReason | None = None
    note: Note | None = None
    alert: AlertSpec | None = None
    resolve_alerts: bool = False


_BEGIN: Final = select(*STATE_COLUMNS, *SEALED_COLUMNS).where(
    tokens.c.connection_id == bindparam("wanted_id"),
    connections.c.id == tokens.c.connection_id,
    tokens.c.access_token.is_not(None),
)
_INSTANT: Final = DateTime(timezone=True)
_REASON: Final = bindparam("reason", type_=Text)
_DEAD: Final = _REASON.is_not(None)
_RECOVERS: Final = and_(
    bindparam("resolving", type_=Boolean), tokens.c.status == literal_column("'needs_reauth'")
)
_RESTING: Final = and_(
    tokens.c.status.in_((literal_column("'needs_reauth'"), literal_column("'disconnected'"))),
    not_(_RECOVERS),
)
_CODE: Final = bindparam("error_code", type_=Text)


def _record(*, noted: bool) -> Select[int]:
    changed = (
        update(tokens)
        .where(
            tokens.c.connection_id == bindparam("wanted_id"),
            tokens.c.grant_id == bindparam("of_grant"),
            tokens.c.version == bindparam("at_version"),
        )
        .values(
            status=case(
                (_DEAD, literal_column("'needs_reauth'")),
                (_RECOVERS, literal_column("'active'")),
                else_=tokens.c.status,
            ),
            reauth_reason=case((_RECOVERS, null()), else_=func.coalesce(_REASON, tokens.c.reauth_reason)),
            last_verified_at=case(
                (bindparam("verified", type_=Boolean), func.clock_timestamp()),
                else_=tokens.c.last_verified_at,
            ),
            check_failures=bindparam("in_a_row", type_=Integer),
            last_error_code=last_error(func.coalesce(_CODE, tokens.c.last_error_code)),
            last_error_at=case((_CODE.is_not(None), func.clock_timestamp()), else_=tokens.c.last_error_at),
            check_due_at=case((or_(_DEAD, _RESTING), null()), else_=bindparam("due_at", type_=_INSTANT)),
            check_enqueued_until=null(),
            refresh_due_at=case(
                (or_(_DEAD, _RESTING), null()),
                (
                    # A doubt waits for its own time, whatever a check says of the access token.
                    and_(
                        or_(bindparam("refresh_now", type_=Boolean), _RECOVERS),
                        tokens.c.refreshable,
                        tokens.c.status != literal_column("'in_doubt'"),
                    ),
                    # Not before its backoff is over: the scheduler would publish it again and again in vain,
                    # and as the longest due before those that may be presented.
                    func.least(
                        tokens.c.refresh_due_at, func.greatest(tokens.c.not_before, func.clock_timestamp())
                    ),
                ),
                else_=tokens.c.refresh_due_at,
            ),
            alerted=or_(
                and_(tokens.c.alerted, not_(bindparam("resolving", type_=Boolean))),
                bindparam("alerting", type_=Boolean),
            ),
        )
        .returning(tokens.c.connection_id, tokens.c.provider_id, tokens.c.version)
        .cte("changed")
    )
    recorded = select(changed.c.version)
    return recorded.add_cte(noting(changed)) if noted else recorded.add_cte(changed)


_RECORD: Final = {noted: _record(noted=noted) for noted in (False, True)}


class Checks(StoreBase):
    """The part of the token store that health checks use."""

    def begin_check(self, connection_id: UUID) -> tuple[ConnectionRef, TokenState, datetime, Sealed] | None:
        """Return whose token it is, its state, Postgres' time and the sealed credentials, and lock nothing.

        None if there is no such connection, or it is disconnected and has no access token any more.
        """
        with single(self._auto) as connection:
            row = connection.execute(_BEGIN, {"wanted_id": connection_id}).one_or_none()
        return None if row is None else (ref_of(row), state_of(row), now_of(row), sealed_of(row))

    def open_access(self, sealed: Sealed) -> SecretStr:
        """Open the access token alone.

        Raises:
            KeyMissing: The key that sealed it is not in the ring.
            SealBroken: It is damaged or belongs elsewhere.
        """
        return self._sealer.open(sealed.access_token, token_ref("access_token", sealed.connection_id))

    def record_check(self, check: CheckRecord) -> bool:
        """Write what the check came to; False if the token has moved on and the verdict was dropped."""
        parameters: dict[str, object] = {
            "wanted_id": check.connection_id,
            "of_grant": check.grant_id,
            "at_version": check.version,
            "verified": check.verified,
            "in_a_row": check.check_failures,
            "error_code": check.code,
            "due_at": check.check_due_at,
            "refresh_now": check.refresh_now,
            "reason": check.needs_reauth,
            "resolving": check.resolve_alerts,
            "alerting": check.alert is not None,
        }
        if check.note is not None:
            parameters |= check.note.parameters(None)
        statement = _RECORD[check.note is not None]
        if check.alert is None and not check.resolve_alerts:
            with single(self._auto) as connection:
                return connection.execute(statement, parameters).one_or_none() is not None
        with transaction(self._engine) as connection:
            if connection.execute(statement, parameters).one_or_none() is None:
                return False
            if check.resolve_alerts or check.needs_reauth is not None:
                dead = check.needs_reauth is not None
                resolve_connections(connection, [check.connection_id], forecasts=dead)
            if check.alert is not None:
                open_alert(connection, check.alert)
            return True
