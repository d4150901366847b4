"""The statements of a landing, built once: one for the hot path, and what the rarer ways need."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    ColumnElement,
    DateTime,
    Interval,
    LargeBinary,
    Select,
    Text,
    and_,
    any_,
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

from domain.policy import PRESENTED_TWICE
from domain.timing import LONGEST_UNDER_WAY
from domain.token import ReauthReason
from storage.activity import noting
from storage.schema import SPENT_KEPT, connections, tokens

_INSTANT: Final = DateTime(timezone=True)
_KEEP: Final = bindparam("keep_refresh", type_=Boolean)
_ATTEMPT: Final = bindparam("by_attempt", type_=tokens.c.attempt_id.type)
#: Another attempt holds a live lease: it may still be presenting the token that is being replaced, and where
#: that one stays in use (`keep_refresh`) nobody else may present it before the lease has run out.
_HELD_BY_ANOTHER: Final = and_(tokens.c.attempt_id != _ATTEMPT, tokens.c.lease_until > func.clock_timestamp())
#: Another attempt has presented the token that is being replaced, and nobody knows what became of that.
_RIVALLED: Final = and_(tokens.c.attempt_id != _ATTEMPT, tokens.c.presented_at.is_not(None))
#: When the provider is certain to be done with that, until when the next token waits; null without a rival.
RIVAL_ENDED: Final[ColumnElement[Any]] = case(
    (
        _RIVALLED,
        tokens.c.presented_at
        + literal_column(f"interval '{LONGEST_UNDER_WAY.total_seconds():g} seconds'", Interval),
    ),
    else_=null(),
)
_PRESENTED_TWICE: Final = or_(
    _RIVALLED,
    tokens.c.reauth_reason == literal_column(f"'{ReauthReason.ROTATION_PROBABLY_LOST}'"),
)
#: The refresh token has changed. Digests of the new one are given under every key of the ring, or a token
#: that stayed while the ring's first key changed would be taken for spent.
_REPLACED: Final = and_(
    tokens.c.refresh_digest.is_not(None),
    not_(_KEEP),
    not_(
        func.coalesce(
            tokens.c.refresh_digest == any_(bindparam("same_digests", type_=ARRAY(LargeBinary))),
            literal_column("false"),
        )
    ),
)
#: The current refresh token's digest joins the spent ones, newest first; the oldest fall off.
SPENT_WITH_CURRENT: Final[ColumnElement[Any]] = literal_column(
    f"(array_prepend(tokens.refresh_digest, tokens.spent_digests))[1:{SPENT_KEPT}]", ARRAY(LargeBinary)
)


_LIVING: Final = tokens.c.status.in_((literal_column("'active'"), literal_column("'in_doubt'")))


def _values() -> dict[str, object]:
    kept = and_(_KEEP, tokens.c.refresh_token.is_not(None))
    refresh_expires_at = bindparam("new_refresh_expires_at", type_=_INSTANT)
    return {
        "status": literal_column("'active'"),
        "version": bindparam("presented_version", type_=BigInteger) + literal_column("1", BigInteger),
        # With a kept refresh token the row still needs the key that sealed it.
        "key_id": case((kept, tokens.c.key_id), else_=bindparam("sealed_by", type_=Text)),
        "access_token": bindparam("new_access", type_=LargeBinary),
        "refresh_token": case(
            (_KEEP, tokens.c.refresh_token), else_=bindparam("new_refresh", type_=LargeBinary)
        ),
        "refresh_digest": case(
            (_KEEP, tokens.c.refresh_digest), else_=bindparam("new_digest", type_=LargeBinary)
        ),
        "spent_digests": case((_REPLACED, SPENT_WITH_CURRENT), else_=tokens.c.spent_digests),
        "issued_at": bindparam("new_issued_at", type_=_INSTANT),
        "expires_at": bindparam("new_expires_at", type_=_INSTANT),
        "refresh_expires_at": case(
            (_KEEP, func.coalesce(refresh_expires_at, tokens.c.refresh_expires_at)), else_=refresh_expires_at
        ),
        "refresh_due_at": bindparam("new_refresh_due_at", type_=_INSTANT),
        # Checks keep their own pace: hourly refreshes would otherwise put a daily check off for ever.
        "check_due_at": func.coalesce(tokens.c.check_due_at, bindparam("new_check_due_at", type_=_INSTANT)),
        "refresh_enqueued_until": null(),
        "not_before": RIVAL_ENDED,
        "attempt_id": null(),
        "lease_owner": case((_HELD_BY_ANOTHER, tokens.c.lease_owner), else_=null()),
        "lease_until": case((_HELD_BY_ANOTHER, tokens.c.lease_until), else_=null()),
        "presented_at": null(),
        "first_presented_at": null(),
        "committed_attempt_id": _ATTEMPT,
        "failures": literal_column("0"),
        # A refused access token causes one refresh; whether the new one is refused, only a check can tell.
        "check_failures": case((_LIVING, tokens.c.check_failures), else_=literal_column("0")),
        "last_error_code": case(
            (_PRESENTED_TWICE, literal_column(f"'{PRESENTED_TWICE}'", Text)), else_=null()
        ),
        "last_refreshed_at": func.clock_timestamp(),
        "reauth_reason": null(),
        "refused_at": null(),
        "alerted": literal_column("false"),
    }


def _landing(*, alerted: bool, scope: bool) -> Select[int]:
    """Return the statement that lands and records it; it returns the new version, or no row.

    Args:
        alerted: Rows with an open alert land as well, and rows of an older version than was presented; the
            caller has locked the row and judged it, and resolves the alert in the same transaction.
        scope: The connection's scope is written too.
    """
    change = update(tokens).where(
        tokens.c.connection_id == bindparam("wanted_id"),
        tokens.c.grant_id == bindparam("of_grant"),
        tokens.c.status != literal_column("'disconnected'"),
    )
    presented = bindparam("presented_version", type_=BigInteger)
    if alerted:
        change = change.where(tokens.c.version <= presented)
    else:
        change = change.where(tokens.c.version == presented, not_(tokens.c.alerted))
    changed = (
        change.values(_values())
        .returning(tokens.c.connection_id, tokens.c.provider_id, tokens.c.version)
        .cte("changed")
    )
    landing = select(changed.c.version).add_cte(noting(changed))
    if scope:
        scoped = (
            update(connections)
            .where(connections.c.id == changed.c.connection_id)
            .values(scope=bindparam("new_scope", type_=ARRAY(Text)), updated_at=func.clock_timestamp())
        )
        landing = landing.add_cte(scoped.cte("scoped"))
    return landing


#: By whether rows with an open alert, or of an older version, land as well, and whether the scope is written.
LAND: Final = {
    (alerted, scope): _landing(alerted=alerted, scope=scope)
    for alerted in (False, True)
    for scope in (False, True)
}
#: What a row is like that an answer did not land on; locks it.
STANDING: Final = (
    select(
        tokens.c.provider_id,
        tokens.c.status,
        tokens.c.grant_id,
        tokens.c.version,
        tokens.c.alerted,
        tokens.c.committed_attempt_id,
        tokens.c.spent_digests,
    )
    .where(tokens.c.connection_id == bindparam("wanted_id"))
    .with_for_update(key_share=True)
)
