"""Workers may die and Redis may forget at any time: one deployment through SIGKILL, FLUSHALL, SIGTERM.

The three overlap, because what a lost lease costs is mostly waiting. Each has connections of its own, and
each test asks what became of those.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import redis

from simulator.client import MintedGrant
from tests.acceptance.conftest import Deploy
from tests.acceptance.deployment import Deployment
from tests.support.waiting import eventually

pytestmark = [pytest.mark.acceptance, pytest.mark.servers]

#: Longer than what a noisy machine may lose between the look at what is under way and the signal.
SLOW_MS = 3000
#: Old enough to be due within seconds, young enough to live for longer than a lost message is missed.
MIDDLE_AGED = (48, 52)


@dataclass
class Trouble:
    """What happened to whom. Grants by id; counts as they were when the trouble was over.

    Attributes:
        struck: Their presentation was under way when the worker was killed, and nobody has the answer.
        flushed: Their messages waited in Redis when it was flushed.
        asked: Their presentation was under way when the worker was asked to stop.
    """

    deployment: Deployment
    grants: list[str] = field(default_factory=list)
    struck: dict[str, int] = field(default_factory=dict)
    flushed: set[str] = field(default_factory=set)
    asked: set[str] = field(default_factory=set)
    exit_status: int | None = None
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)

    def slow_down(self, milliseconds: float) -> None:
        for dialect in ("google", "strict"):
            self.deployment.simulator.configure(dialect, latency=milliseconds)

    def under_way(self, grants: Sequence[MintedGrant]) -> list[str]:
        show = self.deployment.simulator.grant
        return [grant.grant_id for grant in grants if show(grant.grant_id)["under_way"]]

    def connect(self, **counts: int) -> list[MintedGrant]:
        grants = self.deployment.connect(counts, first_lifetime=MIDDLE_AGED)
        self.grants += [grant.grant_id for grant in grants]
        return grants

    def kill(self) -> None:
        """SIGKILL a worker while presentations of both kinds are under way."""
        self.slow_down(SLOW_MS)
        doomed = self.deployment.bulk("doomed", threads=16)
        self.deployment.await_alive(doomed)
        grants = self.connect(gsc=12, strict=12)

        def both_kinds() -> bool:
            return {name.partition("-")[0] for name in self.under_way(grants)} == {"google", "strict"}

        eventually(both_kinds, what="presentations of both kinds are under way")
        doomed.kill_group()
        self.slow_down(0)
        # The provider goes on with what it had begun; the answers reach nobody.
        eventually(lambda: not self.under_way(grants), what="the provider has finished")
        for name, version in self.deployment.versions().items():
            presentations = self.deployment.simulator.grant(name)["presentations"]
            if version == 1 and presentations:
                self.struck[name] = presentations
        assert {name.partition("-")[0] for name in self.struck} == {"google", "strict"}, "nothing was lost"

    def flush(self) -> None:
        """FLUSHALL while due tokens wait in a queue that nobody reads."""
        grants = self.connect(gsc=8, wix=8, strict=8)
        with redis.Redis.from_url(self.deployment.redis_url) as client:
            ids = {grant.grant_id for grant in grants}
            eventually(lambda: self._marked() >= ids, what="every token is marked")
            eventually(lambda: client.llen("refresh") >= len(ids), what="every message waits in the queue")
            client.flushall()
        self.flushed = ids

    def _marked(self) -> set[str]:
        """Give the grants whose tokens are marked as published."""
        rows = self.deployment.query(
            "SELECT c.metadata->>'grant_id' FROM connections c JOIN tokens t ON t.connection_id = c.id "
            "WHERE t.refresh_enqueued_until > now()"
        )
        return {name for (name,) in rows}

    def ask_to_stop(self) -> None:
        """SIGTERM a worker while presentations are under way."""
        self.slow_down(SLOW_MS)
        grants = self.connect(gsc=8, strict=8)
        worker = self.deployment.bulk("asked-to-stop", threads=16)
        self.deployment.await_alive(worker)
        eventually(lambda: len(self.under_way(grants)) >= 6, what="presentations are under way")
        self.asked = set(self.under_way(grants))
        self.exit_status = worker.end(signal.SIGTERM)
        self.slow_down(0)

    def unsettled(self) -> list[tuple[Any, ...]]:
        """Give the connections that were neither refreshed nor said to need a person."""
        return self.deployment.query(
            "SELECT c.metadata->>'grant_id', t.version, t.status, t.presented_at, t.lease_until "
            "FROM connections c JOIN tokens t ON t.connection_id = c.id "
            "WHERE NOT ((t.version > 1 AND t.status = 'active') OR t.status = 'needs_reauth')"
        )


@pytest.fixture(scope="module")
def trouble(deploy: Deploy) -> Iterator[Trouble]:
    with deploy(lifetime=(100, 120)) as deployment:
        trouble = Trouble(deployment)
        deployment.beat()
        deployment.await_alive(deployment.interactive())
        trouble.kill()
        trouble.flush()
        trouble.ask_to_stop()
        deployment.await_alive(deployment.bulk("replacement", threads=16))
        eventually(lambda: not trouble.unsettled(), seconds=150, what="every grant is settled")
        trouble.rows = {row["metadata"]["grant_id"]: row for row in deployment.rows("connections")}
        yield trouble


def test_unrotated_grants_survive_the_kill(trouble: Trouble) -> None:
    """A killed presentation of a grant that does not rotate is repeated, and the grant lives."""
    rows = trouble.rows
    for name in trouble.struck:
        if name.startswith("google"):
            grant = trouble.deployment.simulator.grant(name)
            assert (rows[name]["status"], grant["alive"]) == ("active", True)
            assert grant["presentations"] > trouble.struck[name]


def test_a_doubt_about_a_rotated_grant_is_presented_once_more_at_most(trouble: Trouble) -> None:
    """The provider had rotated, the answer is lost: one attempt, then an alert that says what happened."""
    deployment = trouble.deployment
    rows = trouble.rows
    alerts = {alert["connection_id"]: alert for alert in deployment.rows("alerts")}
    strict = [name for name in trouble.struck if name.startswith("strict")]
    for name in strict:
        assert deployment.simulator.grant(name)["presentations"] == trouble.struck[name] + 1
        assert (rows[name]["status"], rows[name]["reauth_reason"]) == (
            "needs_reauth",
            "rotation_probably_lost",
        )
        assert "probably lost" in alerts[rows[name]["id"]]["title"]

    assert set(alerts) == {rows[name]["id"] for name in strict}, "an alert for a grant that lives"
    assert deployment.report()["grants"]["dead"] == {"reuse": len(strict)}


def test_recovery_waits_until_the_provider_has_settled(trouble: Trouble) -> None:
    """Between a doubtful presentation and the next lie the lease and the settling time."""
    for name in trouble.struck:
        history = trouble.deployment.simulator.grant(name)["history"]
        lost, again = history[trouble.struck[name] - 1 :][:2]
        # Forty seconds of lease from the claim, which came a moment before the request arrived, and thirty
        # in which the provider settles.
        assert again["started_at"] - lost["started_at"] > 65, history


def test_what_the_flush_took_is_enqueued_again_and_presented_once(trouble: Trouble) -> None:
    """Every flushed token is refreshed all the same, each by one presentation."""
    for name in trouble.flushed:
        grant = trouble.deployment.simulator.grant(name)
        assert [item["result"] for item in grant["history"]][:1] == ["refreshed"], grant
        assert not any(item["concurrent"] for item in grant["history"])
        assert grant["alive"]
    assert len(trouble.flushed) == 24


def test_a_worker_that_is_asked_to_stop_finishes_what_it_began(trouble: Trouble) -> None:
    """SIGTERM under load ends with status 0; what was under way has landed, and nothing is in doubt by it."""
    rows = trouble.deployment.query(
        "SELECT c.metadata->>'grant_id' FROM activity a JOIN connections c ON c.id = a.connection_id "
        "WHERE a.kind = 'in_doubt'"
    )
    doubted = {name for (name,) in rows}

    assert trouble.exit_status == 0
    assert len(trouble.asked) >= 6
    assert not doubted & trouble.asked
    # Whatever was in doubt at all was claimed by the worker that was killed.
    assert set(trouble.struck) <= doubted
    assert {trouble.rows[name]["status"] for name in trouble.asked} == {"active"}


def test_nobody_was_presented_twice_at_once(trouble: Trouble) -> None:
    """By the provider's own count there was no concurrent presentation in the whole trouble."""
    assert trouble.deployment.report()["concurrent_presentations"] == 0


def test_the_workers_of_before_the_flush_still_serve(trouble: Trouble) -> None:
    """The interactive worker, which was connected before, takes and answers on-demand work and inspection."""
    deployment = trouble.deployment
    connection_id = trouble.rows[min(trouble.flushed)]["id"]
    answer = json.loads(deployment.cli("refresh", connection_id, "--wait"))
    assert answer["outcome"] in {"fresh", "refreshed"}
    findings = json.loads(deployment.cli("doctor", "--json"))
    wrong = [finding for finding in findings if finding["severity"] == "fail"]
    assert wrong == []
    assert {finding["subject"] for finding in findings} >= {
        "settings", "providers", "keys", "flower", "postgres", "schema", "key", "provider", "redis", "queues",
        "worker", "beat",
    }  # fmt: skip
