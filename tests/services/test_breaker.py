"""The breaker that stops calls to a whole provider, its probe, rates and shares."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from domain.asks import Outcome
from domain.token import Status
from services.wiring import Services
from tests.services.world import FORCED, SCHEDULED, Connected, World
from tests.support.waiting import eventually

pytestmark = pytest.mark.servers
MINUTE = timedelta(minutes=1)


def again(world: World, connected: Connected, services: Services | None = None) -> str | None:
    """Let the backoff pass, and refresh once more; return the code."""
    world.update("refresh_due_at = now(), not_before = NULL", connected)
    return world.refresh(connected, services=services).code


def test_a_dead_endpoint_opens_the_breaker_once_and_a_probe_closes_it(world: World, closed_url: str) -> None:
    """Five failures, one alert; while it is open nothing is presented anywhere and tokens stay served."""
    dead = world.wire(token_url=closed_url)
    # The same endpoint for both, so that it is the same breaker.
    many = world.connect_many("strict", 8)
    codes = [world.refresh(item, services=dead).code for item in many]

    assert codes == ["connect_failed"] * 5 + ["unreachable"] * 3
    (hold,) = world.holds()
    assert hold["provider_id"] == "strict"
    assert world.alert_kinds() == ["provider_unreachable"]
    assert "needs to be done unless it lasts" in world.alerts()[0]["help"]
    results = [world.refresh(many[7], ask, services=dead) for ask in (SCHEDULED, FORCED)]
    assert {(result.outcome, result.code) for result in results} == {(Outcome.DEFERRED, "unreachable")}
    assert all(result.retry_at is not None for result in results)
    row = world.row(many[7])
    assert (row["status"], row["failures"]) == (Status.ACTIVE, 0)
    assert row["expires_at"] > row["now"]


def test_the_breaker_closes_by_a_probe_and_is_shared(world: World) -> None:
    """Opened by one process, obeyed by the other, closed by a single successful call."""
    other = world.wire()
    many = world.connect_many("gsc", 12)
    bystander = world.connect("bing")
    world.sim.fault("status", dialect="google", status=503, count=None)
    for item in many[:5]:
        assert world.refresh(item).code == "unavailable"
    eventually(lambda: world.refresh(many[5], services=other).code == "unreachable", seconds=5)
    before = world.sim.report()["dialects"]["google"]["token_requests"]

    held = [
        world.refresh(item, ask, services=services).code
        for services in (world.services, other)
        for item in many[6:]
        for ask in (SCHEDULED, FORCED)
    ]

    assert set(held) == {"unreachable"}
    assert world.sim.report()["dialects"]["google"]["token_requests"] == before
    assert world.refresh(bystander).outcome is Outcome.REFRESHED
    # Time for the probe, and the provider is still down: one call, and a longer wait.
    first = world.holds()[0]
    world.pass_hold()
    eventually(lambda: world.refresh(many[6]).code == "unavailable", seconds=5)
    assert world.sim.report()["dialects"]["google"]["token_requests"] == before + 1
    assert world.holds()[0]["failures"] == first["failures"] + 1
    # Time for the next probe, and it is back.
    world.sim.clear_faults()
    world.pass_hold()
    eventually(lambda: world.refresh(many[7], services=other).outcome is Outcome.REFRESHED, seconds=5)
    assert world.holds() == []
    assert world.alerts() == []
    eventually(lambda: world.refresh(many[8]).outcome is Outcome.REFRESHED, seconds=5)
    assert [what for what, _ in world.events()] == ["opened", "resolved"]


def test_of_many_who_ask_one_is_the_probe(world: World) -> None:
    """The hold runs out under twenty callers of two processes, and the provider is asked once."""
    hold(world)
    services = (world.services, world.wire())
    many = world.connect_many("gsc", 20)
    world.sim.configure("google", latency=500)
    before = world.sim.report()["dialects"]["google"]["token_requests"]
    world.pass_hold()
    world.sim.fault("status", dialect="google", status=503, count=None)
    # Both read the breaker anew when they are asked all at once.
    for each in services:
        each.refresh._admission.breakers._read_at = float("-inf")
    barrier = threading.Barrier(20)

    def attempt(number: int) -> str | None:
        barrier.wait()
        return world.refresh(many[number], services=services[number % 2]).code

    with ThreadPoolExecutor(20) as pool:
        codes = list(pool.map(attempt, range(20)))

    assert codes.count("unavailable") == 1
    assert world.sim.report()["dialects"]["google"]["token_requests"] == before + 1
    assert sum(world.row(item)["failures"] for item in many) == 1


def test_a_probe_that_finds_nothing_to_do_is_given_back(world: World) -> None:
    """Messages for tokens that were refreshed meanwhile do not use up the one call that is let through."""
    fresh, due = world.connect_many("gsc", 2)
    world.refresh(fresh)
    hold(world)
    world.pass_hold()

    assert eventually(lambda: world.refresh(fresh).outcome is Outcome.FRESH, seconds=5)

    assert eventually(lambda: world.refresh(due).outcome is Outcome.REFRESHED, seconds=5)
    assert world.holds() == []


def hold(world: World) -> None:
    """Hold Google back by a word of its own."""
    victim = world.connect("gsc")
    world.sim.fault("status", dialect="google", status=429, retry_after=300)
    assert world.refresh(victim).code == "rate_limited"
    assert len(world.holds()) == 1


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_obeyed_by_everybody(world: World, form: str) -> None:
    """One answer of 429 stops all calls of all processes until the time it names."""
    other = world.wire()
    first, *others = world.connect_many("gsc", 6)
    world.sim.fault("status", dialect="google", status=429, retry_after=120, retry_after_as=form)

    result = world.refresh(first)

    assert (result.outcome, result.code) == (Outcome.DEFERRED, "rate_limited")
    assert result.retry_at is not None
    assert timedelta(seconds=115) < result.retry_at - world.row(first)["now"] < timedelta(seconds=160)
    eventually(lambda: world.refresh(others[0], services=other).code == "rate_limited", seconds=5)
    results = [
        world.refresh(item, ask, services=services)
        for services in (world.services, other)
        for item in others
        for ask in (SCHEDULED, FORCED)
    ]
    assert {result.code for result in results} == {"rate_limited"}
    (held,) = world.holds()
    assert timedelta(seconds=110) < held["held_until"] - world.row(first)["now"] < timedelta(seconds=160)
    assert world.sim.report()["dialects"]["google"]["token_requests"] == 1
    # To be told to slow down is nobody's emergency.
    assert world.alerts() == []


def test_an_answer_that_was_under_way_does_not_lift_a_hold(world: World) -> None:
    """The provider asked for two minutes; a call that began before that and succeeds changes nothing."""
    slow, quick, third = world.connect_many("gsc", 3)
    world.sim.fault("hang_after", dialect="google", seconds=2, grant_id=slow.grant.grant_id)
    worker = threading.Thread(target=world.refresh, args=(slow,))
    worker.start()
    eventually(lambda: world.grant(slow)["under_way"] == 1)
    world.sim.fault("status", dialect="google", status=429, retry_after=120)
    assert world.refresh(quick).code == "rate_limited"
    assert world.refresh(third).code == "rate_limited"

    worker.join(30)

    assert world.row(slow)["version"] == 2
    assert len(world.holds()) == 1
    assert world.refresh(third).code == "rate_limited"
    assert world.presented(third) == 0


def test_a_refused_client_holds_its_provider_and_touches_no_token(world: World) -> None:
    """One alert, no status changed, the others go on; mended, a probe resolves it."""
    world.sim.configure("strict", client_secret="another-secret")
    many = world.connect_many("strict", 4)
    bystanders = [world.connect(provider_id) for provider_id in ("gsc", "window")]

    codes = [world.refresh(item).code for item in many]

    assert codes == ["invalid_client", *["client_misconfigured"] * 3]
    assert {world.row(item)["status"] for item in many} == {Status.ACTIVE}
    assert world.alert_kinds() == ["provider_client_misconfigured"]
    assert "EVERGRANT_STRICT_CLIENT_SECRET" in world.alerts()[0]["help"]
    assert "secret" not in str(world.alerts()[0]["detail"])
    assert [world.refresh(item).outcome for item in bystanders] == [Outcome.REFRESHED] * 2
    world.pass_hold()
    eventually(lambda: world.refresh(many[1]).code == "invalid_client", seconds=5)
    assert [alert["count"] for alert in world.alerts()] == [2]

    world.sim.configure("strict", client_secret="sim-strict-secret")
    world.pass_hold()
    eventually(lambda: world.refresh(many[2]).outcome is Outcome.REFRESHED, seconds=5)

    assert world.alerts() == []
    assert eventually(lambda: world.refresh(many[3]).outcome is Outcome.REFRESHED, seconds=5)
    assert again(world, many[0]) is None
    assert all(world.alive(item) for item in many)
    assert world.sim.incidents() == []


def test_a_provider_that_never_stops_limiting_is_told_of(world: World) -> None:
    """A token that expires under an endless 429 is worth an alert: no other one is open for it."""
    connected = world.connect("gsc")
    world.sim.fault("status", dialect="google", status=429, retry_after=1, count=None)
    world.refresh(connected)
    assert world.alerts() == []
    world.pass_time(timedelta(hours=2), connected)
    world.pass_hold()

    eventually(lambda: again(world, connected) == "rate_limited" and world.alerts(), seconds=5)

    assert world.alert_kinds() == ["failing"]


def test_a_slow_provider_takes_its_share_and_no_more(world: World) -> None:
    """With sixteen threads, eight calls of a provider are under way; the others' go through at once."""
    world.sim.configure("google", latency=3000)
    slow = world.connect_many("gsc", 12)
    quick = world.connect("strict")
    workers = [threading.Thread(target=world.refresh, args=(item,)) for item in slow]
    for worker in workers:
        worker.start()
    eventually(lambda: sum(world.grant(item)["under_way"] for item in slow) == 8)

    result = world.refresh(quick)

    assert result.outcome is Outcome.REFRESHED
    assert any(worker.is_alive() for worker in workers)
    for worker in workers:
        worker.join(30)
    assert sum(world.presented(item) for item in slow) == 8
    assert sorted(world.row(item)["version"] for item in slow) == [1] * 4 + [2] * 8


def test_a_rate_is_shared_and_kept_without_redis(world: World, closed_url: str) -> None:
    """Two a second for all processes together; with Redis away each keeps to it alone."""
    more = f"""
[providers.strict2]
display_name = "Strict too"
grant = "refresh_token"
token_url = "{world.simulator.base_url}/strict/token"
rotation = "single_use"
replay_window = 0
max_requests_per_second = 2
"""
    names = {
        "EVERGRANT_STRICT2_CLIENT_ID": "sim-strict-client",
        "EVERGRANT_STRICT2_CLIENT_SECRET": "sim-strict-secret",
    }
    both = [world.wire(more=more, environment=names) for _ in range(2)]
    world.services = both[0]
    many = world.connect_many("strict", 16, as_provider="strict2")
    codes = [world.refresh(item, services=both[number % 2]).code for number, item in enumerate(many)]
    assert "rate" in codes

    alone = world.wire(more=more, environment=names, redis_url=closed_url.replace("http", "redis"))
    eventually(lambda: world.refresh(many[-1], services=alone).outcome is not Outcome.DEFERRED, seconds=10)

    assert world.sim.incidents() == []
    assert world.sim.report()["dialects"]["strict"]["reuse"] == 0


def test_a_few_that_go_on_failing_stop_nobody_else(world: World) -> None:
    """Two connections whose calls fail again and again open no breaker, however often that is."""
    failing = world.connect_many("gsc", 2)
    for connected in failing:
        world.sim.fault("status", dialect="google", status=503, grant_id=connected.grant.grant_id, count=None)
    for _ in range(6):
        for connected in failing:
            world.refresh(connected)
        world.pass_time(timedelta(hours=1), *failing)

    assert [world.row(connected)["failures"] for connected in failing] == [6, 6]
    assert world.holds() == []
    assert world.refresh(world.connect("gsc")).outcome is Outcome.REFRESHED
