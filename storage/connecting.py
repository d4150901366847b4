"""Storing what a person's consent brought: a new connection, or a new grant in place of an old one.

One transaction. Whoever was presenting the old grant's token lands nowhere any more: the grant is another
one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final
from uuid import UUID, uuid4

from sqlalchemy import Connection, Engine, Row, bindparam, delete, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.exc import IntegrityError
from sqlalchemy.types import LargeBinary, Text

from domain.token import Status
from storage.activity import Note, record
from storage.alerts import AlertSpec, open_alert, resolve_connections
from storage.counting import keep_counted
from storage.elections import agreed_sealer
from storage.engine import transaction
from storage.importing import NewConnection, storable, token_row
from storage.importing_statements import CREATE, INSERT_TOKENS, REPLACE_TOKENS, UPDATE_DETAILS
from storage.schema import spare_tokens
from storage.sealing import Sealer


@dataclass(frozen=True, slots=True)
class Consent:
    """What a consent brought.

    Attributes:
        new: The connection as it is to be. Its metadata is laid over what an existing one has.
        names: What else the account is called: a connection that is named so keeps that name, because callers
            know it by it.
        nameless: The user's connection without an account id is meant, whatever state it is in. Otherwise it
            is meant only where it is dead, and none has the account's id.
        needs_refresh_token: Without one it is no grant that could be kept: a living connection keeps what it
            has.
        detail: What the line of activity tells beside.
        alerts: Told with it, each made for the connection's id.
    """

    new: NewConnection
    names: tuple[str, ...]
    nameless: bool
    needs_refresh_token: bool
    detail: Mapping[str, object]
    alerts: tuple[Callable[[UUID], AlertSpec], ...] = ()


@dataclass(frozen=True, slots=True)
class Connected:
    """What became of it.

    Attributes:
        before: The status that the connection had; None: there was none.
        kept: It goes on with the grant that it had.
    """

    connection_id: UUID
    before: Status | None
    kept: bool = False


#: Tries until nobody has created or named the same connection in between.
_TRIES: Final = 5
_DEAD: Final = frozenset({Status.NEEDS_REAUTH, Status.DISCONNECTED})
_LIVING: Final = frozenset(Status) - _DEAD
_STANDING: Final = text("""
    SELECT c.id, c.account_id, c.metadata, t.status, t.grant_id, t.refresh_digest, t.spent_digests
      FROM connections c
      JOIN tokens t ON t.connection_id = c.id
     WHERE c.user_id = :user AND c.provider_id = :provider
       AND c.account_id = ANY(CAST(:accounts AS text[]))
     ORDER BY c.id
       FOR NO KEY UPDATE OF t
""").bindparams(bindparam("accounts", type_=ARRAY(Text)))
_NAME: Final = text("UPDATE connections SET account_id = :account WHERE id = :wanted")
#: The provider has just issued it: whatever was known of it before, it is alive now.
_UNSPEND: Final = text("""
    UPDATE tokens
       SET spent_digests = ARRAY(SELECT digest FROM unnest(spent_digests) WITH ORDINALITY AS s (digest, place)
                                  WHERE digest <> ALL(:living) ORDER BY place)
     WHERE connection_id = :wanted
""").bindparams(bindparam("living", type_=ARRAY(LargeBinary)))
_VERSION: Final = text("SELECT version FROM tokens WHERE connection_id = :wanted")


class Unstorable(ValueError):
    """Account id, scope or metadata hold what Postgres cannot store; nothing was changed."""


class ConnectStore:
    """Stores consents. Raises `ServiceUnavailable`; then whether it was stored is unknown, and it may be
    repeated.
    """

    def __init__(self, engine: Engine, sealer: Sealer) -> None:
        self._engine = engine
        self._sealer = sealer

    def store(self, consent: Consent) -> Connected:
        """Create the connection, or let the new grant take the old one's place and resolve its alerts.

        Raises:
            Unstorable: It holds a text that Postgres cannot store.
        """
        if not storable(consent.new):
            raise Unstorable("account_id, scope or metadata hold what Postgres cannot store")
        for _ in range(_TRIES):
            try:
                with transaction(self._engine) as connection:
                    done = self._store(connection, consent)
            except IntegrityError:
                # Somebody created the connection of this account while another one was given its name.
                done = None
            if done is not None:
                keep_counted(self._engine)
                return done
        raise AssertionError("unreachable: what exists is found by the next try")

    def _store(self, connection: Connection, consent: Consent) -> Connected | None:
        new = consent.new
        sealer = agreed_sealer(connection, self._sealer)
        found = connection.execute(
            _STANDING,
            {
                "user": new.user_id,
                "provider": new.provider_id,
                "accounts": [new.account_id, *consent.names, ""],
            },
        )
        row = _meant({row.account_id: row for row in found}, consent)
        if row is None:
            return self._create(connection, consent, sealer)
        renewable = consent.new.credentials.refresh_token is not None or not consent.needs_refresh_token
        if not renewable and row.refresh_digest is not None and Status(row.status) in _LIVING:
            kept = self._told(connection, consent, "connection_kept", row.id, Status(row.status))
            return replace(kept, kept=True)
        return self._replace(connection, consent, row, sealer)

    def _create(self, connection: Connection, consent: Consent, sealer: Sealer) -> Connected | None:
        """Create it; None: somebody else has, just now."""
        new, connection_id = consent.new, uuid4()
        row = {
            "id": str(connection_id),
            **new.key._asdict(),
            "scope": list(new.scope),
            "metadata": dict(new.metadata),
        }
        if not connection.execute(CREATE, {"rows": [row]}).scalars().all():
            return None
        connection.execute(INSERT_TOKENS, {"rows": [token_row(connection_id, new, sealer)]})
        return self._told(connection, consent, "connected", connection_id, None)

    def _replace(self, connection: Connection, consent: Consent, row: Row[Any], sealer: Sealer) -> Connected:
        new, connection_id = consent.new, row.id
        if row.account_id == "" and new.account_id:
            connection.execute(_NAME, {"account": new.account_id, "wanted": connection_id})
        details = {
            "id": str(connection_id),
            "scope": list(new.scope),
            "metadata": {**row.metadata, **new.metadata},
            "connected": True,
        }
        connection.execute(UPDATE_DETAILS, {"rows": [details]})
        refresh = new.credentials.refresh_token
        digests = [] if refresh is None else self._sealer.digests(refresh, connection_id)
        # The very token that is stored, as providers do that have one per user and app: the grant goes on,
        # and an answer to it that is still on its way is kept as a spare of it.
        same = row.refresh_digest is not None and row.refresh_digest in digests
        tokens = token_row(connection_id, new, sealer, grant_id=row.grant_id if same else None)
        rotating = [connection_id] if new.rotates and not same else []
        connection.execute(REPLACE_TOKENS, {"rows": [tokens], "rotating": rotating})
        if not set(digests).isdisjoint(row.spent_digests):
            connection.execute(_UNSPEND, {"living": digests, "wanted": connection_id})
        if not same:
            connection.execute(delete(spare_tokens).where(spare_tokens.c.connection_id == connection_id))
        resolve_connections(connection, [connection_id], consented=True)
        return self._told(connection, consent, "reconnected", connection_id, Status(row.status))

    def _told(
        self, connection: Connection, consent: Consent, kind: str, connection_id: UUID, before: Status | None
    ) -> Connected:
        version = connection.execute(_VERSION, {"wanted": connection_id}).scalar_one()
        detail = dict(consent.detail) if before is None else {**consent.detail, "before": str(before)}
        record(
            connection,
            Note(kind, detail=detail),
            connection_id=connection_id,
            provider_id=consent.new.provider_id,
            version=version,
        )
        for alert in () if kind == "connection_kept" else consent.alerts:
            open_alert(connection, alert(connection_id))
        return Connected(connection_id, before)


def _meant(existing: Mapping[str, Row[Any]], consent: Consent) -> Row[Any] | None:
    """Return the connection whose grant this is to be; None: none yet."""
    nameless = existing.get("")
    for name in (consent.new.account_id, *consent.names):
        if name in existing:
            return existing[name]
    if nameless is not None and (consent.nameless or Status(nameless.status) in _DEAD):
        return nameless
    return None
