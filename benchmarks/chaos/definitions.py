"""The three kinds of provider of a campaign: their definitions, our apps there, and import lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from benchmarks.chaos.plan import Dose
from benchmarks.chaos.wire_faults import DIALECTS
from simulator.client import MintedGrant, SimulatorClient

#: How the figures call the kinds.
KIND_OF: Final = {"gsc": "no rotation", "window": "rotation with a replay window", "strict": "single use"}

_DEFINITIONS: Final = """\
[providers.gsc]
token_url = "{url}/google/token"
revoke_url = "{url}/google/revoke"
access_token_lifetime = {lifetime}
[providers.gsc.check]
url = "{url}/google/webmasters/v3/sites"
interval = 300

[providers.window]
display_name = "Window"
grant = "refresh_token"
token_url = "{url}/window/token"
revoke_url = "{url}/window/revoke"
access_token_lifetime = {lifetime}
rotation = "single_use"
replay_window = {window}
[providers.window.check]
url = "{url}/window/userinfo"
interval = 300

[providers.strict]
display_name = "Strict"
grant = "refresh_token"
token_url = "{url}/strict/token"
revoke_url = "{url}/strict/revoke"
access_token_lifetime = {lifetime}
rotation = "single_use"
replay_window = 0
[providers.strict.check]
url = "{url}/strict/userinfo"
interval = 300
"""


def write_definitions(file: Path, simulator_url: str, dose: Dose) -> None:
    """Write the providers file."""
    lifetime = round(sum(dose.lifetime) / 2)
    file.write_text(
        _DEFINITIONS.format(url=simulator_url, lifetime=lifetime, window=dose.replay_window), encoding="utf-8"
    )


def client_variables() -> dict[str, str]:
    """Return the environment variables of our apps at the simulator."""
    variables = {}
    for provider, dialect in DIALECTS.items():
        prefix = f"EVERGRANT_{provider.upper()}"
        variables[f"{prefix}_CLIENT_ID"] = f"sim-{dialect}-client"
        variables[f"{prefix}_CLIENT_SECRET"] = f"sim-{dialect}-secret"
    return variables


def configure(simulator: SimulatorClient, dose: Dose) -> None:
    """Set the simulated providers' latency and replay window."""
    p50, p99 = dose.latency_ms
    for dialect in DIALECTS.values():
        simulator.configure(dialect, latency={"p50": p50, "p99": p99}, check_latency=p50)
    simulator.configure("window", window=dose.replay_window)


def import_line(grant: MintedGrant, provider: str, user: str) -> str:
    """Write a minted grant as a line of the import format."""
    line = {
        "user_id": user,
        "provider_id": provider,
        "account_id": "",
        "access_token": grant.access_token,
        "refresh_token": grant.refresh_token,
        "expires_at": grant.expires_at,
        "scope": grant.scope,
        "metadata": {**grant.metadata, "grant_id": grant.grant_id},
    }
    return json.dumps(line) + "\n"
