"""How the tests speak to the simulated providers: the protocol written out, nothing of the product."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx2

from simulator.client import MintedGrant
from simulator.process import SimulatorProcess

Json = dict[str, Any]

# dialect → how its refresh is asked for: path, body format, and the body's fields
_PATHS = {
    "google": "/google/token",
    "bing": "/bing/webmasters/oauth/token",
    "wordpress": "/wordpress/oauth2/token",
    "wix": "/wix/oauth2/token",
    "wix-app": "/wix/oauth2/token",
    "wix-legacy": "/wix/oauth/access",
    "strict": "/strict/token",
    "window": "/window/token",
}


class Provider:
    """Speaks to one dialect as its app would."""

    def __init__(self, simulator: SimulatorProcess, dialect: str, http: httpx2.Client) -> None:
        self.simulator = simulator
        self.dialect = dialect
        self.http = http
        self.path = _PATHS[dialect]

    def mint(self, **order: object) -> MintedGrant:
        return self.simulator.client.mint(self.dialect, 1, **order)[0]

    def refresh(self, grant: MintedGrant, token: str | None = None, **changes: str) -> httpx2.Response:
        """Present `token`, or else the grant's first refresh token, with `changes` to the parameters."""
        presented = token or grant.refresh_token or ""
        client = {"client_id": f"sim-{self.dialect}-client", "client_secret": f"sim-{self.dialect}-secret"}
        if self.dialect == "wix":
            camel = {"clientId": client["client_id"], "grantType": "refresh_token", "refreshToken": presented}
            return self.http.post(self.path, json=camel | changes)
        if self.dialect == "wix-app":
            instance = str(grant.metadata["instance_id"])
            parameters = {"grant_type": "client_credentials", "instance_id": instance, **client}
            return self.http.post(self.path, json=parameters | changes)
        parameters = {"grant_type": "refresh_token", "refresh_token": presented, **client} | changes
        if self.dialect == "wix-legacy":
            return self.http.post(self.path, json=parameters)
        return self.http.post(self.path, data=parameters)

    def check(self, access_token: str) -> httpx2.Response:
        """Send the dialect's cheapest authenticated request."""
        bearer = {"Authorization": f"Bearer {access_token}"}
        match self.dialect:
            case "google":
                return self.http.get("/google/webmasters/v3/sites", headers=bearer)
            case "bing":
                return self.http.get("/bing/webmaster/api.svc/json/GetUserSites", headers=bearer)
            case "wordpress":
                query = {"client_id": "sim-wordpress-client", "token": access_token}
                return self.http.get("/wordpress/oauth2/token-info", params=query)
            case "wix" | "wix-app" | "wix-legacy":
                return self.http.post("/wix/oauth2/token-info", json={"token": access_token})
            case _:
                return self.http.get(f"/{self.dialect}/userinfo", headers=bearer)

    def report(self) -> Json:
        """What the simulator says of this dialect."""
        report: Json = self.simulator.client.report()["dialects"][self.dialect]
        return report


@contextmanager
def provider(simulator: SimulatorProcess, dialect: str, *, timeout: float = 30.0) -> Iterator[Provider]:
    with httpx2.Client(base_url=simulator.base_url, timeout=timeout) as http:
        yield Provider(simulator, dialect, http)


def at_once(*calls: Callable[[], httpx2.Response]) -> list[httpx2.Response]:
    """Make all calls at the same time, each in a thread of its own."""
    with ThreadPoolExecutor(len(calls)) as threads:
        futures: list[Future[httpx2.Response]] = [threads.submit(call) for call in calls]
        return [future.result() for future in futures]
