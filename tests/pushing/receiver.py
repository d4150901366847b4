"""Providers that push, and a real HTTP server that receives."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection
from typing import Any, Final

import uvicorn
from fastapi import FastAPI

from api.events import router
from services.wiring import Services
from tests.services.world import Connected, World, line_of
from tests.support.waiting import eventually

#: `gsc` and `gsc-too` hear the same issuer, which is the simulator; `hooked` is a plain webhook's.
PUSHING: Final = """
[providers.gsc.events]
issuer = "{url}/google/"
jwks_url = "{url}/google/oauth2/v3/certs"

[providers.gsc-too]
display_name = "Google too"
grant = "refresh_token"
token_url = "{url}/google/token"
rotation = "none"
[providers.gsc-too.events]
kind = "security_event_token"
issuer = "{url}/google/"
jwks_url = "{url}/google/oauth2/v3/certs"

[providers.hooked]
display_name = "Hooked"
grant = "refresh_token"
token_url = "{url}/strict/token"
rotation = "single_use"
replay_window = 0
[providers.hooked.events]
kind = "webhook"
signature = {{ header = "X-Signature", prefix = "sha256=" }}
topic = [{{ member = "type" }}]
id = {{ member = "id" }}
account = {{ member = "account" }}
at = {{ member = "at" }}
topics = {{ gone = "revoked", maybe = "look", hello = "challenge" }}
challenge = {{ value = "challenge", echo_as = "challenge" }}
"""
SECRET: Final = "made-up webhook secret"
APPS: Final = {
    "EVERGRANT_GSC_TOO_CLIENT_ID": "another-client",
    "EVERGRANT_GSC_TOO_CLIENT_SECRET": "made up",
    "EVERGRANT_HOOKED_CLIENT_ID": "sim-strict-client",
    "EVERGRANT_HOOKED_CLIENT_SECRET": "sim-strict-secret",
    "EVERGRANT_HOOKED_WEBHOOK_SECRET": SECRET,
}
CLIENT: Final = "sim-google-client"


@contextmanager
def serving(services: Services) -> Iterator[str]:
    """Serve the route with these services; gives the server's URL."""
    app = FastAPI()
    app.include_router(router(lambda _request: services.events))
    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", lifespan="off")
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        eventually(lambda: server.started, seconds=30)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)


class Receiver:
    """A world whose providers push to a server of ours."""

    def __init__(self, world: World, services: Services, url: str) -> None:
        self.world, self.services, self.url = world, services, url

    @property
    def issuer(self) -> str:
        return f"{self.world.simulator.base_url}/google/"

    def again(self, *, keys: str | None = None, jwks: str | None = None) -> Services:
        """Wire another process that knows the same providers, or whose issuers' keys are elsewhere."""
        return pushing(self.world, keys=keys, jwks=jwks)

    @contextmanager
    def at(self, services: Services) -> Iterator[None]:
        """Receive with another process' services for a while."""
        with serving(services) as url:
            self.url, before = url, self.url
            yield
            self.url = before

    def connect(self, account_id: str, *, provider_id: str = "gsc", age: str = "3 days") -> Connected:
        """Import a grant of the account, as if it had been connected some time ago."""
        dialect = "google" if provider_id != "hooked" else "strict"
        (grant,) = self.world.sim.mint(dialect, owner=self.world.owner)
        self.world._users += 1
        user = f"user-{self.world._users}"
        report, rejected = self.world.import_lines(
            [line_of(grant, user, provider_id, account_id)], services=self.services
        )
        assert report.outcomes == {"created": 1}, rejected
        found = self.services.tokens.find(user, provider_id, account_id)
        assert found is not None
        made = Connected(found, provider_id, grant)
        self.connected_ago(made, age)
        return made

    def connected_ago(self, connected: Connected, age: str) -> None:
        self.world.rows(
            "UPDATE connections SET connected_at = clock_timestamp() - %s::interval"
            " WHERE id = %s RETURNING id",
            age,
            connected.id,
        )

    def push(
        self, events: Mapping[str, object], *, to: str = "gsc", url: str | None = None, **order: object
    ) -> Any:
        """Let the simulator sign and push; returns what it heard."""
        asked: dict[str, object] = {"audience": CLIENT, "issuer": self.issuer, "events": events, **order}
        return self.world.sim.push(f"{url or self.url}/oauth/{to}/events", **asked)

    def revoke(self, account_id: str, **order: Any) -> Any:
        return self.push({"tokens-revoked": {}}, sub=account_id, **order)

    def hook(self, secret: str = SECRET, **message: object) -> tuple[int, str]:
        """Send a webhook of `hooked`."""
        body = json.dumps(message).encode()
        signature = hmac.digest(secret.encode(), body, hashlib.sha256).hex()
        return self.post("hooked", body, {"X-Signature": f"sha256={signature}"})

    def post(self, provider_id: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, str]:
        connection = HTTPConnection(self.url.removeprefix("http://"), timeout=30)
        try:
            connection.request("POST", f"/oauth/{provider_id}/events", body, dict(headers))
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def state(self, connected: Connected) -> tuple[str, str | None]:
        row = self.world.row(connected)
        return row["status"], row["reauth_reason"]

    def unchanged(self, *connected: Connected) -> bool:
        """Say whether nothing happened to these since they were connected."""
        return (
            all(
                self.state(each) == ("active", None) and self.world.kinds(each) == ["imported"]
                for each in connected
            )
            and not self.world.alerts()
        )

    def taken(self) -> list[dict[str, Any]]:
        return self.world.rows("SELECT * FROM received_events ORDER BY received_at")


def pushing(world: World, *, keys: str | None = None, jwks: str | None = None) -> Services:
    url = world.simulator.base_url
    more = PUSHING.format(url=url)
    if jwks is not None:
        more = more.replace(f"{url}/google/oauth2/v3/certs", jwks)
    return world.wire(more=more, environment=APPS, keys=keys)


@contextmanager
def receiving(world: World) -> Iterator[Receiver]:
    services = pushing(world)
    with serving(services) as url:
        yield Receiver(world, services, url)
