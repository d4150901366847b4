"""Answers that found no grant of their own to land on: into the outbox of revocations, or dropped."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection, Engine, Row, bindparam, select

from domain.token import Credentials, Status, TokenKind
from storage.activity import Note, record
from storage.engine import transaction
from storage.revocations import NewRevocation, enqueue
from storage.schema import connections, tokens
from storage.sealing import Sealer
from storage.siblings import Holder, Kin, living_siblings


@dataclass(frozen=True, slots=True)
class LateAnswer:
    """An answer that nobody may store as a token. `grant_id` is the grant that it was given for."""

    connection_id: UUID
    grant_id: UUID
    attempt_id: UUID
    credentials: Credentials


@dataclass(frozen=True, slots=True)
class Leftover:
    """What became of a late answer.

    Attributes:
        queued: Its token is in the outbox.
        siblings: Living connections that share client and account, the one it came for included.
    """

    queued: bool
    siblings: tuple[UUID, ...]


_STANDING: Final = (
    select(
        tokens.c.connection_id,
        tokens.c.provider_id,
        tokens.c.status,
        tokens.c.version,
        tokens.c.tenant,
        connections.c.user_id,
        connections.c.account_id,
    )
    .join(connections, connections.c.id == tokens.c.connection_id)
    .where(tokens.c.connection_id == bindparam("wanted_id"))
)


class LeftoverStore:
    """Takes what arrives too late; each call is one transaction. Raises `ServiceUnavailable`."""

    def __init__(self, engine: Engine, sealer: Sealer) -> None:
        self._engine = engine
        self._sealer = sealer

    def leave(
        self,
        late: LateAnswer,
        *,
        why: str,
        revocable: bool,
        kin: Kin | None,
        revoked: TokenKind = TokenKind.REFRESH_TOKEN,
    ) -> Leftover | None:
        """Put a late answer's token into the outbox, unless a living connection shares its grant.

        The access token where the answer brought no other. May be repeated.

        Args:
            why: What the answer found: ``disconnected`` or ``other_grant``.
            revocable: The provider may be asked to revoke.
            revoked: Which token it wants for that.
            kin: The providers at which the same client revokes at the same endpoint; None: not known here.

        Returns:
            What became of it, None if there is no such connection (any more): then nobody knows whose it is.
        """
        with transaction(self._engine) as connection:
            row = connection.execute(_STANDING, {"wanted_id": late.connection_id}).one_or_none()
            if row is None:
                return None
            siblings = _siblings(connection, row, kin)
            queued = revocable and not siblings
            if queued:
                revocations = [_revocation(row, late, revoked)]
                enqueue(
                    connection,
                    self._sealer,
                    revocations,
                    attempt_id=late.attempt_id,
                    head_start=timedelta(0),
                )
            detail = {
                "found": why,
                "revocations": int(queued),
                "siblings": [str(sibling) for sibling in siblings],
            }
            code = "shared_with_sibling" if siblings else "no_revoke_endpoint"
            record(
                connection,
                Note("answer_dropped", None if queued else code, detail),
                connection_id=late.connection_id,
                provider_id=row.provider_id,
                version=row.version,
                attempt_id=late.attempt_id,
            )
            return Leftover(queued, siblings)


def _siblings(connection: Connection, row: Row[*tuple[Any, ...]], kin: Kin | None) -> tuple[UUID, ...]:
    """Return who lives on the grant. Its own connection does, once it is connected anew."""
    if kin is not None:
        return living_siblings(connection, kin, Holder(row.user_id, row.account_id))
    return () if row.status == Status.DISCONNECTED else (row.connection_id,)


def _revocation(row: Row[*tuple[Any, ...]], late: LateAnswer, revoked: TokenKind) -> NewRevocation:
    kind, token = TokenKind.REFRESH_TOKEN, late.credentials.refresh_token
    if token is None or revoked is TokenKind.ACCESS_TOKEN:
        kind, token = TokenKind.ACCESS_TOKEN, late.credentials.access_token
    return NewRevocation(
        connection_id=late.connection_id,
        grant_id=late.grant_id,
        provider_id=row.provider_id,
        holder=Holder(row.user_id, row.account_id),
        tenant=row.tenant,
        why="late_answer",
        kind=kind,
        token=token,
    )
