"""Connections that are being made, kept in Postgres until somebody comes back with the other half.

What a provider hands back (state) and what the browser keeps is stored as SHA-256: both are 256 random bits,
so that nobody finds them by trying. The PKCE verifier and the device code are sealed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from pydantic import SecretStr
from sqlalchemy import (
    ColumnElement,
    Engine,
    Integer,
    Interval,
    Row,
    bindparam,
    delete,
    func,
    insert,
    select,
    update,
)

from storage.activity import Note, record
from storage.elections import agreed_sealer
from storage.engine import autocommit, single, transaction
from storage.schema import connect_flows
from storage.sealing import RowRef, Sealer

#: How long an expired flow stays, so that whoever is late is told that he is late.
KEPT: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class NewFlow:
    """What is remembered while a person is away at the provider.

    Attributes:
        account_id: Which account is meant; None: whichever the person chooses.
        scopes: What was asked for.
        variables: What the definition's URLs were filled with.
        redirect_uri: What was sent to the provider, which the code exchange must repeat.
        redirect_to: Where the browser goes in the end; None: our own page.
        secret: The PKCE verifier or the device code; None where the provider knows no PKCE.
        lifetime: How long the person may take.
    """

    id: UUID
    provider_id: str
    user_id: str
    account_id: str | None
    scopes: tuple[str, ...]
    variables: Mapping[str, object]
    lifetime: timedelta
    redirect_uri: str | None = None
    redirect_to: str | None = None
    secret: SecretStr | None = None


@dataclass(frozen=True, slots=True)
class Flow:
    """A flow as it is stored. `repr` shows nothing sealed.

    Attributes:
        now: Postgres' time when it was read.
        browser_hash: SHA-256 of what the browser that began it keeps; None for device flows.
        poll: How long to wait between two questions (RFC 8628 §3.5); None for code flows.
        ended_as: How a device flow ended; None: it has not.
        connection_id: What a device flow made.
        detail: What else is told of a device flow that has ended.
    """

    id: UUID
    provider_id: str
    user_id: str
    account_id: str | None
    scopes: tuple[str, ...]
    variables: Mapping[str, object]
    redirect_uri: str | None
    redirect_to: str | None
    browser_hash: bytes | None = field(repr=False)
    sealed: bytes | None = field(repr=False)
    poll: timedelta | None
    next_poll_at: datetime | None
    expires_at: datetime
    ended_as: str | None
    connection_id: UUID | None
    detail: Mapping[str, object]
    now: datetime

    @property
    def expired(self) -> bool:
        """Whether the person came too late."""
        return self.expires_at <= self.now


_TABLE: Final = connect_flows
_NOW: Final = func.clock_timestamp()
_ENDS: Final = _NOW + bindparam("lifetime", type_=Interval)


def flow_ref(column: str, flow_id: UUID) -> RowRef:
    """Return the place of a sealed column of `connect_flows`; a flow's id stands in for a connection's."""
    return RowRef("connect_flows", column, flow_id)


class FlowStore:
    """Begins, takes and ends flows; each call is one transaction. Raises `ServiceUnavailable`."""

    def __init__(self, engine: Engine, sealer: Sealer) -> None:
        self._engine = engine
        self._auto = autocommit(engine)
        self._sealer = sealer

    def begin_code(self, new: NewFlow, *, state_hash: bytes, browser_hash: bytes) -> datetime:
        """Remember a person who leaves for the provider; returns when it is forgotten."""
        return self._begin(new, {"kind": "code", "state_hash": state_hash, "browser_hash": browser_hash})

    def begin_device(self, new: NewFlow, *, poll: timedelta) -> datetime:
        """Remember a device code; returns when it is forgotten."""
        seconds = round(poll.total_seconds())
        first = _NOW + bindparam("poll", poll, type_=Interval)
        return self._begin(new, {"kind": "device", "poll_seconds": seconds, "next_poll_at": first})

    def _begin(self, new: NewFlow, kind: Mapping[str, object]) -> datetime:
        with transaction(self._engine) as connection:
            # Nobody here is registered: an election waits for this transaction.
            sealer = agreed_sealer(connection, self._sealer)
            secret = None if new.secret is None else sealer.seal(new.secret, flow_ref("secret", new.id))
            beginning = insert(_TABLE).values(
                id=new.id,
                provider_id=new.provider_id,
                user_id=new.user_id,
                account_id=new.account_id,
                scopes=list(new.scopes),
                variables=dict(new.variables),
                redirect_uri=new.redirect_uri,
                redirect_to=new.redirect_to,
                key_id=sealer.key_id,
                secret=secret,
                expires_at=_ENDS,
                **kind,
            )
            returning = beginning.returning(_TABLE.c.expires_at)
            ends: datetime = connection.execute(returning, {"lifetime": new.lifetime}).scalar_one()
        return ends

    def take(self, state_hash: bytes) -> Flow | None:
        """Take a code flow away for good; None for a state that nobody here gave out, or somebody has taken.

        Of any number of callers with the same state one gets it.
        """
        taking = delete(_TABLE).where(_TABLE.c.state_hash == state_hash).returning(_TABLE, _NOW.label("now"))
        return self._one(taking)

    def read_device(self, flow_id: UUID, provider_id: str) -> Flow | None:
        """Return a device flow; None if there is none of this id at this provider (any more)."""
        return self._one(select(_TABLE, _NOW.label("now")).where(*_device(flow_id, provider_id)))

    def claim_poll(self, flow_id: UUID, provider_id: str) -> Flow | None:
        """Take the right to ask the provider once; None: not yet, or never again.

        The interval counts from here, so that of any number of callers one asks, and not too soon.
        """
        interval = func.make_interval(0, 0, 0, 0, 0, 0, _TABLE.c.poll_seconds)
        claiming = (
            update(_TABLE)
            .where(
                *_device(flow_id, provider_id),
                _TABLE.c.ended_as.is_(None),
                _TABLE.c.next_poll_at <= _NOW,
                _TABLE.c.expires_at > _NOW,
            )
            .values(next_poll_at=_NOW + interval)
            .returning(_TABLE, _NOW.label("now"))
        )
        return self._one(claiming)

    def slow_down(self, flow_id: UUID, by: timedelta) -> None:
        """Wait longer between two questions, from now on (RFC 8628 §3.5)."""
        longer = _TABLE.c.poll_seconds + bindparam("more", round(by.total_seconds()), type_=Integer)
        interval = func.make_interval(0, 0, 0, 0, 0, 0, longer)
        slowing = (
            update(_TABLE)
            .where(_TABLE.c.id == flow_id)
            .values(poll_seconds=longer, next_poll_at=_NOW + interval)
        )
        with single(self._auto) as connection:
            connection.execute(slowing)

    def end(
        self,
        flow_id: UUID,
        ended_as: str,
        *,
        connection_id: UUID | None = None,
        detail: Mapping[str, object] | None = None,
    ) -> None:
        """Say how a device flow ended, and erase its code. That it made a connection is never taken back."""
        ending = (
            update(_TABLE)
            .where(_TABLE.c.id == flow_id, _TABLE.c.connection_id.is_(None))
            .values(ended_as=ended_as, connection_id=connection_id, detail=dict(detail or {}), secret=None)
        )
        with single(self._auto) as connection:
            connection.execute(ending)

    def open(self, flow: Flow) -> SecretStr | None:
        """Open the verifier or the device code; None where there is none.

        Raises:
            KeyMissing: The key that sealed it is not in the ring.
            SealBroken: It is damaged or belongs elsewhere.
        """
        return None if flow.sealed is None else self._sealer.open(flow.sealed, flow_ref("secret", flow.id))

    def note(self, provider_id: str, note: Note, *, connection_id: UUID | None = None) -> None:
        """Write a line of activity about an attempt to connect that changed nothing."""
        with transaction(self._engine) as connection:
            record(connection, note, connection_id=connection_id, provider_id=provider_id)

    def clean(self) -> int:
        """Erase the flows that expired a while ago; returns how many there were."""
        ended = _NOW - bindparam("kept", KEPT, type_=Interval)
        with single(self._auto) as connection:
            return connection.execute(delete(_TABLE).where(_TABLE.c.expires_at < ended)).rowcount

    def _one(self, statement: Any) -> Flow | None:  # noqa: ANN401 - any statement that returns a flow's columns
        with single(self._auto) as connection:
            row = connection.execute(statement).one_or_none()
        return None if row is None else _flow(row)


def _device(flow_id: UUID, provider_id: str) -> tuple[ColumnElement[bool], ...]:
    return (_TABLE.c.id == flow_id, _TABLE.c.kind == "device", _TABLE.c.provider_id == provider_id)


def _flow(row: Row[Any]) -> Flow:
    return Flow(
        id=row.id,
        provider_id=row.provider_id,
        user_id=row.user_id,
        account_id=row.account_id,
        scopes=tuple(row.scopes),
        variables=row.variables,
        redirect_uri=row.redirect_uri,
        redirect_to=row.redirect_to,
        browser_hash=row.browser_hash,
        sealed=row.secret,
        poll=None if row.poll_seconds is None else timedelta(seconds=row.poll_seconds),
        next_poll_at=row.next_poll_at,
        expires_at=row.expires_at,
        ended_as=row.ended_as,
        connection_id=row.connection_id,
        detail=row.detail,
        now=row.now,
    )
