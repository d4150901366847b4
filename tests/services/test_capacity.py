"""The capacity alert: one while workers do not keep up, none for what more workers would not help."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

import pytest

from domain.asks import Outcome
from domain.capacity import Standing
from domain.shortage import OVER_AFTER, TOLD_AFTER
from services.capacity import CapacityWatch
from services.wiring import Services
from storage.load import LoadStore, ProviderLoad
from storage.tokens.due import NO_TENANTS, HeldTenants
from tests.services.test_scheduling import LIMITED
from tests.services.world import Connected, World

pytestmark = pytest.mark.servers

EVERY: Final = timedelta(seconds=10)


class Later(LoadStore):
    """What Postgres says, at a time that goes on by `EVERY` from read to read. Nothing gets later by it."""

    passed = timedelta(0)

    def read(
        self, provider_ids: Sequence[str], *, held: HeldTenants = NO_TENANTS
    ) -> tuple[datetime, list[ProviderLoad]]:
        at, loads = super().read(provider_ids, held=held)
        passed, self.passed = self.passed, self.passed + EVERY
        return at + passed, [
            replace(
                load,
                oldest=load.oldest and load.oldest + passed,
                newest=load.newest and load.newest + passed,
            )
            for load in loads
        ]


def a_watch(services: Services) -> CapacityWatch:
    admission = services.checks._admission
    return CapacityWatch(Later(services.engine), services.alerts, services.desk, admission, services.guard)


def looks(watch: CapacityWatch, lasting: timedelta) -> list[Standing]:
    """Look for so long, and a moment longer."""
    return [watch.watch() for _ in range(int(lasting / EVERY) + 2)]


def overload(world: World, provider_id: str = "gsc", *, services: Services | None = None) -> list[Connected]:
    """More become due than are refreshed: 2 a second, and at most 1; the oldest is 40 s late."""
    as_provider = "limited" if services else None
    tokens = world.connect_many(provider_id, 205, as_provider=as_provider)
    done, late, coming = tokens[:5], tokens[5:85], tokens[85:]
    for token in done:
        assert world.refresh(token, services=services).outcome is Outcome.REFRESHED
    world.update("refresh_due_at = now() - interval '40 seconds'", *late)
    world.update("refresh_due_at = now() + interval '30 seconds' * (1 + random() * 0.9)", *coming)
    return late + coming


def test_an_overload_is_told_once_with_its_arithmetic_and_ends_by_itself(world: World) -> None:
    """Told after a minute, renewed while it lasts, resolved half a minute after nothing is late."""
    waiting = overload(world)
    watch = a_watch(world.services)

    assert set(looks(watch, TOLD_AFTER - EVERY * 2)) == {Standing.SHORT}
    assert world.alerts() == []
    looks(watch, EVERY * 4)

    (alert,) = world.alerts()
    assert (alert["kind"], alert["cause"], alert["severity"]) == (
        "capacity", "deployment:capacity", "critical",
    )  # fmt: skip
    assert alert["count"] > 1
    detail = alert["detail"]
    assert (detail["overdue"], detail["overdue_is_exact"], detail["expired"]) == (80, True, 0)
    assert detail["due_per_second"] == pytest.approx(2.0, abs=0.2)
    assert 0 < detail["done_per_second"] <= 1.0
    assert detail["oldest_late_seconds"] >= 40
    assert detail["first_expires_in_seconds"] > 0
    for words in (
        "80 tokens are overdue",
        "the first expires in",
        "`evergrant worker --queues refresh,health`",
    ):
        assert words in alert["help"]

    world.update("refresh_due_at = now() + interval '1 hour'", *waiting)
    assert set(looks(watch, OVER_AFTER - EVERY * 2)) == {Standing.ON_TIME}
    assert len(world.alerts()) == 1
    looks(watch, EVERY * 3)

    assert world.alerts() == []
    assert [what for what, _ in world.events()] == ["opened", "resolved"]


def test_the_words_tell_how_many_workers_are_missing(world: World) -> None:
    """Each process that holds a lease of a due token is a worker; what one does is what all do, divided."""
    waiting = overload(world)
    for number in range(3):
        world.claim(waiting[number])
    world.update("lease_owner = 'another'", waiting[0])
    watch = a_watch(world.services)

    looks(watch, TOLD_AFTER)

    (alert,) = world.alerts()
    missing = alert["detail"]["workers_missing"]
    assert alert["detail"]["workers"] == 2
    assert alert["detail"]["overdue"] == 77
    assert missing >= 1
    assert f"EVERGRANT_BULK_WORKERS={2 + missing}" in alert["help"]


def test_whoever_looks_can_take_it_back(world: World) -> None:
    """A process that was started since, and has never seen the shortage, resolves its alert."""
    waiting = overload(world)
    looks(a_watch(world.services), TOLD_AFTER)
    assert world.alert_kinds() == ["capacity"]
    world.update("refresh_due_at = now() + interval '1 hour'", *waiting)

    looks(a_watch(world.wire()), OVER_AFTER)

    assert world.alerts() == []


def test_two_at_once_open_one(world: World) -> None:
    """Any number of control workers look at once; people hear of it once."""
    overload(world)
    watches = [a_watch(services) for services in (world.services, world.wire(), world.wire())]

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda watch: looks(watch, TOLD_AFTER), watches))

    assert world.alert_kinds() == ["capacity"]
    assert [what for what, _ in world.events()] == ["opened"]


def test_nobody_at_work_is_told(world: World) -> None:
    """Without any worker the words say to start one."""
    tokens = world.connect_many("gsc", 30)
    world.update("refresh_due_at = now() - interval '40 seconds'", *tokens)

    looks(a_watch(world.services), TOLD_AFTER)

    (alert,) = world.alerts()
    assert alert["title"] == "No worker refreshes tokens, and 30 are overdue"
    assert "No bulk worker is seen at work" in alert["help"]


def test_a_restarts_backlog_that_drains_opens_none(world: World) -> None:
    """An hour late and expired, and gone within minutes at the rate at which it is being refreshed."""
    tokens = world.connect_many("gsc", 120)
    for token in tokens[:10]:
        world.refresh(token)
    world.update(
        "refresh_due_at = now() - interval '1 hour', expires_at = now() - interval '45 minutes'", *tokens[10:]
    )

    assert set(looks(a_watch(world.services), TOLD_AFTER * 2)) == {Standing.CATCHING_UP}

    assert world.alerts() == []


def test_a_held_provider_is_no_matter_of_capacity(world: World) -> None:
    """While its breaker is open its backlog counts for nothing, and an open alert ends."""
    waiting = overload(world)
    watch = a_watch(world.services)
    looks(watch, TOLD_AFTER)
    assert world.alert_kinds() == ["capacity"]
    world.sim.fault("status", dialect="google", status=429, retry_after=300)
    world.refresh(waiting[0])
    assert len(world.holds()) == 1

    assert set(looks(watch, TOLD_AFTER * 2)) == {Standing.ON_TIME}

    assert "capacity" not in world.alert_kinds()


def test_a_tenant_that_is_held_counts_for_nothing(world: World) -> None:
    """The backlog of the others does."""
    waiting = overload(world)
    world.update("tenant = 'held.example'", *waiting)
    store = LoadStore(world.services.engine)

    _, (at_all,) = store.read(["gsc"])
    _, (without,) = store.read(["gsc"], held={("gsc", "held.example"): 0})

    assert (at_all.overdue, without.overdue, without.due_per_second) == (80, 0, 0.0)


def test_a_providers_own_rate_is_no_matter_of_capacity(world: World) -> None:
    """It gets what its definition allows: no worker could do more for it."""
    services = world.wire(
        more="[providers.limited]\n"
        + LIMITED.format(url=world.simulator.base_url).replace("second = 3", "second = 0.5"),
        environment={
            "EVERGRANT_LIMITED_CLIENT_ID": "sim-strict-client",
            "EVERGRANT_LIMITED_CLIENT_SECRET": "sim-strict-secret",
        },
    )
    world.services = services
    tokens = world.connect_many("strict", 200, as_provider="limited")
    # As many attempts as a rate of 0.5 allows in the 60 seconds that are looked at.
    world.rows(
        "INSERT INTO activity (at, connection_id, provider_id, kind)"
        " SELECT now() - make_interval(secs => 2 * n), gen_random_uuid(), 'limited', 'refreshed'"
        "   FROM generate_series(1, 28) AS n RETURNING id"
    )
    world.update("refresh_due_at = now() - interval '1 hour'", *tokens)

    assert set(looks(a_watch(services), TOLD_AFTER)) == {Standing.ON_TIME}

    assert world.alerts() == []


def test_a_quiet_deployment_opens_none(world: World) -> None:
    """Nothing stored, then tokens that are fresh, then a handful that is late while others are refreshed."""
    watch = a_watch(world.services)
    assert set(looks(watch, TOLD_AFTER)) == {Standing.ON_TIME}

    tokens = world.connect_many("gsc", 30)
    world.update("refresh_due_at = now() + interval '50 minutes'", *tokens)
    assert set(looks(watch, TOLD_AFTER)) == {Standing.ON_TIME}
    world.update("refresh_due_at = now() - interval '1 hour'", *tokens[:6])
    assert world.refresh(tokens[5]).outcome is Outcome.REFRESHED
    assert set(looks(watch, TOLD_AFTER)) == {Standing.ON_TIME}

    assert world.alerts() == []


def test_a_handful_that_nobody_refreshes_is_told(world: World) -> None:
    """All workers of a small deployment are dead: nobody else would ever say so."""
    tokens = world.connect_many("gsc", 3)
    world.update("refresh_due_at = now() - interval '10 minutes'", *tokens)
    watch = a_watch(world.services)

    looks(watch, TOLD_AFTER)

    (alert,) = world.alerts()
    assert alert["title"] == "No worker refreshes tokens, and 3 are overdue"
    for token in tokens:
        assert world.refresh(token).outcome is Outcome.REFRESHED
    looks(watch, OVER_AFTER + EVERY)
    assert world.alerts() == []


def test_a_clock_that_is_set_back_leaves_no_alert_behind(world: World) -> None:
    """Postgres fails over to a server whose clock is an hour behind, and nothing is late any more."""
    waiting = overload(world)
    watch = a_watch(world.services)
    looks(watch, TOLD_AFTER)
    assert world.alert_kinds() == ["capacity"]

    store = watch._store
    assert isinstance(store, Later)
    world.update("refresh_due_at = now() + interval '1 hour'", *waiting)
    store.passed = -timedelta(hours=1)
    looks(watch, OVER_AFTER)

    assert world.alerts() == []
