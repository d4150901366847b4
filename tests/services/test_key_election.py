"""Which key seals: agreed by everybody who lives, and never one that somebody living could not open."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from structlog.testing import capture_logs

from domain.asks import Outcome
from domain.errors import ConfigurationError, ServiceUnavailable
from services.wiring import Services
from storage.keys import generate
from storage.processes import ProcessStore
from tests.services.keyed import agree, agreed, fingerprint, living, register
from tests.services.test_postgres_away import waiting_writers
from tests.services.world import Connected, World
from tests.support.waiting import eventually

pytestmark = pytest.mark.servers

NEW = generate("k2")


def sealed_by(world: World, connected: Connected, services: Services) -> str:
    """Let a process refresh the connection, and give the key that it sealed with."""
    world.update("refresh_due_at = now(), last_refreshed_at = NULL", connected)
    assert world.refresh(connected, services=services).outcome is Outcome.REFRESHED
    return str(world.row(connected)["key_id"])


def says(services: Services) -> str | None:
    process = ProcessStore(services.engine).find(services.owner)
    assert process is not None
    return process.sealing_key_id


def test_a_new_key_only_opens_until_everybody_holds_it(world: World) -> None:
    """One process has the new key first, the other lacks it: both go on sealing with the old one and reading
    each other. When the other has come back with it, the new one seals in both."""
    connected = world.connect("strict")
    ahead = world.wire(keys=f"{NEW},{world.keys}")
    with living(ahead, world.services):
        for services in (ahead, world.services):
            assert sealed_by(world, connected, services) == "k1"
            assert world.opens(connected, ahead)
            assert world.opens(connected, world.services)
        assert agreed(world) == "k1"
    ProcessStore(ahead.engine).mark_gone(world.services.owner, staged=0)
    back = world.wire(keys=f"{world.keys},{NEW}")
    with living(ahead, back):
        eventually(lambda: says(ahead) == says(back) == "k2", what="both seal with the new key")
        for services in (ahead, back):
            assert sealed_by(world, connected, services) == "k2"
            assert world.opens(connected, ahead)
            assert world.opens(connected, back)


def test_a_process_without_the_agreed_key_does_not_start(world: World) -> None:
    """Neither when it is wired, nor if the election came between its wiring and its registration."""
    slow = world.wire()
    agree(world, NEW)

    with pytest.raises(ConfigurationError, match=r"EVERGRANT_KEYS does not hold 'k2:.*Add 'k2'"):
        world.wire()
    with pytest.raises(ConfigurationError, match=r"EVERGRANT_KEYS does not hold 'k2:.*Add 'k2'"):
        register(slow)


def test_the_same_id_is_not_the_same_key(world: World) -> None:
    """A process that was given another key of the new one's id prevents its election like one that lacks it;
    after an election it does not start."""
    ahead, mistaken = (world.wire(keys=f"{keys},{world.keys}") for keys in (NEW, generate("k2")))
    for services in (ahead, mistaken):
        register(services)
    for services in (ahead, mistaken):
        services.election.look()

    assert agreed(world) == "k1"
    agree(world, NEW)
    with pytest.raises(ConfigurationError, match="another one of the same id"):
        world.wire(keys=f"{generate('k2')},{world.keys}")


def test_a_key_is_said_to_be_left_only_when_nothing_of_it_is_under_way(world: World) -> None:
    """A landing that was begun under the former key may commit at any time until it ends; what it staged is
    reported between two looks. The process says that it has left the key after both."""
    both = world.wire(keys=f"{NEW},{world.keys}")
    register(both)
    sealer = both.tokens._sealer
    with sealer.pinned() as landing:
        for _ in range(4):
            both.election.look()
        assert (landing.key_id, sealer.key_id) == ("k1", "k2")
        assert says(both) is None
    both.election.look()
    assert says(both) is None
    both.election.look()
    assert says(both) == "k2"


def test_a_landing_that_waits_in_postgres_is_under_way(world: World) -> None:
    """Sealed before the election and committed after it: until then the process has not left the key."""
    connected = world.connect("strict")
    both = world.wire(keys=f"{NEW},{world.keys}")
    register(both)
    world.sim.configure("strict", latency=500)
    with ThreadPoolExecutor(1) as pool:
        refreshing = pool.submit(world.refresh, connected, services=both)
        eventually(lambda: world.grant(connected)["under_way"] == 1)
        with psycopg.connect(world.database_url) as other:
            other.execute("SELECT 1 FROM tokens FOR UPDATE")
            eventually(lambda: waiting_writers(world) == 1, what="the landing waits for the row")
            for _ in range(4):
                both.election.look()
            assert (agreed(world), says(both)) == ("k2", None)
        assert refreshing.result().outcome is Outcome.REFRESHED

    assert world.row(connected)["key_id"] == "k1"
    both.election.look()
    both.election.look()
    assert says(both) == "k2"


def test_a_process_that_was_taken_for_dead_seals_with_what_it_has(world: World) -> None:
    """The election went past it: what it receives is kept under the key that everybody still holds, and it
    says in its log, once, what it lacks."""
    connected = world.connect("strict")
    frozen = world.wire()
    register(frozen)
    agree(world, NEW)
    with capture_logs() as logs:
        for _ in range(3):
            frozen.election.look()

    assert [entry["event"] for entry in logs] == ["key_missing"]
    assert (logs[0]["key"], logs[0]["log_level"]) == (fingerprint(NEW), "error")
    assert sealed_by(world, connected, frozen) == "k1"
    assert says(frozen) == "k1"


def test_rings_in_another_order_do_not_vote_each_other_down(world: World) -> None:
    """Whoever still has the former key first adopts the agreed one, look after look."""
    forward = world.wire(keys=f"{NEW},{world.keys}")
    backward = world.wire(keys=f"{world.keys},{NEW}")
    register(forward)
    register(backward)
    for _ in range(3):
        forward.election.look()
        backward.election.look()

    assert agreed(world) == "k2"
    assert forward.tokens._sealer.key_id == backward.tokens._sealer.key_id == "k2"


def test_without_postgres_the_key_stays(world: World) -> None:
    """A look that cannot read says so to its caller and changes nothing; the next one goes on."""
    both = world.wire(keys=f"{NEW},{world.keys}")
    with psycopg.connect(world.database_url) as other:
        register(both)
        other.execute("LOCK TABLE deployment")
        with ThreadPoolExecutor(1) as pool:
            looking = pool.submit(both.election.look)
            eventually(lambda: looking.done() or bool(world.terminate_backends() and looking.done()))
            with pytest.raises(ServiceUnavailable):
                looking.result()
        assert both.tokens._sealer.key_id == "k1"
    both.election.look()
    assert both.tokens._sealer.key_id == "k2"
