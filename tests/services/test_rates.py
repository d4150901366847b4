"""Request rates: of a provider, and of each account where it counts so, shared by all workers."""

from __future__ import annotations

import contextlib
import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Final

import pytest
from pydantic import SecretStr
from redis import Redis

from domain.asks import Outcome
from services.admission import ACCOUNT_RATE, Admission
from services.crowding import Crowding
from services.providers import ReadyProvider
from services.rates import LONGEST_WAIT, PAUSE_AFTER_SILENCE, SharedRates
from services.scheduling import Work
from services.slots import Slots
from services.wiring import Services
from tests.services.test_scheduling import Queue, a_scheduler
from tests.services.world import DEMANDED, SCHEDULED, Connected, World, line_of
from tests.support.waiting import eventually

pytestmark = pytest.mark.servers

ACCOUNTS: Final = """
[providers.accounts]
display_name = "Accounts"
grant = "refresh_token"
token_url = "{url}/strict/token"
rotation = "single_use"
replay_window = 0
max_requests_per_second = 20
max_requests_per_second_per_account = 0.05
[providers.accounts.check]
url = "{url}/strict/userinfo"
"""
BUSY: Final = "busy@example.org"


@pytest.fixture
def services(world: World) -> Services:
    world.services = world.wire(
        more=ACCOUNTS.format(url=world.simulator.base_url),
        environment={
            "EVERGRANT_ACCOUNTS_CLIENT_ID": "sim-strict-client",
            "EVERGRANT_ACCOUNTS_CLIENT_SECRET": "sim-strict-secret",
        },
    )
    return world.services


def connect(world: World, *accounts: str) -> list[Connected]:
    """One connection of each of these accounts, due."""
    grants = world.sim.mint("strict", len(accounts), owner=world.owner)
    users = [f"{number}-of-{account or 'nobody'}" for number, account in enumerate(accounts)]
    report, rejected = world.import_lines(
        line_of(grant, user, "accounts", account)
        for grant, user, account in zip(grants, users, accounts, strict=True)
    )
    assert report.outcomes == {"created": len(accounts)}, rejected
    made = []
    for grant, user, account in zip(grants, users, accounts, strict=True):
        connection_id = world.services.tokens.find(user, "accounts", account)
        assert connection_id is not None
        made.append(Connected(connection_id, "accounts", grant))
    world.update("refresh_due_at = now() - interval '1 second'", *made)
    return made


def test_an_account_has_a_rate_of_its_own(world: World, services: Services) -> None:
    """Three a minute for each, whichever process asks; the others of the provider are not denied."""
    busy = connect(world, *[BUSY] * 5)
    others = connect(world, "quiet@example.org", "")

    asked = [world.refresh(one, services=each) for one, each in zip(busy, _processes(world), strict=True)]

    assert [result.outcome for result in asked] == [Outcome.REFRESHED] * 3 + [Outcome.DEFERRED] * 2
    assert {result.code for result in asked[3:]} == {ACCOUNT_RATE}
    assert [world.presented(one) for one in busy] == [1, 1, 1, 0, 0]
    assert [world.refresh(one).outcome for one in others] == [Outcome.REFRESHED] * 2


def _processes(world: World) -> list[Services]:
    """Two processes' services, in turns."""
    other = world.wire(
        more=ACCOUNTS.format(url=world.simulator.base_url),
        environment={
            "EVERGRANT_ACCOUNTS_CLIENT_ID": "sim-strict-client",
            "EVERGRANT_ACCOUNTS_CLIENT_SECRET": "sim-strict-secret",
        },
    )
    return [world.services, other] * 2 + [world.services]


def test_a_busy_account_takes_nothing_of_what_all_have(world: World, services: Services) -> None:
    """Its own rate is looked at before the provider's is counted."""
    taken: list[str] = []

    class Counted(SharedRates):
        def take(self, scope: str, per_second: float) -> bool:
            taken.append(scope)
            return super().take(scope, per_second)

    admission = Admission(services.checks._admission.breakers, Counted(SecretStr(world.redis_url)), Slots(8))
    provider = services.desk.ready("accounts")
    assert isinstance(provider, ReadyProvider)
    scope = replace(provider.scope, account="someone")

    for _ in range(5):
        with admission.admit(scope):
            pass

    assert taken == [scope.pace, f"{scope.pace}|someone"] * 3


def test_who_is_denied_is_put_off_one_after_the_other(world: World, services: Services) -> None:
    """No slot is held, the row stays due with its turn, and each waits a turn longer than the one before."""
    busy = connect(world, *[BUSY] * 6)
    for one in busy[:3]:
        world.refresh(one)

    # Callers who ask again and again stand in no line.
    asked = world.refresh(busy[5], DEMANDED, patience=timedelta(seconds=0.5))
    assert (asked.outcome, asked.code) == (Outcome.DEFERRED, ACCOUNT_RATE)
    for one in busy[3:]:
        assert world.refresh(one).code == ACCOUNT_RATE

    waits = []
    for one in busy[3:]:
        row = world.row(one)
        assert (row["status"], row["lease_until"], row["failures"]) == ("active", None, 0)
        assert row["refresh_due_at"] < row["now"]
        waits.append((row["refresh_enqueued_until"] - row["now"]).total_seconds())
    assert waits == pytest.approx([20, 40, 60], abs=5)


def test_a_caller_hears_when_the_account_has_room_again(world: World, services: Services) -> None:
    """At three a minute, "soon" would have him ask for nothing; and he does not wait for it in one of the few
    places, which callers for other accounts need."""
    busy = connect(world, *[BUSY] * 4)
    for one in busy[:3]:
        world.refresh(one)
    slept: list[float] = []
    services.refresh._sleep = slept.append

    asked = world.refresh(busy[3], DEMANDED, patience=timedelta(seconds=2))

    assert slept == []

    assert (asked.outcome, asked.code) == (Outcome.DEFERRED, ACCOUNT_RATE)
    assert asked.retry_at is not None
    assert (asked.retry_at - world.row(busy[3])["now"]).total_seconds() == pytest.approx(20, abs=5)


def test_a_busy_account_starves_nobody_of_its_provider(world: World, services: Services) -> None:
    """Its two hundred tokens have been due for longest; all others are refreshed before a minute of its own
    rate is over, although each tick publishes no more than the provider's rate."""
    busy = connect(world, *[BUSY] * 200)
    others = connect(world, *(f"other-{number}" for number in range(20)))
    world.update("refresh_due_at = now() - interval '10 minutes'", *busy)
    scheduler = a_scheduler(services)
    ticks = iter(range(10_000))
    scheduler._clock = lambda: float(next(ticks))

    def one_tick() -> bool:
        queue = Queue()
        scheduler.tick(Work.REFRESH, queue)
        with ThreadPoolExecutor(8) as pool:
            list(
                pool.map(
                    lambda due: services.refresh.refresh(
                        due.connection_id, SCHEDULED, provider_id="accounts"
                    ),
                    queue.published,
                )
            )
        return all(world.row(one)["version"] > 1 for one in others)

    eventually(one_tick, seconds=50)

    assert sum(world.presented(one) for one in busy) <= 6


def test_what_was_put_off_makes_room_for_what_is_behind_it(world: World, services: Services) -> None:
    """A tick may hand out twice as many more as were put off since the last: they used none of the rate."""
    connect(world, *(f"account-{number}" for number in range(60)))
    provider = services.desk.ready("accounts")
    assert isinstance(provider, ReadyProvider)
    scheduler = a_scheduler(services)
    ticks = iter(range(10))
    scheduler._clock = lambda: float(next(ticks))

    def handed_out() -> int:
        scheduler.tick(Work.REFRESH, queue := Queue())
        return len(queue.published)

    assert handed_out() == 20
    worker = Crowding(SecretStr(world.redis_url))
    for _ in range(5):
        worker._tell_at = 0.0
        worker.put_off(provider.scope)
    worker.close()
    assert handed_out() == 30
    assert handed_out() == 10


def test_checks_of_an_account_have_its_rate_as_well(world: World, services: Services) -> None:
    """Counted apart from its refreshes: another host."""
    busy = connect(world, *[BUSY] * 4)

    asked = [world.check(one) for one in busy]

    assert [result.code for result in asked] == [None] * 3 + [ACCOUNT_RATE]
    row = world.row(busy[3])
    assert row["check_enqueued_until"] > row["now"]
    assert world.refresh(busy[3]).outcome is Outcome.REFRESHED


def test_no_key_in_redis_tells_an_account(world: World, services: Services) -> None:
    """Nor does a digest that anybody could make out of a list of addresses."""
    (busy,) = connect(world, BUSY)
    world.refresh(busy)

    with Redis.from_url(world.redis_url) as redis:
        keys = b"\n".join(redis.keys("*"))

    provider = services.desk.ready("accounts")
    assert isinstance(provider, ReadyProvider)
    name = provider.account_of(account_id=BUSY, tenant=None, connection_id=busy.id)
    assert name.encode() in keys
    assert BUSY.encode() not in keys
    assert b"example" not in keys


def test_a_turn_comes_at_the_rate_and_never_too_late(redis_url: str) -> None:
    """Places in one line for all processes; nobody is sent away for longer than five minutes."""
    rates = [SharedRates(SecretStr(redis_url)) for _ in range(2)]

    turns = [rates[number % 2].turn("someone", 2.0) for number in range(4)]

    assert turns == [timedelta(seconds=seconds) for seconds in (0.5, 1.0, 1.5, 2.0)]
    assert rates[0].turn("another", 0.001) == LONGEST_WAIT


def test_without_redis_a_process_counts_alone(closed_url: str) -> None:
    rates = SharedRates(SecretStr(closed_url.replace("http://", "redis://") + "/0"))

    taken = [rates.has_room("someone", 0.05) and rates.take("someone", 0.05) for _ in range(5)]

    assert taken == [True] * 3 + [False] * 2
    assert rates.turn("someone", 1.0) == timedelta(seconds=1)


def test_a_redis_that_does_not_answer_is_waited_for_once() -> None:
    """Not at each of the questions of each admission; after a pause it is asked again."""
    now = 0.0
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.setblocking(False)
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        rates = SharedRates(SecretStr(url), clock=lambda: now)

        answers = [rates.has_room("someone", 0.05) and rates.take("someone", 0.05) for _ in range(4)]
        rates.turn("someone", 1.0)

        assert answers == [True] * 3 + [False]
        assert _callers(silent) == 1
        now = PAUSE_AFTER_SILENCE
        rates.has_room("someone", 0.05)
        assert _callers(silent) == 1


def _callers(server: socket.socket) -> int:
    """How many connections were made since the last time."""
    number = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            server.accept()[0].close()
            number += 1
    return number
