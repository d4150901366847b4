"""A crowd for one token, and a provider that hangs: neither keeps the others from being served."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pytest
from celery import Celery
from celery.result import AsyncResult
from redis import Redis

from simulator.client import MintedGrant
from tests.acceptance.asking import REFRESH
from tests.acceptance.conftest import Deploy
from tests.acceptance.deployment import Deployment, import_line
from tests.support.waiting import eventually

pytestmark = [pytest.mark.acceptance, pytest.mark.servers]

CROWD: Final = 120
THREADS: Final = 8


@pytest.fixture
def deployment(deploy: Deploy) -> Iterator[Deployment]:
    with deploy(lifetime=(3600, 3600)) as deployment:
        yield deployment


@pytest.fixture
def client(deployment: Deployment) -> Iterator[Celery]:
    """Another team's, which knows nothing of us but Redis."""
    app = Celery("another-team", broker=deployment.redis_url, backend=deployment.redis_url)
    yield app
    app.close()


def send(client: Celery, connection_id: str) -> AsyncResult:
    return client.send_task(
        REFRESH, kwargs={"connection_id": connection_id}, queue="on_demand", ignore_result=False
    )


def stale(deployment: Deployment, provider_id: str, dialect: str) -> tuple[str, MintedGrant]:
    """Import a connection whose token has half a minute to live; its id, and its grant."""
    user = f"of-{provider_id}"
    (grant,) = deployment.simulator.mint(
        dialect, 1, owner=deployment.owner, user=user, lifetime=3600, first_lifetime=30
    )
    deployment.cli("connections", "import", "-", stdin=import_line(grant, provider_id))
    ((connection_id,),) = deployment.query("SELECT id::text FROM connections WHERE user_id = %s", user)
    return str(connection_id), grant


def test_a_crowd_for_one_token_keeps_no_threads(deployment: Deployment, client: Celery) -> None:
    """Many callers over two workers of four threads want the token of a provider that takes twelve
    seconds. All of them have been taken from the queue, and a caller for another token is served, before the
    one presentation ends; it serves them all.
    """
    deployment.simulator.configure("strict", latency=12_000)
    wanted, grant = stale(deployment, "strict", "strict")
    other, _ = stale(deployment, "gsc", "google")
    deployment.await_alive(
        *(deployment.worker(f"interactive-{number}", "on_demand", threads=4) for number in (1, 2))
    )

    crowd = [send(client, wanted) for _ in range(CROWD)]
    with Redis.from_url(deployment.redis_url) as queues:
        eventually(lambda: queues.llen("on_demand") == 0, what="all callers are taken from the queue")
    bystander = send(client, other).get(timeout=30)
    under_way = deployment.simulator.grant(grant.grant_id)["under_way"]
    results = [one.get(timeout=60) for one in crowd]

    assert (bystander["outcome"], under_way) == ("refreshed", 1)
    assert sorted(result["outcome"] for result in results) == ["fresh"] * (CROWD - 1) + ["refreshed"]
    assert {(result["version"], result["connection_id"]) for result in results} == {(2, wanted)}
    shown = deployment.simulator.grant(grant.grant_id)
    assert (shown["presentations"], shown["alive"]) == (1, True)


def test_a_provider_that_hangs_holds_no_more_than_its_share(deployment: Deployment) -> None:
    """Of one worker's eight threads it gets half at the most; meanwhile all that is due of another provider
    is refreshed, although its tokens wait in the same queue.
    """
    simulator = deployment.simulator
    simulator.configure("google", latency=14_000)
    deployment.connect({"gsc": 40}, first_lifetime=(300, 400))
    deployment.connect({"strict": 40}, first_lifetime=(300, 400))
    held: list[int] = []

    def all_of_the_other_are_refreshed() -> bool:
        held.append(simulator.report()["dialects"]["google"]["under_way"])
        return deployment.query(
            "SELECT count(*) FROM tokens WHERE provider_id = 'strict' AND version > 1"
        ) == [(40,)]

    deployment.await_alive(deployment.worker("control", "control", threads=4))
    deployment.await_alive(deployment.bulk(threads=THREADS))
    deployment.beat()
    eventually(lambda: simulator.report()["dialects"]["google"]["under_way"] > 0, what="the first one hangs")
    eventually(all_of_the_other_are_refreshed)

    assert max(held) <= THREADS // 2
    assert held[-1] > 0, "the provider had answered by then"
    rows = deployment.query("SELECT DISTINCT status FROM tokens WHERE provider_id = 'strict'")
    assert rows == [("active",)]
