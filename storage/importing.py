"""Bringing connections in, set by set: what is new, what is left alone, what is replaced, what is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, NamedTuple
from uuid import UUID, uuid4

from sqlalchemy import Connection, Engine, Row, delete

from domain.schedule import Schedule
from domain.token import Credentials, Status
from storage.alerts import resolve_connections
from storage.counting import keep_counted
from storage.elections import agreed_sealer
from storage.engine import transaction
from storage.importing_statements import (
    CREATE,
    EXISTING,
    INSERT_TOKENS,
    MOVE_TENANTS,
    NOTE,
    REPLACE_TOKENS,
    UPDATE_DETAILS,
    bytes_text,
    instant_text,
)
from storage.schema import spare_tokens
from storage.sealing import Sealer
from storage.tokens.rows import token_ref

ImportOutcome = Literal["created", "kept", "replaced", "refused"]


class Key(NamedTuple):
    """What identifies a connection."""

    user_id: str
    provider_id: str
    account_id: str


@dataclass(frozen=True, slots=True)
class NewConnection:
    """A connection to bring in.

    Attributes:
        schedule: From `schedule.after_import`.
        refreshable: There is something to present: a refresh token, or client credentials.
        refresh_expires_at: When the refresh token dies by itself; None means unknown or never.
        rotates: A refresh token that was presented may be spent by it.
        tenant: Which of the provider's tenants the grant belongs to; None: none.
        connected_at: When the user consented; None: now, as far as anybody knows.
    """

    user_id: str
    provider_id: str
    credentials: Credentials
    schedule: Schedule
    refreshable: bool
    account_id: str = ""
    scope: tuple[str, ...] = ()
    metadata: Mapping[str, object] = field(default_factory=dict)
    refresh_expires_at: datetime | None = None
    rotates: bool = True
    tenant: str | None = None
    connected_at: datetime | None = None

    @property
    def dies_at(self) -> datetime | None:
        """When the grant dies although it is refreshed; None: never, or not known before it has been."""
        if not self.refreshable:
            return self.schedule.expires_at
        return None if self.rotates else self.refresh_expires_at

    @property
    def key(self) -> Key:
        """The connection's identity."""
        return Key(self.user_id, self.provider_id, self.account_id)


@dataclass(frozen=True, slots=True)
class ImportResult:
    """What became of one of them.

    Attributes:
        outcome: `created`; `kept`: the credentials were left alone; `replaced`: a new grant began; `refused`:
            nothing was changed.
        connection_id: None for a refused connection that does not exist.
        details_changed: Scope or metadata of an existing connection were updated.
        reason: Why it was refused (`spent_refresh_token`, `unstorable_text`), else None.
    """

    outcome: ImportOutcome
    connection_id: UUID | None
    details_changed: bool = False
    reason: str | None = None


def storable(line: NewConnection) -> bool:
    """Say whether Postgres takes the values: it has no NUL, UTF-8 no lone surrogates, JSON no infinity."""
    values = [line.key, line.scope, dict(line.metadata)]
    try:
        dumped = json.dumps(values, ensure_ascii=False, allow_nan=False).encode("utf-8")
    except ValueError:
        return False
    return b"\\u0000" not in dumped


class Importer:
    """Writes batches of connections. Raises `ServiceUnavailable`; a batch may be repeated as a whole."""

    def __init__(self, engine: Engine, sealer: Sealer) -> None:
        self._engine = engine
        self._sealer = sealer

    def import_batch(
        self, lines: Sequence[NewConnection], *, replace_credentials: bool = False
    ) -> list[ImportResult]:
        """Create connections and update existing ones; returns what became of each, in the lines' order.

        Credentials of existing connections are left alone, unless the connection is `needs_reauth` or
        `disconnected` or `replace_credentials` is given. A refresh token known to be spent is always refused;
        the one that is stored already replaces nothing where its fate is open. A key that occurs twice is
        treated as if its lines came one after the other. About a thousand lines a batch suit best.
        """
        results: dict[int, ImportResult] = {}
        waiting = []
        for place, line in enumerate(lines):
            if storable(line):
                waiting.append(place)
            else:
                results[place] = ImportResult("refused", None, reason="unstorable_text")
        while waiting:
            # A wave holds a key once. What it leaves (later lines of a key, keys that somebody else created
            # at the same moment) comes with the next one, and then finds an existing connection.
            wave: dict[Key, int] = {}
            for place in waiting:
                wave.setdefault(lines[place].key, place)
            with transaction(self._engine) as connection:
                results |= self._wave(
                    connection, {place: lines[place] for place in wave.values()}, replace=replace_credentials
                )
            waiting = [place for place in waiting if place not in results]
        keep_counted(self._engine)
        return [results[place] for place in range(len(lines))]

    def _wave(
        self, connection: Connection, wave: Mapping[int, NewConnection], *, replace: bool
    ) -> dict[int, ImportResult]:
        sealer = agreed_sealer(connection, self._sealer)
        keys = [line.key for line in wave.values()]
        found = connection.execute(
            EXISTING,
            {
                "users": [key.user_id for key in keys],
                "providers": [key.provider_id for key in keys],
                "accounts": [key.account_id for key in keys],
            },
        )
        existing = {Key(row.user_id, row.provider_id, row.account_id): row for row in found}
        results: dict[int, ImportResult] = {}
        kept: dict[int, UUID] = {}
        replaced: dict[int, UUID] = {}
        fresh: dict[int, UUID] = {}
        for place, line in wave.items():
            row = existing.get(line.key)
            if row is None:
                fresh[place] = uuid4()
                continue
            match self._judge(row, line, replace=replace):
                case "refused":
                    results[place] = ImportResult("refused", row.id, reason="spent_refresh_token")
                case "replaced":
                    replaced[place] = row.id
                case _:
                    kept[place] = row.id
        created = self._create(connection, wave, fresh, sealer)
        results |= {place: ImportResult("created", fresh[place]) for place in created}
        changed = self._update_details(connection, wave, kept, replaced)
        self._replace(connection, wave, replaced, sealer)
        for places, outcome in ((kept, "kept"), (replaced, "replaced")):
            for place, connection_id in places.items():
                results[place] = ImportResult(
                    "kept" if outcome == "kept" else "replaced", connection_id, connection_id in changed
                )
        return results

    def _judge(self, row: Row[Any], line: NewConnection, *, replace: bool) -> ImportOutcome:
        refresh = line.credentials.refresh_token
        digests = [] if refresh is None else self._sealer.digests(refresh, row.id)
        if not set(digests).isdisjoint(row.spent_digests):
            return "refused"
        if row.refresh_digest is not None and row.refresh_digest in digests:
            # The very token that is stored: a second import of the same file. A new grant around it would
            # forget what is known of it, above all that an answer to it may still be on its way.
            return "replaced" if replace and row.presented_at is None else "kept"
        if replace or row.status in {Status.NEEDS_REAUTH, Status.DISCONNECTED}:
            return "replaced"
        return "kept"

    def _create(
        self,
        connection: Connection,
        wave: Mapping[int, NewConnection],
        fresh: Mapping[int, UUID],
        sealer: Sealer,
    ) -> list[int]:
        """Create connections with tokens; returns the places of those that nobody else created first."""
        if not fresh:
            return []
        rows = [
            {"id": str(connection_id), **wave[place].key._asdict(), **self._details(wave[place])}
            for place, connection_id in fresh.items()
        ]
        made = set(connection.execute(CREATE, {"rows": rows}).scalars())
        created = [place for place, connection_id in fresh.items() if connection_id in made]
        tokens = [token_row(fresh[place], wave[place], sealer) for place in created]
        connection.execute(INSERT_TOKENS, {"rows": tokens})
        connection.execute(NOTE, {"kind": "imported", "ids": list(made)})
        return created

    def _update_details(
        self,
        connection: Connection,
        wave: Mapping[int, NewConnection],
        kept: Mapping[int, UUID],
        replaced: Mapping[int, UUID],
    ) -> set[UUID]:
        rows = [
            {"id": str(connection_id), "connected": connected, **self._details(wave[place])}
            for places, connected in ((kept, False), (replaced, True))
            for place, connection_id in places.items()
        ]
        if not rows:
            return set()
        # A tenant is a detail like the metadata that names it; a replaced grant's comes with its tokens.
        tenants = [
            {"id": str(connection_id), "tenant": wave[place].tenant} for place, connection_id in kept.items()
        ]
        if tenants:
            connection.execute(MOVE_TENANTS, {"rows": tenants})
        return set(connection.execute(UPDATE_DETAILS, {"rows": rows}).scalars())

    def _replace(
        self,
        connection: Connection,
        wave: Mapping[int, NewConnection],
        replaced: Mapping[int, UUID],
        sealer: Sealer,
    ) -> None:
        if not replaced:
            return
        ids = list(replaced.values())
        rows = [token_row(connection_id, wave[place], sealer) for place, connection_id in replaced.items()]
        rotating = [connection_id for place, connection_id in replaced.items() if wave[place].rotates]
        connection.execute(REPLACE_TOKENS, {"rows": rows, "rotating": rotating})
        connection.execute(delete(spare_tokens).where(spare_tokens.c.connection_id.in_(ids)))
        resolve_connections(connection, ids, consented=True)
        connection.execute(NOTE, {"kind": "credentials_replaced", "ids": ids})

    def _details(self, line: NewConnection) -> dict[str, object]:
        return {
            "scope": list(line.scope),
            "metadata": dict(line.metadata),
            "connected_at": instant_text(line.connected_at),
        }


def token_row(
    connection_id: UUID, line: NewConnection, sealer: Sealer, *, grant_id: UUID | None = None
) -> dict[str, object]:
    """Return a connection's row of `tokens`, as the statements take it; `grant_id` None: a new grant."""
    refresh, schedule = line.credentials.refresh_token, line.schedule
    access = sealer.seal(line.credentials.access_token, token_ref("access_token", connection_id))
    sealed = digest = None
    if refresh is not None:
        sealed = sealer.seal(refresh, token_ref("refresh_token", connection_id))
        digest = sealer.digest(refresh, connection_id)
    return {
        "connection_id": str(connection_id),
        "provider_id": line.provider_id,
        "grant_id": str(grant_id or uuid4()),
        "key_id": sealer.key_id,
        "access_token": bytes_text(access),
        "refresh_token": bytes_text(sealed),
        "refresh_digest": bytes_text(digest),
        "issued_at": instant_text(schedule.issued_at),
        "expires_at": instant_text(schedule.expires_at),
        "refresh_expires_at": instant_text(line.refresh_expires_at),
        "dies_at": instant_text(line.dies_at),
        "refresh_due_at": instant_text(schedule.refresh_due_at),
        "check_due_at": instant_text(schedule.check_due_at),
        "refreshable": line.refreshable,
        "tenant": line.tenant,
    }
