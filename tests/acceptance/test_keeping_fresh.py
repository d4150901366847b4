"""Beat → one task a token → workers: sixty short-lived connections over all dialects, kept fresh.

One run serves the whole module: first one beat and one bulk worker, then two of each, with Flower and every
command to Redis watched. The tests then ask both sides what happened.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from simulator.client import MintedGrant
from tests.acceptance.conftest import Deploy
from tests.acceptance.deployment import FLOWER_SIGN_IN, Deployment
from tests.acceptance.flower_pages import FlowerVisit
from tests.acceptance.leaks import Wiretap, database_as_bytes, leaks, redis_as_bytes
from tests.acceptance.processes import command_lines
from tests.acceptance.provider_file import DIALECTS, client_secret
from tests.support.waiting import eventually
from workers.embedded.postgres import EmbeddedPostgres
from workers.embedded.redis import EmbeddedRedis

pytestmark = [pytest.mark.acceptance, pytest.mark.servers]

COUNTS = {"gsc": 10, "bing": 10, "wordpress": 6, "wix": 8, "wix-app": 8, "wix-legacy": 6, "strict": 12}
#: One grant of each of these is revoked by its user in the middle of the run.
REVOKED = ("gsc", "bing", "wordpress", "wix", "strict")


@dataclass
class Run:
    """What the run left to be asked."""

    deployment: Deployment
    grants: list[MintedGrant]
    revoked: set[str]
    alone: dict[str, Any]
    twice: dict[str, Any] = field(default_factory=dict)
    connections: list[dict[str, Any]] = field(default_factory=list)
    alerts: list[dict[str, Any]] = field(default_factory=list)
    heard: bytes = b""

    @property
    def refreshable(self) -> set[str]:
        return {grant.grant_id for grant in self.grants if grant.dialect != "wordpress"}


@pytest.fixture(scope="module")
def run(deploy: Deploy) -> Iterator[Run]:
    with deploy(lifetime=(15, 20), check_every=8) as deployment, Wiretap(deployment.redis_url) as wiretap:
        deployment.flower()
        deployment.beat()
        deployment.await_alive(deployment.bulk(), deployment.interactive())
        grants = deployment.connect(COUNTS, first_lifetime=(10, 20))
        run = Run(deployment, grants, set(), {})
        deployment.await_versions(3, run.refreshable)
        run.alone = deployment.report()

        second = deployment.bulk("bulk-2")
        deployment.beat("beat-2")
        deployment.await_alive(second)
        for provider_id in REVOKED:
            doomed = next(grant for grant in grants if grant.dialect == DIALECTS[provider_id])
            deployment.simulator.revoke([doomed.grant_id])
            run.revoked.add(doomed.grant_id)
        deployment.await_versions(5, run.refreshable - run.revoked)
        eventually(
            lambda: deployment.query("SELECT count(*) FROM alerts")[0][0] >= len(REVOKED),
            what="the revoked ones' alerts",
        )
        run.twice = deployment.report()
        run.connections, run.alerts = deployment.rows("connections"), deployment.rows("alerts")
        run.heard = wiretap.heard
        yield run


def assert_kept_fresh(report: dict[str, Any]) -> None:
    __tracebackhide__ = True
    names = ("lapses", "concurrent_presentations", "reuse", "window_replays", "expired_token_uses")
    assert {name: report[name] for name in names} == dict.fromkeys(names, 0)


def test_one_beat_and_one_worker_keep_every_token_fresh(run: Run) -> None:
    """By the provider's count no access token lapsed, and no refresh token was presented twice."""
    assert_kept_fresh(run.alone)
    assert run.alone["refreshed"] >= 2 * len(run.refreshable)
    assert run.alone["rejected"] == {}
    assert run.alone["grants"]["expired_now"] == 0


def test_two_beats_and_two_workers_do_no_harm(run: Run) -> None:
    """With everything doubled it is the same, and nobody refreshes more than the schedule asks."""
    assert_kept_fresh(run.twice)
    assert run.twice["grants"]["dead"] == {"revoked": len(REVOKED)}
    # A token of at least 15 s is due after at least half its life: two beats must not make that four a life.
    at, began = run.deployment.query("SELECT max(at), min(at) FROM activity WHERE kind = 'refreshed'")[0]
    most = ((at - began).total_seconds() / 7.5 + 2) * len(run.refreshable)
    assert run.twice["refreshed"] <= most


def test_both_workers_took_their_part(run: Run) -> None:
    """The second worker is no decoration: both have refreshed tokens."""
    logs = run.deployment.logs()

    assert {name: "token_refreshed" in logs[name] for name in ("bulk", "bulk-2")} == {
        "bulk": True,
        "bulk-2": True,
    }


def test_the_revoked_ones_alert_and_nobody_else(run: Run) -> None:
    """Exactly one open alert a revoked grant, counted and critical enough to say what to do, and no other."""
    grant_of = {row["id"]: row["metadata"]["grant_id"] for row in run.connections}

    assert sorted(grant_of[alert["connection_id"]] for alert in run.alerts) == sorted(run.revoked)
    assert {alert["status"] for alert in run.alerts} == {"open"}
    assert all(alert["title"] and alert["help"] and alert["count"] >= 1 for alert in run.alerts)


def test_only_the_revoked_ones_need_a_person(run: Run) -> None:
    """Every other connection is active, and what has an expiry is fresh."""
    waiting = {
        row["metadata"]["grant_id"]: row["status"] for row in run.connections if row["status"] != "active"
    }

    assert waiting == dict.fromkeys(run.revoked, "needs_reauth")


def test_nothing_went_wrong_in_silence(run: Run) -> None:
    """No process wrote a traceback, an error or a broken line."""
    for name, said in run.deployment.logs().items():
        for word in ("Traceback", '"level": "error"', '"level": "critical"', "never awaited"):
            assert word not in said, f"{word} in the log of {name}: {said[said.index(word) - 500 :][:3000]}"


def test_flower_asks_who_comes(run: Run) -> None:
    """Every page and every call without a sign-in is refused; only the health check and metrics are open."""
    visit = FlowerVisit(run.deployment.flower_url)
    paths = [*visit.PAGES, *visit.CALLS]

    assert {path: visit.status(path) for path in paths} == dict.fromkeys(paths, 401)
    assert visit.status("/tasks", sign_in="operator:wrong") == 401


def test_flower_shows_the_tasks_by_name(run: Run) -> None:
    """With the sign-in, the per-token tasks, the ticks and all workers are there by name."""
    visit = FlowerVisit(run.deployment.flower_url, FLOWER_SIGN_IN)
    tasks = visit.json("/api/tasks?limit=5000")
    workers = visit.json("/api/workers?refresh=true")

    names = {task["name"] for task in tasks.values()}
    assert {"evergrant.refresh_token", "evergrant.check_token", "evergrant.schedule_refreshes"} <= names
    refreshed = [task for task in tasks.values() if task["name"] == "evergrant.refresh_token"]
    ids = {row["id"] for row in run.connections}
    assert all(any(known in task["kwargs"] for known in ids) for task in refreshed)
    assert {name.partition("@")[0] for name in workers} == {"bulk", "bulk-2", "interactive"}


@pytest.mark.parametrize(
    "call",
    [
        "/api/worker/shutdown/{worker}",
        "/api/worker/pool/shrink/{worker}",
        "/api/worker/queue/cancel-consumer/{worker}?queue=refresh",
        "/api/task/async-apply/evergrant.housekeeping",
        "/api/task/send-task/evergrant.housekeeping",
        "/api/task/revoke/{task}?terminate=true",
    ],
)
def test_flower_only_reads(run: Run, call: str) -> None:
    """Whatever would change something is refused even with the sign-in."""
    visit = FlowerVisit(run.deployment.flower_url, FLOWER_SIGN_IN)
    worker = next(iter(visit.json("/api/workers?refresh=true")))
    task = next(iter(visit.json("/api/tasks?limit=1")))

    assert visit.post(call.format(worker=worker, task=task)) == 403


def test_no_secret_is_anywhere(
    run: Run, postgres_server: EmbeddedPostgres, redis_server: EmbeddedRedis
) -> None:
    """Logs, everything sent to Redis, every row, every page of Flower and every command line: no token, no
    client secret, no key, no password."""
    deployment = run.deployment
    visit = FlowerVisit(deployment.flower_url, FLOWER_SIGN_IN)
    places = {f"log of {name}": said.encode() for name, said in deployment.logs().items()}
    places |= {f"Flower's {path}": content for path, content in visit.everything().items()}
    places["Redis"] = redis_as_bytes(deployment.redis_url)
    places["commands to Redis"] = run.heard
    places["Postgres"] = database_as_bytes(deployment.database_url)
    places["command lines"] = command_lines()
    _, _, key = deployment.keys.partition(":")
    needles = {
        "access token": b"sim-at-",
        "refresh token": b"sim-rt-",
        **{f"secret of {dialect}": client_secret(dialect).encode() for dialect in DIALECTS.values()},
        "key, encoded": key.encode(),
        "key": base64.b64decode(key),
        "Postgres' password": password_in(postgres_server.url),
        "Redis' password": password_in(redis_server.url),
        "Flower's password": FLOWER_SIGN_IN.partition(":")[2].encode(),
    }

    assert all(places.values()), [name for name, content in places.items() if not content]
    # What should be there is there: the search has looked at the real thing.
    a_connection = run.connections[0]["id"].encode()
    assert "connection in Postgres" in leaks(places, {"connection": a_connection})
    assert "task in commands to Redis" in leaks(places, {"task": b"evergrant.refresh_token"})
    assert leaks(places, needles) == []


def password_in(url: str) -> bytes:
    return url.partition("://")[2].rpartition("@")[0].partition(":")[2].encode()
