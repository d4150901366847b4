"""A running HTTP face: its callers with a key, and everything that can be asked afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final
from uuid import uuid4

import httpx2

from tests.acceptance.deployment import Deployment, Running
from tests.api.browser import Browser
from tests.support.waiting import eventually
from workers.supervision.ports import free_port

ADMIN_KEY: Final = "admin-key-of-the-tests-4711"
APP: Final = "https://app.example.com"


@dataclass
class World:
    """One `evergrant api` process on a database of its own."""

    deployment: Deployment
    port: int
    running: Running
    api: httpx2.Client

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return self.running.said()

    def link(self, provider_id: str, user: str, **more: str) -> str:
        """Ask for a connect link."""
        answer = self.api.get(f"/oauth/{provider_id}/connect", params={"user_id": user, **more})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["connect_url"])

    def connect(self, provider_id: str, user: str, *, account: str = "alice", **more: str) -> str:
        """Connect an account as a person does, and give the connection's id."""
        with Browser() as browser:
            answer = browser.consent(self.link(provider_id, user, **more), **{"as": account})
        assert answer.status_code == 200, answer.text
        return str(self.connections(user)[-1]["id"])

    def connections(self, user: str) -> list[dict[str, Any]]:
        """Give a user's connections with their tokens' rows, the oldest first."""
        return self.rows(
            "SELECT c.id::text, c.provider_id, c.account_id, c.scope, c.metadata, t.status, t.version,"
            " t.grant_id::text, t.refreshable, t.expires_at, t.refresh_due_at,"
            " t.refresh_token IS NOT NULL AS kept"
            "  FROM connections c JOIN tokens t ON t.connection_id = c.id WHERE c.user_id = %s"
            " ORDER BY c.created_at",
            user,
        )

    def activity(self, user: str) -> list[tuple[str, str | None]]:
        """Give kind and code of what happened to a user's connections and attempts, oldest first."""
        rows = self.rows(
            "SELECT kind, code FROM activity WHERE detail->>'user_id' = %s"
            " OR connection_id IN (SELECT id FROM connections WHERE user_id = %s) ORDER BY id",
            user,
            user,
        )
        return [(row["kind"], row["code"]) for row in rows]

    def alerts(self, connection_id: str) -> list[tuple[str, str]]:
        rows = self.rows(
            "SELECT kind, status FROM alerts WHERE connection_id = %s ORDER BY first_seen_at", connection_id
        )
        return [(row["kind"], row["status"]) for row in rows]

    def rows(self, statement: str, *values: object) -> list[dict[str, Any]]:
        wrapped = f"SELECT to_jsonb(r) FROM ({statement}) r"  # noqa: S608 - tests' own words
        found = self.deployment.query(wrapped, *values)
        return [row for (row,) in found]

    def change(self, statement: str, *values: object) -> None:
        """Bend rows behind the service's back; the statement returns something."""
        self.deployment.query(statement, *values)


def start(deployment: Deployment, **environment: str) -> World:
    """Start an HTTP face, and wait until it is ready."""
    port = free_port()
    deployment.environment |= {
        "EVERGRANT_ADMIN_API_KEY": ADMIN_KEY,
        # Libraries say the most then; none of it may be a secret.
        "EVERGRANT_LOG_LEVEL": "debug",
        "EVERGRANT_REDIRECT_ALLOWLIST": f"{APP},http://localhost:3000",
        **environment,
    }
    running = deployment.start(f"api-{uuid4().hex[:6]}", "api", "--port", str(port))
    client = httpx2.Client(
        base_url=f"http://127.0.0.1:{port}", headers={"Authorization": f"Bearer {ADMIN_KEY}"}, timeout=60
    )

    def ready() -> bool:
        assert running.process.poll() is None, running.said()
        try:
            return client.get("/readyz").status_code == 200
        except httpx2.TransportError:
            return False

    eventually(ready, what="the HTTP face is ready")
    return World(deployment, port, running, client)
