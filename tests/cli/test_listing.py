"""What is listed: JSON of the contract's fields for scripts, tables for people, and no secret in either."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from uuid import UUID

import pytest
from pydantic import SecretStr

from simulator.process import SimulatorProcess
from storage.alerts import AlertSpec, AlertStore
from storage.engine import make_engine
from storage.keys import KeyRing
from tests.acceptance.deployment import import_line
from tests.cli.conftest import Shell

pytestmark = [pytest.mark.acceptance, pytest.mark.servers]

CONNECTION = {
    "id", "user_id", "provider_id", "account_id", "status", "expires_at", "version", "last_refreshed_at",
    "last_verified_at", "last_used_at",
}  # fmt: skip
ALERT = {
    "id", "cause", "severity", "status", "count", "first_seen_at", "last_seen_at", "provider_id",
    "connection_id", "title", "help",
}  # fmt: skip
PROVIDER = {
    "id", "display_name", "grant", "rotation", "replay_window", "configured", "capabilities", "sources",
}  # fmt: skip


def test_connections_are_listed_and_shown(deployed: Shell, simulator: SimulatorProcess) -> None:
    """JSON has the contract's fields and aware instants; filters filter; a table serves people; `show` tells
    what happened; no output holds a token."""
    lines = [
        import_line(simulator.client.mint(dialect, 1)[0], provider_id, user_id=user_id)
        for user_id, provider_id, dialect in (("ann", "gsc", "google"), ("ann", "wordpress", "wordpress"),
                                              ("bob", "strict", "strict"))
    ]  # fmt: skip
    assert deployed("connections", "import", "-", stdin="".join(lines)).returncode == 0
    rows = deployed.json("connections", "list")

    assert len(rows) == 3
    for row in rows:
        assert set(row) >= CONNECTION
        assert row["status"] == "active"
        assert row["last_refreshed_at"] is row["last_verified_at"] is row["last_used_at"] is None
        assert UUID(row["id"])
        assert row["version"] == 1
        if row["provider_id"] == "wordpress":
            assert row["expires_at"] is None
        else:
            assert datetime.fromisoformat(row["expires_at"]).utcoffset() == timedelta(0)
    assert [row["user_id"] for row in deployed.json("connections", "list", "--user-id", "bob")] == ["bob"]
    shown = deployed.json("connections", "show", rows[0]["id"])
    assert set(shown[0]) >= CONNECTION | {"activity"}
    for token in ("sim-at-", "sim-rt-"):
        assert token not in json.dumps([rows, shown])
    for words in (("list",), ("show", rows[0]["id"])):
        done = deployed("connections", *words)
        assert rows[0]["id"] in done.stdout
        assert done.stderr == ""
        assert "sim-at-" not in done.stdout
        assert "sim-rt-" not in done.stdout


def test_alerts_are_listed_and_acknowledged(deployed: Shell) -> None:
    """An open alert is listed with the contract's fields; taking it changes its status, once."""
    engine = make_engine(deployed.environment["EVERGRANT_DATABASE_URL"], pool_size=1)
    spec = AlertSpec("cause", "kind", "warning", "Something is [wrong]", "Do [this].", "gsc")
    for _ in range(3):
        AlertStore(engine).open(spec)
    engine.dispose()
    alert = deployed.json("alerts", "list")[0]

    assert set(alert) >= ALERT
    assert (alert["status"], alert["count"], alert["severity"]) == ("open", 3, "warning")
    said = deployed("alerts", "list").stdout
    assert "Something is [wrong]" in said, "a title is no markup"
    assert alert["id"] in said
    assert deployed("alerts", "ack", alert["id"]).returncode == 0
    assert deployed.json("alerts", "list")[0]["status"] == "acknowledged"
    again = deployed("alerts", "ack", alert["id"])
    assert (again.returncode, again.stdout) == (1, "")


def test_providers_are_listed(nowhere: Shell) -> None:
    """Without any server; Wix headless needs no secret to count as configured, and half a pair is not one."""
    shell = nowhere.having(
        EVERGRANT_GSC_CLIENT_ID="id", EVERGRANT_GSC_CLIENT_SECRET="s3cret-value",
        EVERGRANT_BING_CLIENT_ID="id", EVERGRANT_WIX_CLIENT_ID="id",
    )  # fmt: skip
    rows = {row["id"]: row for row in shell.json("providers", "list")}

    assert set(rows) >= {"gsc", "bing", "wordpress", "wix", "wix-app", "wix-legacy"}
    for row in rows.values():
        assert set(row) >= PROVIDER
        assert row["sources"]
        assert row["grant"] in {"refresh_token", "client_credentials", "none"}
    configured = {name for name, row in rows.items() if row["configured"]}
    assert configured == {"gsc", "wix"}
    assert "s3cret-value" not in json.dumps(list(rows.values()))


def test_nothing_to_list_is_an_empty_array(deployed: Shell) -> None:
    """`[]` for scripts; for people a word on standard error, where it is not taken for data."""
    for what in ("connections", "alerts", "incidents"):
        assert deployed.json(what, "list") == []
    done = deployed("connections", "list")
    assert done.returncode == 0
    assert done.stdout == ""
    assert "no connection" in done.stderr


def test_a_generated_key_ring_can_be_used(nowhere: Shell) -> None:
    """`evergrant keys generate` writes a ring of one key on standard output, a new one every time."""
    first, second = (nowhere("keys", "generate").stdout.strip() for _ in range(2))

    both = KeyRing.parse(SecretStr(f"{first},{second}"))
    assert len(both.ids) == 2
