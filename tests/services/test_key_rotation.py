"""Key rotation under way: everything opens at every moment, and nothing but the seals changes."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from domain.asks import Outcome
from domain.errors import ConfigurationError, EvergrantError
from services.wiring import Services
from storage.keys import generate
from storage.processes import ProcessReport, ProcessStore
from storage.tokens.rows import token_ref
from tests.services.keyed import Silent, agree, agreed, living, register, rotate
from tests.services.world import Connected, World

pytestmark = pytest.mark.servers

NEW = generate("k2")
AT_ONCE = timedelta(0)


class Reader:
    """Opens every stored token through several processes' sealers, over and over."""

    def __init__(self, world: World, *everybody: Services) -> None:
        self._url = world.database_url
        self._sealers = [services.tokens._sealer for services in everybody]
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.rounds = 0
        self.errors: list[BaseException] = []

    def _run(self) -> None:
        with psycopg.connect(self._url, autocommit=True) as connection:
            while not self._ended.is_set() and not self.errors:
                try:
                    self._read(connection)
                except BaseException as error:  # noqa: BLE001 - handed to the test
                    self.errors.append(error)

    def _read(self, connection: psycopg.Connection[tuple[object, ...]]) -> None:
        rows = connection.execute("SELECT connection_id, access_token, refresh_token FROM tokens").fetchall()
        for connection_id, access, refresh in rows:
            for sealer in self._sealers:
                sealer.open(access, token_ref("access_token", connection_id))  # type: ignore[arg-type]  # a row's
                sealer.open(refresh, token_ref("refresh_token", connection_id))  # type: ignore[arg-type]  # a row's
        self.rounds += 1

    def __enter__(self) -> Reader:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        assert self.errors == []


class Refreshing:
    """Refreshes connections through a process of its own, over and over, and counts what landed."""

    def __init__(self, world: World, services: Services, many: list[Connected]) -> None:
        self._world, self._services, self._many = world, services, many
        self.landed = dict.fromkeys((item.id for item in many), 0)

    def run(self, ended: threading.Event) -> None:
        while not ended.is_set():
            self._world.update("refresh_due_at = now(), last_refreshed_at = NULL", *self._many)
            for item in self._many:
                result = self._world.refresh(item, services=self._services)
                assert result.outcome is Outcome.REFRESHED, result
                self.landed[item.id] += 1


def test_everything_opens_at_every_moment_while_refreshes_run(world: World) -> None:
    """Two processes refresh and a reader opens every row through both, while the key changes to and fro six
    times: no row is ever unreadable, versions and presentations are exactly what the refreshes made."""
    many = world.connect_many("strict", 12) + world.connect_many("gsc", 12)
    ring, back = f"{NEW},{world.keys}", f"{world.keys},{NEW}"
    processes = [world.wire(keys=ring), world.wire(keys=back)]
    refreshing = [Refreshing(world, services, many[place::2]) for place, services in enumerate(processes)]
    ended = threading.Event()
    with living(*processes), Reader(world, *processes) as reader, ThreadPoolExecutor(2) as pool:
        running = [pool.submit(each.run, ended) for each in refreshing]
        try:
            reports = [rotate(world, keys) for keys in (ring, back) * 3]
        finally:
            ended.set()
        for future in running:
            future.result()

    assert all(report.complete for report in reports), reports
    assert [report.removable for report in reports] == [("k1",), ("k2",)] * 3
    assert reader.rounds > 3
    landed = refreshing[0].landed | refreshing[1].landed
    assert min(landed.values()) > 0
    assert {item.id: world.row(item)["version"] for item in many} == {
        connection_id: count + 1 for connection_id, count in landed.items()
    }
    assert {item.id: world.presented(item) for item in many} == landed
    assert all(world.alive(item) and world.opens(item, processes[0]) for item in many)
    assert world.sim.incidents() == []


def test_afterwards_the_former_key_can_be_taken_out(world: World) -> None:
    """A ring of the new key alone opens everything, spares included; a ring of the old one does not start."""
    many = world.connect_many("strict", 3)
    both = world.wire(keys=f"{NEW},{world.keys}")
    with living(both):
        report = rotate(world, f"{NEW},{world.keys}")

    assert (report.complete, report.removable, dict(report.needed)) == (True, ("k1",), {"k2": 3})
    only = world.wire(keys=NEW)
    assert all(world.opens(item, only) for item in many)
    assert world.refresh(many[0], services=only).outcome is Outcome.REFRESHED
    with pytest.raises(ConfigurationError, match="'k2:"):
        world.wire()


def test_a_process_without_the_new_key_blocks_the_election(world: World) -> None:
    """It is named by role and host, nothing is changed, and it goes on reading and refreshing."""
    connected = world.connect("strict")
    with living(world.services):
        before = world.dump("tokens", "deployment")

        with pytest.raises(EvergrantError, match=r"nothing was changed: 'k2:.*bulk on here.*EVERGRANT_KEYS"):
            rotate(world, f"{NEW},{world.keys}")

        assert world.dump("tokens", "deployment") == before
        assert world.refresh(connected).outcome is Outcome.REFRESHED
        assert world.opens(connected)


def test_it_waits_for_whoever_seals_with_the_former_key(world: World) -> None:
    """A process that has not looked since the election is waited for; what it seals until it has looked is
    sealed anew by the last pass."""
    connected = world.connect("strict")
    slow = world.wire(keys=f"{world.keys},{NEW}")
    register(slow)

    class Waking(Silent):
        def waiting(self, processes: object) -> None:
            if not self.waited_for:
                assert world.refresh(connected, services=slow).outcome is Outcome.REFRESHED
                assert world.row(connected)["key_id"] == "k1"
            slow.election.look()
            super().waiting(processes)  # type: ignore[arg-type]  # as it was given

    watch = Waking()
    report = rotate(world, f"{NEW},{world.keys}", watch=watch)

    assert set(watch.waited_for) == {slow.owner}
    assert (report.complete, report.resealed["tokens"], report.removable) == (True, 2, ("k1",))
    assert (world.row(connected)["key_id"], world.row(connected)["version"]) == ("k2", 2)


def test_it_does_not_call_a_key_removable_while_anybody_uses_it(world: World) -> None:
    """Whoever was not waited for is named: by what he seals with, by what he has staged, or because he does
    not report any more."""
    register(world.wire(keys=f"{world.keys},{NEW}"))
    report = rotate(world, f"{NEW},{world.keys}", patience=AT_ONCE)

    assert not report.complete
    assert ([process.role for process in report.behind], report.removable) == (["bulk"], ())

    with psycopg.connect(world.database_url) as connection:
        connection.execute(
            "UPDATE processes SET seen_at = now() - interval '61 s', staged = 1, staged_key_ids = '{k1}'"
        )
    report = rotate(world, f"{NEW},{world.keys}", patience=AT_ONCE)

    assert report.complete
    assert [process.role for process in report.silent] == ["bulk"]
    assert (report.removable, dict(report.needed)) == ((), {"k1": 1})


def test_it_waits_for_answers_staged_under_the_former_key(world: World) -> None:
    """A living process' report of an empty spool ends the waiting."""
    both = world.wire(keys=f"{NEW},{world.keys}")
    register(both, staged_key_ids=["k1"])
    for _ in range(3):
        both.election.look()

    class Landing(Silent):
        def waiting(self, processes: object) -> None:
            ProcessStore(both.engine).report(both.owner, ProcessReport(datetime.now(UTC)))
            super().waiting(processes)  # type: ignore[arg-type]  # as it was given

    watch = Landing()
    report = rotate(world, f"{NEW},{world.keys}", watch=watch)

    assert watch.waited_for == [both.owner]
    assert (report.complete, report.removable) == (True, ("k1",))


def test_a_lost_key_is_given_up_only_when_it_is_named(world: World) -> None:
    """Without the agreed key nothing is done; named as lost, the ring's first one seals, and what the lost
    one sealed is counted and left."""
    connected = world.connect("strict")
    with pytest.raises(ConfigurationError, match=r"does not hold 'k1:.*--lost k1"):
        rotate(world, NEW)
    with pytest.raises(ConfigurationError, match="it is not lost"):
        rotate(world, f"{NEW},{world.keys}", lost="k1")
    assert agreed(world) == "k1"

    report = rotate(world, NEW, lost="k1")

    assert agreed(world) == "k2"
    assert (report.complete, report.broken_count) == (False, 1)
    assert report.broken[0].entry == str(connected.id)
    assert "'k1'" in report.broken[0].why


def test_running_it_again_finds_nothing_to_do(world: World) -> None:
    """The second run seals nothing anew; the first may finish what was left after an election."""
    connected = world.connect("strict")
    agree(world, NEW)
    first = rotate(world, f"{NEW},{world.keys}")
    second = rotate(world, f"{NEW},{world.keys}")

    assert [(report.elected, report.resealed["tokens"]) for report in (first, second)] == [
        (False, 1),
        (False, 0),
    ]
    assert second.complete
    assert world.row(connected)["version"] == 1
