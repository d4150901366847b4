"""Provider definitions that point every built-in provider, and a strict one, at the simulator."""

from __future__ import annotations

from typing import Final

#: Provider id → the simulator's dialect.
DIALECTS: Final = {
    "gsc": "google",
    "bing": "bing",
    "wordpress": "wordpress",
    "wix": "wix",
    "wix-app": "wix-app",
    "wix-legacy": "wix-legacy",
    "strict": "strict",
}

_DEFINITIONS: Final = """\
[providers.gsc]
token_url = "{url}/google/token"
revoke_url = "{url}/google/revoke"
access_token_lifetime = {lifetime}
[providers.gsc.check]
url = "{url}/google/webmasters/v3/sites"
interval = {check_every}
[providers.bing]
token_url = "{url}/bing/webmasters/oauth/token"
access_token_lifetime = {lifetime}
[providers.bing.check]
url = "{url}/bing/webmaster/api.svc/json/GetUserSites"
interval = {check_every}
[providers.wordpress.check]
url = "{url}/wordpress/oauth2/token-info"
interval = {check_every}
[providers.wix]
token_url = "{url}/wix/oauth2/token"
access_token_lifetime = {lifetime}
[providers.wix.check]
url = "{url}/wix/oauth2/token-info"
interval = {check_every}
[providers.wix-app]
token_url = "{url}/wix/oauth2/token"
access_token_lifetime = {lifetime}
[providers.wix-app.check]
url = "{url}/wix/oauth2/token-info"
interval = {check_every}
[providers.wix-legacy]
token_url = "{url}/wix/oauth/access"
access_token_lifetime = {lifetime}
[providers.wix-legacy.check]
url = "{url}/wix/oauth2/token-info"
interval = {check_every}
[providers.strict]
display_name = "Strict"
grant = "refresh_token"
token_url = "{url}/strict/token"
revoke_url = "{url}/strict/revoke"
client_auth = "client_secret_post"
body_format = "form"
access_token_lifetime = {lifetime}
rotation = "single_use"
replay_window = 0
[providers.strict.check]
method = "GET"
url = "{url}/strict/userinfo"
interval = {check_every}
"""


def definitions(simulator_url: str, *, lifetime: int, check_every: int) -> str:
    """Write the TOML.

    Args:
        lifetime: What an imported access token is taken to have lived for, in seconds.
        check_every: Seconds between two health checks of a connection.
    """
    return _DEFINITIONS.format(url=simulator_url, lifetime=lifetime, check_every=check_every)


def client_variables() -> dict[str, str]:
    """Give the environment variables of our apps at the simulator."""
    variables = {}
    for provider_id, dialect in DIALECTS.items():
        prefix = "EVERGRANT_" + provider_id.upper().replace("-", "_")
        variables[f"{prefix}_CLIENT_ID"] = f"sim-{dialect}-client"
        if provider_id != "wix":
            variables[f"{prefix}_CLIENT_SECRET"] = client_secret(dialect)
    return variables


def client_secret(dialect: str) -> str:
    """Give our app's secret at a dialect."""
    return f"sim-{dialect}-secret"
