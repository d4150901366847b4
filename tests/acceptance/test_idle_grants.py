"""Grants that die of idleness, with access tokens that live far longer: kept alive by real processes."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from tests.acceptance.conftest import Deploy
from tests.acceptance.deployment import import_line
from tests.acceptance.provider_file import client_secret

pytestmark = [pytest.mark.acceptance, pytest.mark.servers]

IDLE_SECONDS: Final = 16
LAZY: Final = f"""
[providers.lazy]
display_name = "Lazy"
grant = "refresh_token"
token_url = "{{url}}/strict/token"
access_token_lifetime = 3600
refresh_token_idle_lifetime = {IDLE_SECONDS}
rotation = "single_use"
replay_window = 0
"""


def test_idle_grants_are_exercised_in_time(deploy: Deploy) -> None:
    """Their provider ends what is not used for sixteen seconds; after several times that all of them live,
    each used no more often than its idleness asks, and nobody was told anything."""
    with deploy(lifetime=(3600, 3600)) as deployment:
        simulator = deployment.simulator
        simulator.configure("strict", idle_life=IDLE_SECONDS)
        file = Path(deployment.environment["EVERGRANT_PROVIDERS_FILE"])
        file.write_text(file.read_text() + LAZY.format(url=simulator.base_url), encoding="utf-8")
        deployment.environment |= {
            "EVERGRANT_LAZY_CLIENT_ID": "sim-strict-client",
            "EVERGRANT_LAZY_CLIENT_SECRET": client_secret("strict"),
        }
        deployment.await_alive(deployment.bulk(), deployment.interactive())
        deployment.beat()
        grants = simulator.mint("strict", 12, owner=deployment.owner, lifetime=3600)
        lines = [import_line(grant, "lazy", user_id=f"idler-{n}") for n, grant in enumerate(grants)]
        deployment.cli("connections", "import", "-", stdin="".join(lines))

        deployment.await_versions(6, [grant.grant_id for grant in grants])

        report = deployment.report()
        assert report["grants"]["dead"] == {}
        assert report["rejected"] == {}
        assert deployment.rows("alerts") == []
        lives = {life["grant_id"]: life for life in simulator.lives(owner=deployment.owner)}
        for grant in grants:
            life = lives[grant.grant_id]
            lived = life["used_at"] - life["minted_at"]
            assert life["presentations"] <= lived / (IDLE_SECONDS / 2) + 1
