"""`evergrant incidents`: breakers and waves in one list, and an operator's ruling on a wave."""

from __future__ import annotations

from collections.abc import Callable
from uuid import uuid4

import psycopg
import pytest

from simulator.process import SimulatorProcess
from tests.acceptance.deployment import import_line
from tests.cli.conftest import Shell

pytestmark = [pytest.mark.acceptance, pytest.mark.servers]

FIELDS = {
    "id", "kind", "status", "scope", "provider_id", "tenant", "reason", "opened_at", "ended_at", "held_until",
    "presented", "refused",
}  # fmt: skip
Wave = Callable[[], str]


@pytest.fixture
def wave(deployed: Shell, simulator: SimulatorProcess) -> Wave:
    """Opens a wave among three connections, as workers do, and returns its id."""
    scope = f"sim-strict-client|{simulator.base_url}/strict/token"

    def open_wave() -> str:
        hold_id = str(uuid4())
        grants = simulator.client.mint("strict", 3)
        lines = [import_line(grant, "strict", user_id=f"user-{grant.grant_id}") for grant in grants]
        assert deployed("connections", "import", "-", stdin="".join(lines)).returncode == 0
        with psycopg.connect(deployed.environment["EVERGRANT_DATABASE_URL"]) as connection:
            connection.execute(
                "INSERT INTO verdict_holds (id, scope, provider_id, presented, refused)"
                " VALUES (%s, %s, 'strict', 7, 5)",
                (hold_id, scope),
            )
            connection.execute(
                "UPDATE tokens SET refused_at = now() - interval '1 minute', failures = 3,"
                " refresh_due_at = now() + interval '1 hour', not_before = now() + interval '1 hour'"
                " WHERE refused_at IS NULL"
            )
        return hold_id

    return open_wave


def test_all_incidents_are_in_one_list(deployed: Shell, wave: Wave) -> None:
    """An open breaker and an open wave, for scripts and for people."""
    hold_id = wave()
    with psycopg.connect(deployed.environment["EVERGRANT_DATABASE_URL"]) as connection:
        connection.execute(
            "INSERT INTO provider_holds (scope, provider_id, reason, held_until, opened_at)"
            " VALUES ('c|https://x', 'gsc', 'client_misconfigured', now() + interval '1 minute', now())"
        )

    breaker, waved = deployed.json("incidents", "list")

    assert set(breaker) == set(waved) == FIELDS
    assert (breaker["kind"], breaker["reason"], breaker["status"]) == (
        "breaker", "client_misconfigured", "open",
    )  # fmt: skip
    assert (waved["id"], waved["kind"], waved["presented"], waved["refused"]) == (
        hold_id, "verdict_hold", 7, 5,
    )  # fmt: skip
    said = deployed("incidents", "list")
    assert (said.returncode, hold_id in said.stdout, breaker["id"] in said.stdout) == (0, True, True)
    for word in ("confirm", "dismiss"):
        refused = deployed("incidents", word, breaker["id"])
        assert (refused.returncode, refused.stdout) == (1, "")
        assert "breaker" in refused.stderr
        assert "closes by itself" in refused.stderr


def test_a_wave_is_confirmed_once(deployed: Shell, wave: Wave) -> None:
    """The refused need their users now, each with its alert; a second ruling is told that it is over."""
    hold_id = wave()

    done = deployed("incidents", "confirm", hold_id)

    assert (done.returncode, "3 connections" in done.stdout) == (0, True), done.stderr
    assert {row["status"] for row in deployed.json("connections", "list")} == {"needs_reauth"}
    assert [alert["cause"].split(":")[2] for alert in deployed.json("alerts", "list")] == ["needs_reauth"] * 3
    assert deployed.json("incidents", "list") == []
    assert [row["status"] for row in deployed.json("incidents", "list", "--all")] == ["confirmed"]
    for word in ("confirm", "dismiss"):
        again = deployed("incidents", word, hold_id)
        assert (again.returncode, again.stdout) == (1, "")
        assert "ended as confirmed" in again.stderr


def test_a_wave_is_dismissed(deployed: Shell, wave: Wave) -> None:
    """The refused are due at once and nobody is dead."""
    hold_id = wave()

    done = deployed("incidents", "dismiss", hold_id)

    assert (done.returncode, "3 connections" in done.stdout) == (0, True), done.stderr
    assert {row["status"] for row in deployed.json("connections", "list")} == {"active"}
    assert deployed.json("alerts", "list") == []
    assert [row["status"] for row in deployed.json("incidents", "list", "--all")] == ["dismissed"]
    with psycopg.connect(deployed.environment["EVERGRANT_DATABASE_URL"]) as connection:
        waiting = connection.execute(
            "SELECT count(*) FROM tokens WHERE greatest(refresh_due_at, not_before) > now() + interval '1 s'"
        ).fetchone()
    assert waiting == (0,)


def test_a_ruling_needs_to_know_whom_it_is_about(deployed: Shell, wave: Wave) -> None:
    """In a shell without the app's client id nothing is ruled, and the variable is named."""
    hold_id = wave()
    stranger = deployed.having(EVERGRANT_STRICT_CLIENT_ID=None, EVERGRANT_STRICT_CLIENT_SECRET=None)

    for word in ("confirm", "dismiss"):
        refused = stranger("incidents", word, hold_id)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert "EVERGRANT_STRICT_CLIENT_ID" in refused.stderr
    assert [row["status"] for row in deployed.json("incidents", "list")] == ["open"]
