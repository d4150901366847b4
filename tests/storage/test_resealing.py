"""Sealing rows anew: the same secrets under another key, nothing else touched; who writes meanwhile wins."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr
from sqlalchemy import text

from domain.errors import KeyMissing
from domain.token import Credentials
from storage.engine import make_engine
from storage.importing import Importer
from storage.keys import KeyRing, generate
from storage.resealing import Resealed, table_resealers
from storage.resealing.tables import PAGE
from storage.sealing import RowRef, Sealer
from storage.sealing_key import SealingKey
from storage.tokens.landing import Superseded
from storage.tokens.rows import spare_ref, token_ref
from storage.tokens.store import TokenStore
from tests.storage.making import Bench, landing, pair

pytestmark = pytest.mark.servers

RING = KeyRing.parse(SecretStr(",".join(generate(name) for name in ("new", "old"))))


@dataclass
class TwoKeys(Bench):
    """A bench whose rows are sealed with `old`, and which can seal them with `new`."""

    sealing: SealingKey

    def reseal(self, key_id: str = "new", *, table: int = 0) -> Resealed:
        return table_resealers(self.engine, self.sealer)[table].reseal(key_id, lambda _: None)

    def keys(self, table: int = 0) -> dict[str, int]:
        return dict(table_resealers(self.engine, self.sealer)[table].keys())

    def row(self, connection_id: UUID) -> dict[str, Any]:
        with self.engine.begin() as connection:
            found = connection.execute(
                text("SELECT * FROM tokens WHERE connection_id = :id"), {"id": connection_id}
            )
            return dict(found.mappings().one())


@pytest.fixture
def bench(migrated_database_url: str) -> Iterator[TwoKeys]:
    engine = make_engine(migrated_database_url, pool_size=4, application_name="test")
    sealing = SealingKey("old")
    sealer = Sealer(RING, sealing)
    yield TwoKeys(engine, sealer, TokenStore(engine, sealer), Importer(engine, sealer), sealing)
    engine.dispose()


@given(st.text(min_size=1), st.sampled_from(RING.ids), st.sampled_from(RING.ids))
@settings(max_examples=200)
def test_what_was_sealed_anew_is_the_same_secret(secret: str, before: str, after: str) -> None:
    """Whatever the secret and whichever the keys; it stays bound to its place, and names the new key."""
    place = RowRef("tokens", "refresh_token", uuid4())
    sealer = Sealer(RING, SealingKey(before))
    blob = sealer.seal(SecretStr(secret), place)

    again = sealer.sealing_with(after)
    renewed = again.seal(again.open(blob, place), place)

    assert sealer.open(renewed, place).get_secret_value() == secret
    assert renewed != blob
    assert renewed[2:].startswith(after.encode())


def test_only_sealed_bytes_digest_and_key_change(bench: TwoKeys) -> None:
    """Version, lease, attempt and schedule of a row under way stay; so does its claim's right to land."""
    connection_id = bench.new()
    claimed = bench.claimed(connection_id)
    before = bench.row(connection_id)

    result = bench.reseal()

    after = bench.row(connection_id)
    changed = {name for name in after if after[name] != before[name]}
    assert (result.seen, result.resealed, result.moved, result.broken) == (1, 1, 0, [])
    assert changed == {"key_id", "access_token", "refresh_token", "refresh_digest"}
    assert after["key_id"] == "new"
    assert bench.store.open(claimed) == pair("1")
    bench.store.land(landing(claimed))
    assert bench.reseal().resealed == 1
    again = bench.row(connection_id)
    assert (again["key_id"], again["version"]) == ("new", 2)
    opened = bench.sealer.open(again["refresh_token"], token_ref("refresh_token", connection_id))
    assert opened == SecretStr("RT-2")
    assert again["refresh_digest"] == bench.sealer.sealing_with("new").digest(opened, connection_id)
    assert bench.reseal() == Resealed(seen=1)


def test_a_landing_between_read_and_write_wins(bench: TwoKeys, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read before and written after it, the row is not changed by the rotation; the next pass meets it."""
    connection_id = bench.new()
    claimed = bench.claimed(connection_id)
    seal = Sealer.seal

    def sealing(sealer: Sealer, plain: SecretStr, bound_to: RowRef) -> bytes:
        if sealer.key_id == "new":
            bench.store.land(landing(claimed))
        return seal(sealer, plain, bound_to)

    monkeypatch.setattr(Sealer, "seal", sealing)
    result = bench.reseal()
    monkeypatch.undo()

    row = bench.row(connection_id)
    assert (result.resealed, result.moved) == (0, 1)
    assert (row["version"], row["key_id"]) == (2, "old")
    assert bench.reseal().resealed == 1
    opened = bench.sealer.open(
        bench.row(connection_id)["access_token"], token_ref("access_token", connection_id)
    )
    assert opened == SecretStr("AT-2")


def test_erased_credentials_do_not_come_back(bench: TwoKeys, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sealed bytes themselves are compared: whoever changed neither version nor key wins as well."""
    connection_id = bench.new()
    seal = Sealer.seal

    def sealing(sealer: Sealer, plain: SecretStr, bound_to: RowRef) -> bytes:
        bench.set(
            connection_id,
            "status = 'disconnected', access_token = NULL, refresh_token = NULL, refresh_digest = NULL,"
            " refresh_due_at = NULL, check_due_at = NULL",
        )
        return seal(sealer, plain, bound_to)

    monkeypatch.setattr(Sealer, "seal", sealing)
    assert bench.reseal().moved == 1
    monkeypatch.undo()

    assert bench.row(connection_id)["access_token"] is None
    assert bench.reseal().resealed == 1
    assert bench.keys() == {"new": 1}
    assert bench.row(connection_id)["access_token"] is None


def test_a_row_that_somebody_holds_is_passed_over(bench: TwoKeys) -> None:
    """Nothing waits for its lock: the others are sealed anew, and it is met by the next pass."""
    held, free = bench.new("1"), bench.new("2")
    with bench.engine.begin() as connection:
        connection.execute(
            text("SELECT 1 FROM tokens WHERE connection_id = :id FOR NO KEY UPDATE"), {"id": held}
        )
        result = bench.reseal()

    assert (result.resealed, result.moved) == (1, 1)
    assert (bench.column(held, "key_id"), bench.column(free, "key_id")) == ("old", "new")
    assert bench.reseal().resealed == 1


def test_an_access_token_of_another_key_is_found_by_its_header(bench: TwoKeys) -> None:
    """With a kept refresh token the row names that one's key; the access token's header is what counts."""
    connection_id = bench.new()
    assert bench.reseal().resealed == 1
    answer = Credentials(SecretStr("AT-2"), None)
    bench.store.land(landing(bench.claimed(connection_id), keep_refresh=True, credentials=answer))
    assert bench.column(connection_id, "key_id") == "new"
    assert bench.keys() == {"new": 1, "old": 1}

    assert bench.reseal().resealed == 1

    assert bench.keys() == {"new": 1}
    bench.set(connection_id, "refresh_due_at = now(), last_refreshed_at = NULL")
    opened = bench.store.open(bench.claimed(connection_id))
    assert opened == Credentials(SecretStr("AT-2"), SecretStr("RT-1"))


def test_damaged_and_foreign_rows_are_named_and_left(bench: TwoKeys) -> None:
    """The rest of their page is sealed anew; they stay byte for byte, whichever key they need."""
    good, damaged, foreign = bench.new("1"), bench.new("2"), bench.new("3")
    bench.set(damaged, "access_token = set_byte(access_token, 30, get_byte(access_token, 30) # 1)")
    stranger = Sealer(KeyRing.parse(SecretStr(generate("lost"))))
    blob = stranger.seal(SecretStr("x"), token_ref("refresh_token", foreign))
    bench.set(foreign, "refresh_token = :blob, key_id = 'lost'", blob=blob)
    before = [bench.row(connection_id) for connection_id in (damaged, foreign)]

    result = bench.reseal()

    assert (result.resealed, result.moved, result.broken_count) == (1, 0, 2)
    why = {broken.entry: broken.why for broken in result.broken}
    assert "damaged" in why[str(damaged)]
    assert "'lost'" in why[str(foreign)]
    assert bench.column(good, "key_id") == "new"
    assert [bench.row(connection_id) for connection_id in (damaged, foreign)] == before
    assert bench.keys() == {"new": 1, "old": 2, "lost": 1}


def test_spares_are_sealed_anew_and_can_be_promoted(bench: TwoKeys) -> None:
    """A late answer's spare keeps its secret and its place, and its digest is made anew."""
    connection_id = bench.new()
    claimed = bench.claimed(connection_id)
    bench.set(connection_id, "version = version + 1")
    assert isinstance(bench.store.land(landing(claimed, "late")), Superseded)

    assert bench.reseal(table=1) == Resealed(seen=1, resealed=1)

    assert bench.keys(1) == {"new": 1}
    attempt_id = claimed.state.attempt_id
    assert attempt_id is not None
    blob = bench.value("SELECT refresh_token FROM spare_tokens")
    assert bench.sealer.open(blob, spare_ref("refresh_token", connection_id, attempt_id)) == SecretStr(
        "RT-late"
    )
    digest = bench.sealer.sealing_with("new").digest(SecretStr("RT-late"), connection_id)
    assert bench.value("SELECT refresh_digest FROM spare_tokens") == digest
    assert bench.store.promote_spare(
        connection_id, grant_id=claimed.state.grant_id, version=2, attempt_id=attempt_id
    )


def test_revocations_are_sealed_anew(bench: TwoKeys) -> None:
    """A token on its way to the provider's revocation endpoint opens at its place afterwards."""
    connection_id, row_id = uuid4(), uuid4()
    place = RowRef("pending_revocations", "token", connection_id, row_id)
    with bench.engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO pending_revocations"
                " (id, connection_id, grant_id, provider_id, user_id, account_id, why, key_id, token,"
                " token_kind)"
                " VALUES (:id, :connection, :id, 'acme', 'user-1', '', 'disconnected', 'old', :token,"
                " 'refresh_token')"
            ),
            {"id": row_id, "connection": connection_id, "token": bench.sealer.seal(SecretStr("RT"), place)},
        )

    assert bench.reseal(table=2) == Resealed(seen=1, resealed=1)

    assert bench.value("SELECT key_id FROM pending_revocations") == "new"
    assert bench.sealer.open(bench.value("SELECT token FROM pending_revocations"), place) == SecretStr("RT")


def test_pages_follow_each_other_to_the_end(bench: TwoKeys) -> None:
    """More rows than fit into a page: each is met once, and progress tells of all of them."""
    total = PAGE + 3
    for number in range(total):
        bench.new(str(number))
    told: list[int] = []

    result = table_resealers(bench.engine, bench.sealer)[0].reseal("new", told.append)

    assert result == Resealed(seen=total, resealed=total)
    assert told == [PAGE, 3]
    assert bench.keys() == {"new": total}


def test_a_key_that_the_ring_lacks_seals_nothing(bench: TwoKeys) -> None:
    """It is refused before any row is read."""
    bench.new()

    with pytest.raises(KeyMissing):
        bench.reseal("lost")

    assert bench.keys() == {"old": 1}
