"""A disconnect while a worker is frozen in the middle of a presentation, with whole processes."""

from __future__ import annotations

import signal

import pytest

from tests.acceptance.conftest import Deploy
from tests.support.waiting import eventually

pytestmark = [pytest.mark.acceptance, pytest.mark.servers]


def test_what_a_frozen_worker_brings_is_revoked_by_another(deploy: Deploy) -> None:
    """SIGSTOP before the answer, disconnect, SIGCONT: nothing is stored, and the outbox is emptied by beat's
    tick through the answer's own token, since the disconnect's revocations never reached the provider."""
    with deploy(lifetime=(600, 600)) as deployment:
        simulator = deployment.simulator
        simulator.configure("strict", latency=2500)
        (grant,) = deployment.connect({"strict": 1})
        frozen, interactive = deployment.bulk("frozen"), deployment.interactive()
        deployment.await_alive(frozen, interactive)
        beat = deployment.beat()
        deployment.query("UPDATE tokens SET refresh_due_at = now() RETURNING version")
        eventually(lambda: simulator.grant(grant.grant_id)["under_way"], what="it is being presented")
        frozen.process.send_signal(signal.SIGSTOP)
        beat.end(signal.SIGKILL)
        eventually(lambda: simulator.grant(grant.grant_id)["generation"] == 1, what="it was rotated")
        # The lease is over as far as anybody else can tell.
        deployment.query("UPDATE tokens SET lease_until = now() - interval '1 second' RETURNING version")
        simulator.configure("strict", latency=0)
        simulator.fault("drop_before", endpoint="revoke", dialect="strict", count=2)
        (row,) = deployment.rows("connections")

        said = deployment.cli("connections", "disconnect", row["id"])
        lost = deployment.query("DELETE FROM pending_revocations RETURNING why")
        frozen.process.send_signal(signal.SIGCONT)

        assert "erased here, and not revoked yet" in said
        assert lost == [("disconnected",)] * 2
        (left,) = eventually(
            lambda: deployment.query("SELECT why, token_kind FROM pending_revocations"), what="it is queued"
        )
        assert left == ("late_answer", "refresh_token")
        assert simulator.grant(grant.grant_id)["alive"]
        deployment.beat("beat-again")
        eventually(lambda: not simulator.grant(grant.grant_id)["alive"], what="it is revoked")
        eventually(lambda: not deployment.query("SELECT 1 FROM pending_revocations"), what="it is erased")
        assert simulator.grant(grant.grant_id)["dead_reason"] == "revoked_by_client"
        stored = "SELECT status, access_token, refresh_token FROM tokens"
        assert deployment.query(stored) == [("disconnected", None, None)]
        assert deployment.query("SELECT 1 FROM spare_tokens") == []
        kinds = deployment.query("SELECT kind FROM activity ORDER BY id")
        assert [kind for (kind,) in kinds] == ["imported", "disconnected", "answer_dropped", "revoked"]
        assert all("sim-rt-" not in log and "sim-at-" not in log for log in deployment.logs().values())
