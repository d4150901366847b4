"""The forecast on the command line: told in `connections show`, and by imports that know more."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from simulator.process import SimulatorProcess
from tests.acceptance.deployment import import_line
from tests.cli.conftest import Shell

pytestmark = [pytest.mark.acceptance, pytest.mark.servers]


def test_show_tells_when_a_grant_will_die(deployed: Shell, simulator: SimulatorProcess) -> None:
    """An import that says when the user consented and when the refresh token dies: so does `show`, in words
    and as JSON. Of a grant that dies of idleness alone it says that refreshing moves that."""
    mortal, idle = simulator.client.mint("google", 2)
    now = datetime.now(UTC)
    consented, dies = now - timedelta(days=300), now + timedelta(days=65)
    known = {"connected_at": consented.isoformat(), "refresh_expires_at": dies.isoformat()}
    lines = import_line(mortal, "gsc", user_id="mortal", **known) + import_line(idle, "gsc", user_id="idle")
    assert deployed("connections", "import", "-", stdin=lines).returncode == 0
    ids = {row["user_id"]: row["id"] for row in deployed.json("connections", "list")}

    (shown,) = deployed.json("connections", "show", ids["mortal"])
    said = {user: deployed("connections", "show", ids[user]).stdout for user in ids}

    assert datetime.fromisoformat(shown["connected_at"]) == consented
    assert datetime.fromisoformat(shown["forecast"]["at"]) == dies
    assert shown["forecast"]["of"] == "told_by_provider"
    assert shown["forecast"]["life"] == pytest.approx(timedelta(days=365).total_seconds(), abs=1)
    assert "forecast  ends " in said["mortal"]
    assert "unless" not in said["mortal"]
    assert "(idle) unless it is refreshed, which moves it" in said["idle"]
    assert "will_die" not in json.dumps(deployed.json("alerts", "list"))


@pytest.mark.parametrize("field", ["connected_at", "refresh_expires_at"])
def test_an_instant_that_is_none_is_named(deployed: Shell, simulator: SimulatorProcess, field: str) -> None:
    (grant,) = simulator.client.mint("google", 1)

    done = deployed("connections", "import", "-", stdin=import_line(grant, "gsc", **{field: "yesterday"}))

    assert done.returncode == 1
    assert f"{field}: must be ISO 8601 with an offset" in done.stderr + done.stdout
