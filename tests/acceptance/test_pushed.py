"""What a provider pushes reaches the tokens while whole processes keep them."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from services.settings import Settings
from services.wiring import Servers, Services, wire
from tests.acceptance.conftest import Deploy
from tests.acceptance.deployment import Deployment
from tests.pushing.receiver import CLIENT, serving
from tests.support.waiting import eventually

pytestmark = [pytest.mark.acceptance, pytest.mark.servers]

_EVENTS = """
[providers.gsc.events]
issuer = "{url}/google/"
jwks_url = "{url}/google/oauth2/v3/certs"
"""


def receiver_of(deployment: Deployment) -> Services:
    """Wire one more process of the deployment, which hears the simulator."""
    environment = deployment.environment
    file = Path(environment["EVERGRANT_PROVIDERS_FILE"])
    heard = file.with_name("heard.toml")
    events = _EVENTS.format(url=deployment.simulator.base_url)
    heard.write_text(file.read_text("utf-8") + events, encoding="utf-8")
    servers = Servers(
        SecretStr(environment["EVERGRANT_DATABASE_URL"]),
        SecretStr(environment["EVERGRANT_REDIS_URL"]),
        SecretStr(environment["EVERGRANT_KEYS"]),
    )
    settings = Settings(providers_file=heard, data_dir=deployment.folder / "receiver")
    return wire(settings, servers, environment, role="receiver", threads=4)


def test_a_grant_that_ended_sessions_hit_is_judged_by_the_workers(deploy: Deploy) -> None:
    """sessions-revoked about two accounts: the grant that lives goes on with a new token, and the one that
    the provider has ended needs a person, hours before either was due."""
    with deploy(lifetime=(36000, 36000)) as deployment:
        simulator = deployment.simulator
        alive, dead = deployment.connect({"gsc": 2})
        for account, grant in (("sub-1", alive), ("sub-2", dead)):
            deployment.query(
                "UPDATE connections SET account_id = %s, connected_at = now() - interval '9 days'"
                " WHERE metadata->>'grant_id' = %s RETURNING id",
                account,
                grant.grant_id,
            )
        bulk, control = deployment.bulk(), deployment.worker("control", "control", threads=1)
        deployment.await_alive(bulk, control)
        deployment.beat()
        simulator.revoke([dead.grant_id])
        services = receiver_of(deployment)
        try:
            with serving(services) as url:
                for account in ("sub-1", "sub-2"):
                    heard = simulator.push(
                        f"{url}/oauth/gsc/events",
                        audience=CLIENT,
                        issuer=f"{simulator.base_url}/google/",
                        events={"sessions-revoked": {}},
                        sub=account,
                    )
                    assert heard["status"] == 202
                by_account = (
                    "SELECT account_id, status, reauth_reason, t.version FROM tokens t"
                    " JOIN connections c ON c.id = t.connection_id ORDER BY account_id"
                )
                states = eventually(
                    lambda: _settled(deployment.query(by_account)), what="both were asked about"
                )
        finally:
            services.close()

        assert states == [("sub-1", "active", None, 2), ("sub-2", "needs_reauth", "grant_rejected", 1)]
        assert simulator.grant(alive.grant_id)["alive"]


def _settled(states: list[tuple[object, ...]]) -> list[tuple[object, ...]]:
    (_, _, _, version), (_, status, _, _) = states
    return states if version == 2 and status == "needs_reauth" else []
