"""Ending a connection: its tokens are erased here, and put into the outbox where they are to be revoked.

One transaction: whoever is killed after it leaves an ended connection and a revocation that another process
makes; whoever is killed before it leaves everything as it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal
from uuid import UUID, uuid4

from pydantic import SecretStr
from sqlalchemy import (
    Boolean,
    Connection,
    Engine,
    Row,
    and_,
    bindparam,
    case,
    delete,
    func,
    literal_column,
    null,
    select,
    update,
)

from domain.errors import SealBroken
from domain.token import Status, TokenKind
from storage.activity import Note, record
from storage.alerts import resolve_connections
from storage.engine import transaction
from storage.revocations import NewRevocation, enqueue
from storage.schema import connections, spare_tokens, tokens
from storage.sealing import Sealer
from storage.siblings import Holder, Kin, living_siblings, one_at_a_time
from storage.tokens.landing_statements import SPENT_WITH_CURRENT
from storage.tokens.rows import spare_ref, token_ref


@dataclass(frozen=True, slots=True)
class Ending:
    """How a connection is to be ended.

    Attributes:
        revocable: The provider may be asked to revoke.
        kin: The providers at which the same client revokes at the same endpoint; None: not known here, or of
            no interest where nothing is revoked.
        rotates: A refresh token that was presented may be spent: it is remembered as such.
        head_start: How long the tokens are the caller's alone to revoke.
        revoked: Which token the provider wants for it.
    """

    revocable: bool
    kin: Kin | None
    rotates: bool
    head_start: timedelta
    revoked: TokenKind = TokenKind.REFRESH_TOKEN


@dataclass(frozen=True, slots=True)
class Held:
    """A presentation is under way; nothing was changed."""

    until: datetime


@dataclass(frozen=True, slots=True)
class Ended:
    """The connection is disconnected, and nothing of its grant is left in `tokens` and `spare_tokens`.

    Attributes:
        pending: What was put into the outbox.
        siblings: Living connections that share client and account; while there are any, nothing is revoked.
        unreadable: A token could not be opened, and was erased without being revoked.
        unresolved: A presentation had no known answer; should one arrive, its tokens are revoked then.
    """

    pending: tuple[UUID, ...]
    siblings: tuple[UUID, ...]
    unreadable: bool
    unresolved: bool


#: There is no such connection; it is disconnected; the user has connected anew.
NotEnded = Literal["missing", "already", "reconnected"]
_LOCKED: Final = (
    select(
        tokens,
        connections.c.user_id,
        connections.c.account_id,
        func.clock_timestamp().label("now"),
    )
    .join(connections, connections.c.id == tokens.c.connection_id)
    .where(tokens.c.connection_id == bindparam("wanted_id"))
    .with_for_update(of=tokens, key_share=True)
)
_SPARES: Final = select(spare_tokens).where(
    spare_tokens.c.connection_id == bindparam("wanted_id"), spare_tokens.c.refresh_token.is_not(None)
)
_NOTHING: Final = (
    *("access_token", "refresh_token", "refresh_digest", "issued_at", "expires_at", "refresh_expires_at"),
    *("refresh_due_at", "check_due_at", "refresh_enqueued_until", "check_enqueued_until", "not_before"),
    *("lease_owner", "lease_until", "attempt_id", "presented_at", "first_presented_at", "refused_at"),
    *("dies_at", "reauth_reason"),
)
_MARK: Final = (
    update(tokens)
    .where(tokens.c.connection_id == bindparam("wanted_id"))
    .values({name: null() for name in _NOTHING})
    .values(
        status="disconnected",
        # Fences off whatever is still under way: a check's verdict above all.
        version=tokens.c.version + 1,
        spent_digests=case(
            (
                and_(
                    bindparam("rotates", type_=Boolean),
                    tokens.c.presented_at.is_not(None),
                    tokens.c.refresh_digest.is_not(None),
                ),
                SPENT_WITH_CURRENT,
            ),
            else_=tokens.c.spent_digests,
        ),
        failures=0,
        check_failures=0,
        alerted=literal_column("false"),
    )
    .returning(tokens.c.version)
)


class DisconnectStore:
    """Ends connections; each call is one transaction. Raises `ServiceUnavailable`."""

    def __init__(self, engine: Engine, sealer: Sealer) -> None:
        self._engine = engine
        self._sealer = sealer

    def end(
        self, connection_id: UUID, how: Ending, *, grant_id: UUID, patient: bool
    ) -> Ended | Held | NotEnded:
        """Erase the connection's tokens and mark it as disconnected, in one transaction.

        Args:
            grant_id: What is to be ended; a grant that has taken its place is left alone.
            patient: Leave a row alone whose refresh token is being presented, and say until when.
        """
        with transaction(self._engine) as connection:
            if how.kin is not None:
                one_at_a_time(connection, how.kin)
            row = connection.execute(_LOCKED, {"wanted_id": connection_id}).one_or_none()
            if row is None:
                return "missing"
            if row.status == Status.DISCONNECTED:
                return "already"
            if row.grant_id != grant_id:
                return "reconnected"
            if patient and row.lease_until is not None and row.lease_until > row.now:
                return Held(row.lease_until)
            return self._end(connection, row, how)

    def _end(self, connection: Connection, row: Row[Any], how: Ending) -> Ended:
        connection_id, holder = row.connection_id, Holder(row.user_id, row.account_id)
        siblings: tuple[UUID, ...] = ()
        if how.kin is not None:
            siblings = living_siblings(connection, how.kin, holder, besides=connection_id)
        revoking, unreadable = [], False
        if how.revocable and not siblings:
            for opened in self._opened(connection, row, how.revoked):
                if opened is None:
                    unreadable = True
                else:
                    revoking.append(_revocation(row, *opened))
        pending = enqueue(connection, self._sealer, revoking, attempt_id=uuid4(), head_start=how.head_start)
        marking = {"wanted_id": connection_id, "rotates": how.rotates}
        version: int = connection.execute(_MARK, marking).scalar_one()
        connection.execute(delete(spare_tokens).where(spare_tokens.c.connection_id == connection_id))
        resolve_connections(connection, [connection_id], consented=True)
        ended = Ended(pending, siblings, unreadable, unresolved=row.presented_at is not None)
        detail = {
            "revocations": len(pending),
            "siblings": [str(sibling) for sibling in siblings],
            "unreadable": unreadable,
            "unresolved": ended.unresolved,
        }
        record(
            connection,
            Note("disconnected", detail=detail),
            connection_id=connection_id,
            provider_id=row.provider_id,
            version=version,
        )
        return ended

    def _opened(
        self, connection: Connection, row: Row[Any], revoked: TokenKind
    ) -> Iterator[tuple[TokenKind, SecretStr] | None]:
        """Yield what is to be revoked; None for what cannot be opened.

        The refresh token takes the access tokens with it (RFC 7009 §2.1). Where it may be spent already, the
        access token is asked for too, which at many providers ends the grant as well, and so is every spare.
        Where the provider wants access tokens, they are all that is asked for.
        """
        connection_id = row.connection_id
        access = (TokenKind.ACCESS_TOKEN, row.access_token, token_ref("access_token", connection_id))
        wanted = [access]
        if revoked is TokenKind.REFRESH_TOKEN:
            refresh_ref = token_ref("refresh_token", connection_id)
            wanted = [(TokenKind.REFRESH_TOKEN, row.refresh_token, refresh_ref)]
            if row.refresh_token is None or row.presented_at is not None:
                wanted.append(access)
        for spare in connection.execute(_SPARES, {"wanted_id": connection_id}):
            sealed = spare.refresh_token if revoked is TokenKind.REFRESH_TOKEN else spare.access_token
            wanted.append((revoked, sealed, spare_ref(revoked.value, connection_id, spare.attempt_id)))
        for kind, sealed, place in wanted:
            if sealed is not None:
                try:
                    yield kind, self._sealer.open(sealed, place)
                except SealBroken:
                    yield None


def _revocation(row: Row[Any], kind: TokenKind, token: SecretStr) -> NewRevocation:
    return NewRevocation(
        connection_id=row.connection_id,
        grant_id=row.grant_id,
        provider_id=row.provider_id,
        holder=Holder(row.user_id, row.account_id),
        tenant=row.tenant,
        why="disconnected",
        kind=kind,
        token=token,
    )
