"""The agreed key: one for everybody, changed only when everybody living can open with the new one."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from domain.errors import ConfigurationError
from domain.token import Credentials
from storage.elections import Agreed, Elections, agreed_sealer
from storage.engine import transaction
from storage.importing import Importer
from storage.keys import KeyRing, generate
from storage.processes import ProcessStore
from storage.sealing import Sealer
from storage.tokens.store import TokenStore
from tests.storage.making import Bench, a_sealer
from tests.support.waiting import eventually

pytestmark = pytest.mark.servers


def register(bench: Bench, name: str, *key_ids: str) -> None:
    ProcessStore(bench.engine).register(name, role=name, host="here", key_ids=key_ids)


def in_background(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def waits_for_the_row(bench: Bench) -> bool:
    """Say whether somebody waits for a lock in this database."""
    return bool(
        bench.value(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
    )


def test_the_first_process_decides(bench: Bench) -> None:
    """Its first key becomes the agreed one; later ones adopt it, whatever their rings begin with."""
    elections = Elections(bench.engine)

    assert elections.read() == Agreed(None, ())
    assert elections.join("a") == elections.join("b") == elections.read() == Agreed("a", ())


def test_a_living_process_without_the_key_prevents_its_election(bench: Bench) -> None:
    """It is named; once it holds the key, or is taken for dead, the key is elected."""
    elections = Elections(bench.engine)
    elections.join("a")
    register(bench, "both", "b", "a")
    register(bench, "late", "a")
    register(bench, "dead", "a")
    with bench.engine.begin() as connection:
        connection.execute(text("UPDATE processes SET seen_at = now() - interval '61 s' WHERE id = 'dead'"))

    prevented = elections.elect("b", former_too=False)

    assert [process.id for process in prevented.lacking] == ["late"]
    assert elections.read() == prevented.agreed == Agreed("a", ())
    register(bench, "late", "a", "b")
    assert elections.elect("b", former_too=False).agreed == elections.read() == Agreed("b", ("a",))


def test_a_former_key_comes_back_by_an_operator_alone(bench: Bench) -> None:
    """Rings in different orders do not vote each other down; asked for, the former key seals again."""
    elections = Elections(bench.engine)
    elections.join("a")
    for key_id in ("b", "c"):
        elections.elect(key_id, former_too=False)

    assert elections.elect("a", former_too=False).agreed == Agreed("c", ("a", "b"))
    assert elections.elect("a", former_too=True).agreed == Agreed("a", ("b", "c"))
    assert elections.elect("a", former_too=True).agreed == elections.read() == Agreed("a", ("b", "c"))


def test_a_process_that_starts_during_an_election_learns_of_it(bench: Bench) -> None:
    """It registers after the election has looked at the register, and reads the agreed key before the commit:
    it waits for it, so it cannot start with the former key alone."""
    elections = Elections(bench.engine)
    elections.join("a")
    seen: list[Agreed] = []
    with bench.engine.begin() as electing:
        electing.execute(text("SELECT 1 FROM deployment FOR NO KEY UPDATE"))
        register(bench, "newcomer", "a")
        joining = in_background(lambda: seen.append(elections.join("a")))
        eventually(lambda: waits_for_the_row(bench), what="the newcomer waits")
        electing.execute(text("UPDATE deployment SET sealing_key = 'b'"))
    joining.join()

    assert [agreed.key_id for agreed in seen] == ["b"]


def test_an_election_waits_for_a_batch_under_way(bench: Bench) -> None:
    """What an unregistered writer seals under the former key is committed before the new one is elected."""
    elections = Elections(bench.engine)
    elections.join(bench.sealer._ring.fingerprints[0])
    with transaction(bench.engine) as writing:
        assert agreed_sealer(writing, bench.sealer).key_id == "k1"
        electing = in_background(lambda: elections.elect("k2:0", former_too=False))
        eventually(lambda: waits_for_the_row(bench), what="the election waits")
        assert elections.read().key_id == "k1"
    electing.join()

    assert elections.read().key_id == "k2"


def test_an_import_seals_with_the_agreed_key(bench: Bench) -> None:
    """Not with the ring's first one; and a ring without the agreed key imports nothing and says why."""
    keys = [generate("a"), generate("b")]
    ring = KeyRing.parse(SecretStr(",".join(keys)))
    sealer = Sealer(ring)
    elections = Elections(bench.engine)
    elections.join(ring.fingerprint("b"))
    both = Bench(bench.engine, sealer, TokenStore(bench.engine, sealer), Importer(bench.engine, sealer))

    connection_id = both.new()

    assert both.column(connection_id, "key_id") == "b"
    opened = both.store.open(both.claimed(connection_id))
    assert opened == Credentials(SecretStr("AT-1"), SecretStr("RT-1"))
    stranger = Importer(bench.engine, a_sealer("c"))
    with pytest.raises(ConfigurationError, match=r"EVERGRANT_KEYS does not hold 'b:.*keys rotate --lost b"):
        Bench(bench.engine, sealer, both.store, stranger).new("2")
    assert both.value("SELECT count(*) FROM connections") == 1
