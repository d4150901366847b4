"""The demo: short-lived connections at a simulator of the providers, refreshed before your eyes."""

from __future__ import annotations

import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Final

from providers.app_credentials import variable_names
from workers.embedded.layout import DataFolder
from workers.embedded.remembered_port import choose_port
from workers.supervision.ports import LOOPBACK
from workers.supervision.spec import ProcessSpec
from workers.up.composition import evergrant

#: Access tokens live between one and two minutes, so that every connection is refreshed about once a minute.
LIFETIME: Final = (60, 120)
#: The first ones are of every age, as in a fleet that has been running for a while.
FIRST_LIFETIME: Final = (20, 120)
#: Provider id, the simulator's dialect, and how many connections: 1,020 in all.
CONNECTIONS: Final = (
    ("gsc", "google", 200),
    ("bing", "bing", 200),
    ("wordpress", "wordpress", 120),
    ("wix", "wix", 120),
    ("wix-app", "wix-app", 100),
    ("wix-legacy", "wix-legacy", 80),
    ("strict", "strict", 200),
)
#: Grants that the simulator revokes after minting: they are what the alerts will be about.
REVOKED: Final = ("gsc", "bing", "wordpress", "wix", "strict")
#: Every demo connection belongs to `demo-user-<n>`; the first one tells whether they were made already.
USER_PREFIX: Final = "demo-user-"

#: Only what differs from the built-in definitions: where the simulator is (and with it the pages where people
#: consent), and lives of minutes.
_DEFINITIONS: Final = """\
# Written by `evergrant up --demo`. The addresses are those of a simulator; no real provider is called.
[providers.gsc]
authorize_url = "{url}/google/auth"
token_url = "{url}/google/token"
revoke_url = "{url}/google/revoke"
access_token_lifetime = 90
[providers.gsc.account]
from = "request"
url = "{url}/google/userinfo"
id = "sub"
label = "email"
[providers.gsc.check]
url = "{url}/google/webmasters/v3/sites"

[providers.bing]
authorize_url = "{url}/bing/webmasters/oauth/authorize"
token_url = "{url}/bing/webmasters/oauth/token"
access_token_lifetime = 90
[providers.bing.check]
url = "{url}/bing/webmaster/api.svc/json/GetUserSites"

[providers.wordpress]
authorize_url = "{url}/wordpress/oauth2/authorize"
token_url = "{url}/wordpress/oauth2/token"
[providers.wordpress.account]
url = "{url}/wordpress/oauth2/token-info"
[providers.wordpress.check]
url = "{url}/wordpress/oauth2/token-info"
interval = 60

[providers.wix]
authorize_url = "{url}/wix/oauth2/authorize"
token_url = "{url}/wix/oauth2/token"
access_token_lifetime = 90
[providers.wix.field_names]
redirect_uri = "redirectUri"
code_verifier = "codeVerifier"
[providers.wix.account]
url = "{url}/wix/oauth2/token-info"
[providers.wix.check]
url = "{url}/wix/oauth2/token-info"

[providers.wix-app]
token_url = "{url}/wix/oauth2/token"
access_token_lifetime = 90
[providers.wix-app.check]
url = "{url}/wix/oauth2/token-info"

[providers.wix-legacy]
token_url = "{url}/wix/oauth/access"
access_token_lifetime = 90
[providers.wix-legacy.check]
url = "{url}/wix/oauth2/token-info"

[providers.strict]
display_name = "Strict (simulated)"
grant = "refresh_token"
authorize_url = "{url}/strict/authorize"
token_url = "{url}/strict/token"
revoke_url = "{url}/strict/revoke"
device_url = "{url}/strict/device_authorization"
client_auth = "client_secret_post"
body_format = "form"
scopes = ["read"]
access_token_lifetime = 90
rotation = "single_use"
replay_window = 0
[providers.strict.account]
from = "request"
url = "{url}/strict/userinfo"
id = "account"
[providers.strict.check]
method = "GET"
url = "{url}/strict/userinfo"
"""


class Demo:
    """The demo's place in a data folder, and its processes."""

    def __init__(self, folder: DataFolder) -> None:
        self._place = _place(folder)
        self._place.mkdir(mode=0o700, exist_ok=True)
        self._port = choose_port(self._place / "simulator.port")

    @property
    def url(self) -> str:
        """Where the simulator answers."""
        return f"http://{LOOPBACK}:{self._port}"

    def environment(self) -> Mapping[str, str]:
        """Write the demo's definitions, and return what makes a process use them."""
        _definitions(self._place).write_text(_DEFINITIONS.format(url=self.url), encoding="utf-8")
        return _variables(self._place)

    def simulator(self, environment: Mapping[str, str]) -> ProcessSpec:
        """Return the simulator's process. Its journal lets it survive a kill as the rest does."""
        return ProcessSpec(
            name="simulator",
            argv=[
                sys.executable, "-m", "simulator", "--host", LOOPBACK, "--port", str(self._port),
                "--journal", str(self._place / "simulator.journal"),
            ],
            env=environment,
            ready=self._answers,
            stop_grace=timedelta(seconds=10),
            serves_others=True,
            ports=(self._port,),
        )  # fmt: skip

    def seed(self, environment: Mapping[str, str]) -> ProcessSpec:
        """Return the step that mints grants at the simulator and imports them, once for a data folder."""
        return ProcessSpec(
            name="demo-seed",
            argv=evergrant("demo-seed", "--simulator", self.url),
            env=environment,
            restart=False,
            ready_timeout=timedelta(minutes=2),
        )

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/_sim/healthz", timeout=0.5):  # noqa: S310 - our own http URL
                return True
        except (urllib.error.URLError, OSError):
            return False


def minting_command(simulator_url: str) -> list[str]:
    """Return the command that mints the demo's grants and writes them in the format of the import."""
    words = [sys.executable, "-m", "simulator.mint", "--url", simulator_url]
    words += ["--lifetime", *map(str, LIFETIME), "--first-lifetime", *map(str, FIRST_LIFETIME)]
    words += ["--user", USER_PREFIX + "{n}"]
    for provider_id, dialect, count in CONNECTIONS:
        revoked = 1 if provider_id in REVOKED else 0
        words += ["--grants", f"{provider_id}={dialect}:{count}:{revoked}"]
    return words


def is_demo(folder: DataFolder) -> bool:
    """Say whether the data folder has been used for the demo."""
    return _place(folder).is_dir()


def variables(folder: DataFolder) -> Mapping[str, str]:
    """Return what a command needs to call a running demo's providers; empty where the folder is no demo's."""
    place = _place(folder)
    return _variables(place) if _definitions(place).is_file() else {}


def _variables(place: Path) -> dict[str, str]:
    values = {"EVERGRANT_PROVIDERS_FILE": str(_definitions(place))}
    for provider_id, dialect, _ in CONNECTIONS:
        client_id, client_secret = variable_names(provider_id)
        values[client_id] = f"sim-{dialect}-client"
        if provider_id != "wix":
            values[client_secret] = f"sim-{dialect}-secret"
    return values


def _definitions(place: Path) -> Path:
    return place / "providers.toml"


def _place(folder: DataFolder) -> Path:
    return folder.path / "demo"


def first_user() -> str:
    """Return the user whose connection tells that the demo has been seeded."""
    return f"{USER_PREFIX}1"
