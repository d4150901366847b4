"""Where an answer lies staged no token is in the clear, and what is planted there is not believed."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import UUID, uuid4

import pytest
import redis
from pydantic import SecretStr

from domain.schedule import Schedule
from domain.token import Credentials
from services.refresh.staging import Staging
from storage.keys import KeyRing
from storage.sealing import Sealer
from storage.staging.envelope import Envelope, seal_answer
from storage.staging.shelf import Shelf
from storage.staging.spool import Spool
from storage.tokens.landing import Landing
from tests.acceptance.leaks import leaks, redis_as_bytes
from tests.services.world import Connected, World

pytestmark = pytest.mark.servers

ACCESS, REFRESH = "sim-at-staged", "sim-rt-staged"
INDEX = "evergrant:staged"


@pytest.fixture
def spool_folder(tmp_path: Path) -> Path:
    return tmp_path / "data" / "spool"


@pytest.fixture
def staging(world: World, spool_folder: Path) -> Iterator[Staging]:
    """The staging of a process that has ended since."""
    spool = Spool(spool_folder)
    spool.prepare()
    made = Staging(
        spool, Shelf(SecretStr(world.redis_url)), Sealer(KeyRing.parse(SecretStr(world.keys))), owner="gone"
    )
    yield made
    made.shelf.close()


def answer_for(world: World, connected: Connected) -> Landing:
    row = world.row(connected)
    return Landing(
        connection_id=connected.id,
        grant_id=row["grant_id"],
        presented_version=row["version"],
        attempt_id=uuid4(),
        credentials=Credentials(SecretStr(ACCESS), SecretStr(REFRESH)),
        schedule=Schedule(row["now"], None, None, None),
    )


def test_a_staged_answer_is_sealed_wherever_it_lies(
    world: World, staging: Staging, spool_folder: Path
) -> None:
    """Spool and Redis hold ids and one sealed blob; the file is its owner's alone, in a folder of his own."""
    landing = answer_for(world, world.connect("strict"))

    kept = staging.keep(landing)

    assert (kept.safe, kept.shelf) == (True, True)
    (file,) = spool_folder.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(spool_folder.stat().st_mode) == 0o700
    places = {
        "spool": file.read_bytes(),
        "its name": file.name.encode(),
        "Redis": redis_as_bytes(world.redis_url),
        "repr": repr(staging.spooled()).encode(),
    }
    secrets = {"access": ACCESS, "refresh": REFRESH, "key": world.keys.partition(":")[2]}
    assert leaks(places, {name: value.encode() for name, value in secrets.items()}) == []
    assert "id in spool" in leaks(places, {"id": str(landing.connection_id).encode()})


def test_a_spool_that_was_open_to_others_is_closed(staging: Staging, spool_folder: Path) -> None:
    """Whatever mode the folder was given, it is its owner's alone once a worker has started."""
    spool_folder.chmod(0o755)

    staging.spool.prepare()

    assert stat.S_IMODE(spool_folder.stat().st_mode) == 0o700


def test_a_staged_answer_is_no_other_connections(world: World, staging: Staging) -> None:
    """A copy that is renamed to another connection or attempt does not open, and changes nothing."""
    mine, other = world.connect_many("strict", 2)
    envelope = seal_answer(answer_for(world, mine), "gone", Sealer(KeyRing.parse(SecretStr(world.keys))))
    staging.shelf.put(replace(envelope, connection_id=other.id))
    staging.shelf.put(replace(envelope, attempt_id=uuid4()))

    world.services.sweeper.start()

    assert [world.row(item)["version"] for item in (mine, other)] == [1, 1]
    assert world.alert_kinds() == ["staged_unreadable", "staged_unreadable"]


def test_an_old_copy_that_comes_back_overwrites_nothing(world: World, staging: Staging) -> None:
    """What was staged once and has landed recognises itself, however often Redis brings it again."""
    connected = world.connect("strict")
    landing = answer_for(world, connected)
    staging.keep(landing)
    spooled = staging.spooled()
    assert spooled
    old = spooled[0]
    world.services.sweeper.start()
    assert world.row(connected)["version"] == 2

    staging.shelf.put(old)
    world.services.sweeper.sweep()

    assert world.row(connected)["version"] == 2
    assert world.rows("SELECT count(*) AS n FROM spare_tokens")[0]["n"] == 0
    assert list(staging.shelved()) == []


def planted(world: World, staging: Staging, kind: str) -> None:
    with redis.Redis.from_url(world.redis_url) as client:
        some = uuid4()
        if kind == "an index of another type":
            client.delete(INDEX)
            client.set(INDEX, "x")
        elif kind == "no id":
            client.sadd(INDEX, b"\xff not an id", "nor this")
        elif kind == "no envelope":
            client.sadd(INDEX, str(some))
            client.hset(f"{INDEX}:{some}", b"\xff", b"{}")
        else:
            staging.shelf.put(Envelope(some, UUID(int=1), "gone", b"\1\xff"))


@pytest.mark.parametrize("kind", ["an index of another type", "no id", "no envelope", "no seal"])
def test_what_is_planted_in_redis_stops_no_worker(world: World, staging: Staging, kind: str) -> None:
    """A worker starts, reports, and lands what is real, whatever else lies beside it in Redis."""
    landing = answer_for(world, connected := world.connect("strict"))
    staging.keep(landing)
    planted(world, staging, kind)

    world.services.sweeper.start()

    assert world.row(connected)["version"] == 2
    assert world.rows("SELECT count(*) AS n FROM processes WHERE role = 'test'")[0]["n"] == 1
