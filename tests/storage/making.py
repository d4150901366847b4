"""What the tests of storage are made of."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from pydantic import SecretStr
from sqlalchemy import Engine, text

from domain.schedule import Schedule
from domain.token import Credentials, Status
from storage.activity import Note
from storage.importing import Importer, NewConnection
from storage.keys import KeyRing, generate
from storage.sealing import Sealer
from storage.tokens.claims import ClaimCondition, Claimed
from storage.tokens.failing import FailureRecord
from storage.tokens.landing import Landing
from storage.tokens.store import TokenStore

LEASE = timedelta(seconds=40)
HOUR = timedelta(hours=1)


def now() -> datetime:
    return datetime.now(UTC)


def pair(name: str) -> Credentials:
    return Credentials(SecretStr(f"AT-{name}"), SecretStr(f"RT-{name}"))


def due_schedule() -> Schedule:
    """Of a token that is due and still lives for a while."""
    return Schedule(now() - HOUR, now() + HOUR, now() - timedelta(seconds=5), now() + HOUR)


def fresh_schedule() -> Schedule:
    return Schedule(now(), now() + HOUR, now() + HOUR * 0.8, now() + HOUR)


@dataclass
class Bench:
    """A store on a migrated database, and the moves that tests make on it."""

    engine: Engine
    sealer: Sealer
    store: TokenStore
    importer: Importer

    def new(self, name: str = "1", **changes: Any) -> UUID:
        """Bring in a connection whose refresh is due."""
        line = NewConnection(
            user_id=f"user-{name}",
            provider_id="acme",
            credentials=pair("1"),
            schedule=due_schedule(),
            refreshable=True,
            scope=("read",),
            metadata={"plan": "a"},
        )
        (result,) = self.importer.import_batch([replace(line, **changes)])
        assert result.connection_id is not None
        return result.connection_id

    def claim(
        self, connection_id: UUID, when: ClaimCondition | None = None, **changes: Any
    ) -> Claimed | None:
        arguments = {"attempt_id": uuid4(), "owner": "test", "lease": LEASE, **changes}
        return self.store.claim(connection_id, when=when or ClaimCondition.scheduled(), **arguments)

    def claimed(self, connection_id: UUID, **changes: Any) -> Claimed:
        claimed = self.claim(connection_id, **changes)
        assert claimed is not None
        return claimed

    def recover(self, connection_id: UUID, **changes: Any) -> Claimed | None:
        """Claim a doubt as it stands."""
        arguments = {"attempt_id": uuid4(), "owner": "other", "lease": LEASE, **changes}
        arguments.setdefault("seen", self.column(connection_id, "attempt_id"))
        return self.store.claim_recovery(connection_id, **arguments)

    def failure(self, claimed: Claimed, **changes: Any) -> FailureRecord:
        assert claimed.state.attempt_id is not None
        record = FailureRecord(
            connection_id=claimed.ref.connection_id,
            attempt_id=claimed.state.attempt_id,
            version=claimed.state.version,
            status=Status.ACTIVE,
            failures=1,
            code="unavailable",
            refresh_due_at=now() + timedelta(seconds=30),
            note=Note("retry", "unavailable"),
        )
        return replace(record, **changes)

    def set(self, connection_id: UUID, assignments: str, **values: object) -> None:
        """Bend the row behind the store's back: time passes, or somebody else wrote."""
        with self.engine.begin() as connection:
            connection.execute(
                text(f"UPDATE tokens SET {assignments} WHERE connection_id = :id"),  # noqa: S608 - tests' own words
                {"id": connection_id, **values},
            )

    def column(self, connection_id: UUID, name: str) -> Any:
        return self.value(f"SELECT {name} FROM tokens WHERE connection_id = :id", id=connection_id)  # noqa: S608 - tests' own words

    def value(self, statement: str, **values: object) -> Any:
        with self.engine.begin() as connection:
            return connection.execute(text(statement), values).scalar_one()

    def kinds(self, connection_id: UUID) -> list[str]:
        """The connection's activity, oldest first."""
        with self.engine.begin() as connection:
            rows = connection.execute(
                text("SELECT kind FROM activity WHERE connection_id = :id ORDER BY id"), {"id": connection_id}
            )
            return list(rows.scalars())


def landing(claimed: Claimed, name: str = "2", **changes: Any) -> Landing:
    """The answer to what was claimed."""
    assert claimed.state.attempt_id is not None
    answer = Landing(
        connection_id=claimed.ref.connection_id,
        grant_id=claimed.state.grant_id,
        presented_version=claimed.state.version,
        attempt_id=claimed.state.attempt_id,
        credentials=pair(name),
        schedule=fresh_schedule(),
    )
    return replace(answer, **changes)


def a_sealer(*key_ids: str) -> Sealer:
    return Sealer(KeyRing.parse(SecretStr(",".join(generate(key_id) for key_id in key_ids or ("k1",)))))
