"""Pushed messages: each is taken once, and what it changes is changed in the transaction that takes it."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection, Engine, Interval, Row, bindparam, text

from domain.errors import SealBroken
from domain.events import REASONS, Effect, Held, Statement, credential_hash
from domain.token import ConnectionRef, ReauthReason, Status
from storage.activity import Note, record
from storage.alerts import AlertSpec, open_alert, resolve_connections
from storage.engine import autocommit, single, transaction
from storage.sealing import Sealer
from storage.tokens.rows import token_ref


@dataclass(frozen=True, slots=True)
class Arrived:
    """A verified message, and whom it may be about.

    Attributes:
        source: Who sent it; ids are unique there.
        event_id: Of the message.
        provider_id: Where it came in.
        family: The providers whose connections it may be about: those of the same account and client.
    """

    source: str
    event_id: str
    provider_id: str
    family: tuple[str, ...]
    statements: tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a message.

    Attributes:
        repeated: It had been taken before; nothing was done now.
        effects: The connections that it changed, and how.
    """

    repeated: bool
    effects: tuple[tuple[UUID, Effect], ...] = ()


Judge = Callable[[Statement, Held, datetime], Effect]
Tell = Callable[[ConnectionRef, ReauthReason, Statement], AlertSpec]

# A second receiver of the same message waits here until the first has committed, and then finds it.
_TAKE: Final = text("""
    INSERT INTO received_events (source, event_id, provider_id, kind, meaning, account_id, happened_at)
    VALUES (:source, :event_id, :provider_id, :kind, :meaning, :account_id, :happened_at)
        ON CONFLICT DO NOTHING
    RETURNING received_at
""")
_CONCERNED: Final = """
    SELECT c.id, c.user_id, c.provider_id, c.account_id, c.connected_at, t.status, t.reauth_reason, t.version,
           t.refresh_token, coalesce(t.lease_until > clock_timestamp(), false) AS presenting
      FROM connections c JOIN tokens t ON t.connection_id = c.id {join}
     WHERE c.provider_id = ANY(CAST(:family AS text[])) AND {which}
     -- Always in the same order: two messages about one account must not wait for each other in a circle.
     ORDER BY c.id
       FOR NO KEY UPDATE OF t
"""
_OF_ACCOUNT: Final = text(
    _CONCERNED.format(join="", which="c.account_id <> '' AND c.account_id = :account_id")
)
_OF_CREDENTIAL: Final = text(
    _CONCERNED.format(
        join="JOIN event_digests d ON d.connection_id = c.id",
        which="d.digest = ANY(CAST(:digests AS bytea[]))",
    )
)
_ENABLED_SINCE: Final = text("""
    SELECT EXISTS (SELECT FROM received_events
                    WHERE source = :source AND account_id = :account_id AND meaning = 'enabled'
                      AND happened_at > :happened_at)
""")
_NEEDS_REAUTH: Final = text("""
    UPDATE tokens
       SET status = 'needs_reauth', reauth_reason = :reason, alerted = true,
           last_error_code = :code, last_error_at = clock_timestamp(),
           refresh_due_at = NULL, check_due_at = NULL, refresh_enqueued_until = NULL,
           check_enqueued_until = NULL, not_before = NULL, lease_owner = NULL, lease_until = NULL,
           attempt_id = NULL, presented_at = NULL, first_presented_at = NULL
     WHERE connection_id = :id
""")
_TRY_AGAIN: Final = text("""
    UPDATE tokens
       SET status = 'active', reauth_reason = NULL, alerted = false, not_before = NULL, check_failures = 0,
           refresh_due_at = CASE WHEN refreshable THEN clock_timestamp() END,
           check_due_at = clock_timestamp(), refresh_enqueued_until = NULL, check_enqueued_until = NULL
     WHERE connection_id = :id
""")
# An unresolved presentation keeps its own time; backoff and Retry-After hold; where nothing is ever checked
# nothing is now.
_LOOK: Final = text("""
    UPDATE tokens
       SET refresh_due_at = CASE
               WHEN refreshable AND status = 'active' AND presented_at IS NULL
               THEN least(refresh_due_at, greatest(not_before, clock_timestamp())) ELSE refresh_due_at END,
           refresh_enqueued_until = CASE
               WHEN presented_at IS NULL THEN NULL ELSE refresh_enqueued_until END,
           check_due_at = CASE WHEN check_due_at IS NOT NULL THEN clock_timestamp() END,
           check_enqueued_until = NULL
     WHERE connection_id = :id
""")
_CHANGES: Final = {Effect.NEEDS_REAUTH: _NEEDS_REAUTH, Effect.TRY_AGAIN: _TRY_AGAIN, Effect.LOOK: _LOOK}
_OUTCOME: Final = text("""
    UPDATE received_events SET outcome = :outcome, changed = :changed
     WHERE source = :source AND event_id = :event_id
""")
_FORGET: Final = text("""
    DELETE FROM received_events WHERE (source, event_id) IN (
        SELECT source, event_id FROM received_events
         WHERE received_at < clock_timestamp() - CAST(:kept AS interval) LIMIT 10000)
""").bindparams(bindparam("kept", type_=Interval))


class EventStore:
    """Takes messages; each call is one transaction. Raises `ServiceUnavailable`: send it again then."""

    def __init__(self, engine: Engine, sealer: Sealer) -> None:
        self._engine = engine
        self._auto = autocommit(engine)
        self._sealer = sealer

    def take(self, message: Arrived, judge: Judge, tell: Tell) -> Taken:
        """Take a message that has not been taken before, and change what it is about.

        Args:
            judge: Decides what a statement means for a connection; given when it was received.
            tell: Makes the alert of a connection that needs a person from now on.
        """
        first = message.statements[0]
        with transaction(self._engine) as connection:
            received_at = connection.execute(
                _TAKE,
                {
                    "source": message.source,
                    "event_id": message.event_id,
                    "provider_id": message.provider_id,
                    "kind": ",".join(statement.kind for statement in message.statements),
                    "meaning": first.meaning.value,
                    "account_id": first.account_id,
                    "happened_at": first.at,
                },
            ).scalar_one_or_none()
            if received_at is None:
                return Taken(repeated=True)
            effects: list[tuple[UUID, Effect]] = []
            for statement in message.statements:
                enabled = _enabled_since(connection, message, statement)
                for row in self._concerned(connection, message, statement):
                    held = Held(
                        Status(row.status), row.reauth_reason, row.connected_at, row.presenting, enabled
                    )
                    effect = judge(statement, held, received_at)
                    if effect is not Effect.NOTHING:
                        _change(connection, message, statement, row, effect, tell)
                        effects.append((row.id, effect))
            _conclude(connection, message, effects)
            return Taken(repeated=False, effects=tuple(effects))

    def forget(self, *, kept: timedelta) -> int:
        """Forget messages that are older than this, the oldest ten thousand; returns how many they were."""
        with single(self._auto) as connection:
            return connection.execute(_FORGET, {"kept": kept}).rowcount

    def _concerned(
        self, connection: Connection, message: Arrived, statement: Statement
    ) -> Sequence[Row[Any]]:
        """Return the connections that a statement may be about, and lock them."""
        if statement.credential is not None:
            digests = self._sealer.event_digests(statement.credential)
            found = connection.execute(_OF_CREDENTIAL, {"family": list(message.family), "digests": digests})
            return [row for row in found.all() if self._holds(row, statement.credential)]
        if statement.account_id is None:
            return ()
        of_account = {"family": list(message.family), "account_id": statement.account_id}
        return connection.execute(_OF_ACCOUNT, of_account).all()

    def _holds(self, row: Row[Any], credential: str) -> bool:
        """Say whether the row's refresh token is the very one; what was found may have been replaced."""
        if row.refresh_token is None:
            return False
        try:
            refresh = self._sealer.open(row.refresh_token, token_ref("refresh_token", row.id))
        except SealBroken:
            return False
        held = credential_hash(refresh.get_secret_value()).encode("utf-8")
        return hmac.compare_digest(held, credential.encode("utf-8", "surrogatepass"))


def _enabled_since(connection: Connection, message: Arrived, statement: Statement) -> bool:
    if statement.account_id is None or statement.at is None:
        return False
    parameters = {
        "source": message.source,
        "account_id": statement.account_id,
        "happened_at": statement.at,
    }
    return bool(connection.execute(_ENABLED_SINCE, parameters).scalar_one())


def _change(
    connection: Connection,
    message: Arrived,
    statement: Statement,
    row: Row[Any],
    effect: Effect,
    tell: Tell,
) -> None:
    parameters: dict[str, object] = {"id": row.id}
    kind = "event_received"
    alert: AlertSpec | None = None
    if effect is Effect.NEEDS_REAUTH:
        reason = REASONS[statement.meaning]
        parameters |= {"reason": reason.value, "code": statement.kind}
        kind = "needs_reauth"
        alert = tell(ConnectionRef(row.id, row.user_id, row.provider_id, row.account_id), reason, statement)
    connection.execute(_CHANGES[effect], parameters)
    if effect is not Effect.LOOK:
        # What is told from here on takes the place of what was told before.
        resolve_connections(connection, [row.id])
    if alert is not None:
        open_alert(connection, alert)
    detail = {"event": message.event_id, "effect": str(effect)}
    record(
        connection,
        Note(kind, statement.kind, detail),
        connection_id=row.id,
        provider_id=row.provider_id,
        version=row.version,
    )


def _conclude(connection: Connection, message: Arrived, effects: Sequence[tuple[UUID, Effect]]) -> None:
    if effects:
        connection.execute(
            _OUTCOME,
            {
                "outcome": ",".join(sorted({str(effect) for _, effect in effects})),
                "changed": len(effects),
                "source": message.source,
                "event_id": message.event_id,
            },
        )
