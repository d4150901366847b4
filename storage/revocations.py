"""The outbox of revocations: tokens of ended grants, sealed, until the provider has taken them back.

A row is taken under a short lease (`next_at` moves on with the taking), so that any number of processes can
work on the outbox side by side, and a killed one delays its row by that lease alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Literal
from uuid import UUID, uuid5

from pydantic import SecretStr
from sqlalchemy import (
    Connection,
    Engine,
    Interval,
    Row,
    bindparam,
    delete,
    exists,
    func,
    not_,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert

from domain.token import TokenKind
from storage.activity import Note, record
from storage.alerts import AlertSpec, open_alert
from storage.elections import agreed_sealer
from storage.engine import autocommit, single, transaction
from storage.schema import connections, deployment, pending_revocations
from storage.sealing import Sealer
from storage.siblings import Holder, Kin, living_siblings
from storage.tokens.rows import revocation_ref

Why = Literal["disconnected", "late_answer"]


@dataclass(frozen=True, slots=True)
class NewRevocation:
    """A token to be revoked. The holder's names are kept, because the connection may be gone by then."""

    connection_id: UUID
    grant_id: UUID
    provider_id: str
    holder: Holder
    tenant: str | None
    why: Why
    kind: TokenKind
    token: SecretStr


@dataclass(frozen=True, slots=True)
class PendingRevocation:
    """A token that this process alone may revoke now.

    Attributes:
        attempts: How often it was taken, this time included.
        age: How long it has been waiting.
        now: Postgres' time when it was taken.
        metadata: Of its connection, as it is now; empty where that is gone.
        sealed: Opened by `RevocationStore.open`.
    """

    id: UUID
    connection_id: UUID
    provider_id: str
    holder: Holder
    kind: TokenKind
    attempts: int
    age: timedelta
    now: datetime
    sealed: bytes = field(repr=False)
    metadata: Mapping[str, object] = field(default_factory=dict)


_TABLE: Final = pending_revocations
_NOW: Final = func.clock_timestamp()
_GUARDED: Final = exists().where(deployment.c.guarded_since.is_not(None))
_METADATA: Final = (
    select(connections.c.metadata).where(connections.c.id == _TABLE.c.connection_id).scalar_subquery()
)
_FENCE: Final = (_TABLE.c.id == bindparam("wanted"), _TABLE.c.attempts == bindparam("taken"))


def enqueue(
    connection: Connection,
    sealer: Sealer,
    revocations: Sequence[NewRevocation],
    *,
    attempt_id: UUID,
    head_start: timedelta,
) -> tuple[UUID, ...]:
    """Put tokens into the outbox within the caller's transaction; returns their ids.

    Each is sealed anew for its place there. Repeated with the same attempt it changes nothing.

    Args:
        attempt_id: What the ids are made from: whoever ended the grant, or brought the late answer.
        head_start: How long only who knows the ids may take them.
    """
    ids: list[UUID] = []
    if not revocations:
        return ()
    # Whoever disconnects on the command line is not registered: an election waits for this transaction.
    agreed = agreed_sealer(connection, sealer)
    for number, new in enumerate(revocations):
        row_id = uuid5(attempt_id, f"{number}:{new.kind}")
        values = {
            "id": row_id,
            "connection_id": new.connection_id,
            "grant_id": new.grant_id,
            "provider_id": new.provider_id,
            "user_id": new.holder.user_id,
            "account_id": new.holder.account_id,
            "tenant": new.tenant,
            "why": new.why,
            "key_id": agreed.key_id,
            "token": agreed.seal(new.token, revocation_ref("token", new.connection_id, row_id)),
            "token_kind": new.kind.value,
            "next_at": _NOW + bindparam("head_start", head_start, type_=Interval),
        }
        connection.execute(upsert(_TABLE).values(values).on_conflict_do_nothing())
        ids.append(row_id)
    return tuple(ids)


class RevocationStore:
    """Takes and finishes revocations; each call is one short transaction. Raises `ServiceUnavailable`."""

    def __init__(self, engine: Engine, sealer: Sealer) -> None:
        self._engine = engine
        self._auto = autocommit(engine)
        self._sealer = sealer

    def take(
        self, *, lease: timedelta, only: UUID | None = None, without: Sequence[str] = ()
    ) -> PendingRevocation | None:
        """Take the revocation that has been due for longest; None if none is due.

        None is due in a database that looks like a restored backup: what waits there may have been made
        since, and the grant have been given anew.

        Args:
            lease: How long nobody else takes it.
            only: Take this one, due or not, unless somebody has taken it before.
            without: Providers that are left alone for now.
        """
        wanted = select(_TABLE.c.id).order_by(_TABLE.c.next_at).limit(1)
        if only is None:
            wanted = wanted.where(_TABLE.c.next_at <= _NOW, not_(_GUARDED))
        else:
            wanted = wanted.where(_TABLE.c.id == only, or_(_TABLE.c.attempts == 0, _TABLE.c.next_at <= _NOW))
        if without:
            wanted = wanted.where(not_(_TABLE.c.provider_id.in_(without)))
        taking = (
            update(_TABLE)
            .where(_TABLE.c.id == wanted.with_for_update(skip_locked=True).scalar_subquery())
            .values(attempts=_TABLE.c.attempts + 1, next_at=_NOW + bindparam("lease", lease, type_=Interval))
            .returning(_TABLE, _NOW.label("now"), _METADATA.label("metadata"))
        )
        with single(self._auto) as connection:
            row = connection.execute(taking).one_or_none()
        return None if row is None else _pending(row)

    def open(self, pending: PendingRevocation) -> SecretStr:
        """Open the token.

        Raises:
            KeyMissing: The key that sealed it is not in the ring.
            SealBroken: It is damaged or belongs elsewhere.
        """
        return self._sealer.open(pending.sealed, revocation_ref("token", pending.connection_id, pending.id))

    def siblings(self, pending: PendingRevocation, kin: Kin) -> tuple[UUID, ...]:
        """Return the living connections that the revocation would end, its own connection included."""
        with single(self._auto) as connection:
            return living_siblings(connection, kin, pending.holder)

    def finish(self, pending: PendingRevocation, note: Note, alert: AlertSpec | None = None) -> bool:
        """Erase the token and write down why, in one transaction; False if it was erased before.

        Args:
            alert: Opened with it; None tells nobody.
        """
        erasing = delete(_TABLE).where(_TABLE.c.id == pending.id)
        with transaction(self._engine) as connection:
            if connection.execute(erasing).rowcount == 0:
                return False
            record(connection, note, connection_id=pending.connection_id, provider_id=pending.provider_id)
            if alert is not None:
                open_alert(connection, alert)
            return True

    def again(self, pending: PendingRevocation, wait: timedelta, *, counted: bool = True) -> None:
        """Leave it in the outbox, to be taken again after `wait`; nothing if somebody else has taken it.

        Args:
            counted: It was tried; otherwise it was only looked at, and its attempts stay as they were.
        """
        leaving = (
            update(_TABLE)
            .where(*_FENCE)
            .values(
                next_at=_NOW + bindparam("wait", type_=Interval),
                attempts=_TABLE.c.attempts - (0 if counted else 1),
            )
        )
        with single(self._auto) as connection:
            connection.execute(leaving, {"wanted": pending.id, "taken": pending.attempts, "wait": wait})

    def waiting(self) -> frozenset[str]:
        """Return the providers for which something waits in the outbox."""
        with single(self._auto) as connection:
            return frozenset(connection.execute(select(_TABLE.c.provider_id).distinct()).scalars())


def _pending(row: Row[Any]) -> PendingRevocation:
    return PendingRevocation(
        id=row.id,
        connection_id=row.connection_id,
        provider_id=row.provider_id,
        holder=Holder(row.user_id, row.account_id),
        kind=TokenKind(row.token_kind),
        attempts=row.attempts,
        age=row.now - row.created_at,
        now=row.now,
        sealed=row.token,
        metadata=row.metadata or {},
    )
