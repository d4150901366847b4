"""The statements of a landing, built once: for one answer, for a group of them, and for the rarer ways."""

from __future__ import annotations

from collections.abc import Callable
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
    cast,
    func,
    literal_column,
    not_,
    null,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.types import TypeEngine

from domain.policy import PRESENTED_TWICE
from domain.timing import LONGEST_UNDER_WAY
from domain.token import ReauthReason
from storage.activity import NOTED, noting
from storage.direct import Direct
from storage.schema import SPENT_KEPT, connections, tokens
from storage.tokens.arrays import unnested

_INSTANT: Final = DateTime(timezone=True)
#: An answer, as a statement is given it: one row's as parameters, several rows' as columns.
ANSWER: Final[dict[str, TypeEngine[Any]]] = {
    "wanted_id": tokens.c.connection_id.type,
    "of_grant": tokens.c.grant_id.type,
    "presented_version": BigInteger(),
    "by_attempt": tokens.c.attempt_id.type,
    "sealed_by": Text(),
    "keep_refresh": Boolean(),
    "new_access": LargeBinary(),
    "new_refresh": LargeBinary(),
    "new_digest": LargeBinary(),
    "same_digests": ARRAY(LargeBinary),
    "new_issued_at": _INSTANT,
    "new_expires_at": _INSTANT,
    "new_refresh_expires_at": _INSTANT,
    "new_refresh_due_at": _INSTANT,
    "new_check_due_at": _INSTANT,
}
Given = Callable[[str], ColumnElement[Any]]


def _alone(name: str) -> ColumnElement[Any]:
    return bindparam(name, type_=ANSWER[name])


def _held_by_another(attempt: ColumnElement[Any]) -> ColumnElement[bool]:
    """Another attempt holds a live lease: it may still be presenting the token that is being replaced.

    Where that one stays in use (`keep_refresh`) nobody else may present it before the lease has run out.
    """
    return and_(tokens.c.attempt_id != attempt, tokens.c.lease_until > func.clock_timestamp())


def _rivalled(attempt: ColumnElement[Any]) -> ColumnElement[bool]:
    """Another attempt has presented what is being replaced, and nobody knows what became of that."""
    return and_(tokens.c.attempt_id != attempt, tokens.c.presented_at.is_not(None))


def _rival_ended(attempt: ColumnElement[Any]) -> ColumnElement[Any]:
    """When the provider is certain to be done with that, until when the next token waits."""
    under_way = literal_column(f"interval '{LONGEST_UNDER_WAY.total_seconds():g} seconds'", Interval)
    return case((_rivalled(attempt), tokens.c.presented_at + under_way), else_=null())


#: Of the attempt `by_attempt`; null without a rival.
RIVAL_ENDED: Final[ColumnElement[Any]] = _rival_ended(_alone("by_attempt"))


def _presented_twice(attempt: ColumnElement[Any]) -> ColumnElement[bool]:
    lost: ColumnElement[Any] = literal_column(f"'{ReauthReason.ROTATION_PROBABLY_LOST}'")
    return or_(_rivalled(attempt), tokens.c.reauth_reason == lost)


def _replaced(given: Given) -> ColumnElement[bool]:
    """The refresh token has changed.

    Digests of the new one are given under every key of the ring, or a token that stayed while the ring's
    first key changed would be taken for spent.
    """
    same = tokens.c.refresh_digest == any_(given("same_digests"))
    return and_(
        tokens.c.refresh_digest.is_not(None),
        not_(given("keep_refresh")),
        not_(func.coalesce(same, literal_column("false"))),
    )


#: The current refresh token's digest joins the spent ones, newest first; the oldest fall off.
SPENT_WITH_CURRENT: Final[ColumnElement[Any]] = literal_column(
    f"(array_prepend(tokens.refresh_digest, tokens.spent_digests))[1:{SPENT_KEPT}]", ARRAY(LargeBinary)
)


def _refresh_dies_at(given: Given) -> ColumnElement[Any]:
    """When the refresh token dies by itself; of one that stays it is known, unless the answer tells."""
    told = given("new_refresh_expires_at")
    return case((_replaced(given), told), else_=func.coalesce(told, tokens.c.refresh_expires_at))


def _not_moved(given: Given, refresh_dies_at: ColumnElement[Any]) -> ColumnElement[bool]:
    """The refresh has not put the refresh token's end off by half of the time since the one before it.

    So the grant dies then, however often it is refreshed. Whatever has moved, or was not known before, is not
    in `dies_at`, and so not in its index: ordinary landings have none to write.
    """
    put_off = refresh_dies_at - tokens.c.refresh_expires_at
    return put_off + put_off <= given("new_issued_at") - tokens.c.issued_at


_LIVING: Final = tokens.c.status.in_((literal_column("'active'"), literal_column("'in_doubt'")))


def _values(given: Given) -> dict[str, object]:
    keep, attempt = given("keep_refresh"), given("by_attempt")
    kept = and_(keep, tokens.c.refresh_token.is_not(None))
    refresh_dies_at = _refresh_dies_at(given)
    held = _held_by_another(attempt)
    return {
        "status": literal_column("'active'"),
        "version": given("presented_version") + literal_column("1", BigInteger),
        # With a kept refresh token the row still needs the key that sealed it.
        "key_id": case((kept, tokens.c.key_id), else_=given("sealed_by")),
        "access_token": given("new_access"),
        "refresh_token": case((keep, tokens.c.refresh_token), else_=given("new_refresh")),
        "refresh_digest": case((keep, tokens.c.refresh_digest), else_=given("new_digest")),
        "spent_digests": case((_replaced(given), SPENT_WITH_CURRENT), else_=tokens.c.spent_digests),
        "issued_at": given("new_issued_at"),
        "expires_at": given("new_expires_at"),
        "refresh_expires_at": refresh_dies_at,
        "dies_at": case((_not_moved(given, refresh_dies_at), refresh_dies_at), else_=null()),
        "refresh_due_at": given("new_refresh_due_at"),
        # Checks keep their own pace: hourly refreshes would otherwise put a daily check off for ever.
        "check_due_at": func.coalesce(tokens.c.check_due_at, given("new_check_due_at")),
        "refresh_enqueued_until": null(),
        "not_before": _rival_ended(attempt),
        "attempt_id": null(),
        "lease_owner": case((held, tokens.c.lease_owner), else_=null()),
        "lease_until": case((held, tokens.c.lease_until), else_=null()),
        "presented_at": null(),
        "first_presented_at": null(),
        "committed_attempt_id": attempt,
        "failures": literal_column("0"),
        # A refused access token causes one refresh; whether the new one is refused, only a check can tell.
        "check_failures": case((_LIVING, tokens.c.check_failures), else_=literal_column("0")),
        "last_error_code": case(
            (_presented_twice(attempt), literal_column(f"'{PRESENTED_TWICE}'", Text)), else_=null()
        ),
        "last_refreshed_at": func.clock_timestamp(),
        "reauth_reason": null(),
        "refused_at": null(),
        "alerted": literal_column("false"),
    }


def _lands(given: Given, *, alerted: bool) -> ColumnElement[bool]:
    version = given("presented_version")
    fence = and_(
        tokens.c.connection_id == given("wanted_id"),
        tokens.c.grant_id == given("of_grant"),
        tokens.c.status != literal_column("'disconnected'"),
    )
    if alerted:
        return and_(fence, tokens.c.version <= version)
    return and_(fence, tokens.c.version == version, not_(tokens.c.alerted))


def _landing(*, alerted: bool, scope: bool) -> Select[int]:
    """Return the statement that lands and records it; it returns the new version, or no row.

    Args:
        alerted: Rows with an open alert land as well, and rows of an older version than was presented; the
            caller has locked the row and judged it, and resolves the alert in the same transaction.
        scope: The connection's scope is written too.
    """
    changed = (
        update(tokens)
        .where(_lands(_alone, alerted=alerted))
        .values(_values(_alone))
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


def _group_landing() -> Select[Any]:
    """Return the statement that lands several answers, as `LAND[False, False]` lands one.

    It returns attempt and new version of those that have landed. A row that somebody else is writing at this
    moment is passed over, so that no answer waits for another one's row, and groups never for one another.
    Where a row is named twice one of the two lands.
    """
    # Arrays of arrays cannot be taken apart row by row, so each row's digests come as the text of an array;
    # and a document as its own text, which costs least to send.
    as_text = {name: Text() for name in ("same_digests", "note_detail")}
    given = unnested("given", **(ANSWER | NOTED | as_text))

    def of_answers(name: str) -> ColumnElement[Any]:
        return cast(given.c[name], (ANSWER | NOTED)[name]) if name in as_text else given.c[name]

    landable = (
        select(tokens.c.connection_id)
        .where(_lands(of_answers, alerted=False))
        .with_for_update(key_share=True, skip_locked=True, of=tokens)
        .correlate(given)
        .lateral("landable")
    )
    answers = (
        select(*(of_answers(name).label(name) for name in ANSWER | NOTED))
        .join_from(given, landable, true())
        .cte("answers")
    )
    changed = (
        update(tokens)
        .where(tokens.c.connection_id == answers.c.wanted_id)
        .values(_values(lambda name: answers.c[name]))
        .returning(
            tokens.c.connection_id,
            tokens.c.provider_id,
            tokens.c.version,
            answers.c.by_attempt,
            *(answers.c[name] for name in NOTED),
        )
        .cte("changed")
    )
    noted = noting(changed, lambda name: changed.c[name])
    return select(changed.c.by_attempt, changed.c.version).add_cte(noted)


LAND_GROUP: Final = Direct(_group_landing())
