"""The providers of these tests: the built-in definitions and two of our own, all at the simulator."""

from __future__ import annotations

from typing import Final

#: provider id -> the simulator's dialect.
DIALECTS: Final = {
    "gsc": "google",
    "bing": "bing",
    "wordpress": "wordpress",
    "wix": "wix",
    "wix-app": "wix-app",
    "wix-legacy": "wix-legacy",
    "strict": "strict",
    "window": "window",
}
REFRESHING: Final = tuple(provider for provider in DIALECTS if provider != "wordpress")
ROTATING: Final = ("strict", "window")
#: Another provider of ours that is the same client at the same place as `gsc`; `{url}` is the simulator.
GSC_TOO: Final = """
[providers.gsc-too]
display_name = "Google too"
grant = "refresh_token"
token_url = "{url}/google/token"
revoke_url = "{url}/google/revoke"
rotation = "none"
"""
GSC_TOO_APP: Final = {
    "EVERGRANT_GSC_TOO_CLIENT_ID": "sim-google-client",
    "EVERGRANT_GSC_TOO_CLIENT_SECRET": "sim-google-secret",
}

_DEFINITIONS: Final = """\
[providers.gsc]
token_url = "{token}/google/token"
revoke_url = "{url}/google/revoke"
[providers.gsc.check]
url = "{url}/google/webmasters/v3/sites"

[providers.bing]
token_url = "{token}/bing/webmasters/oauth/token"
[providers.bing.check]
url = "{url}/bing/webmaster/api.svc/json/GetUserSites"

[providers.wordpress.check]
url = "{url}/wordpress/oauth2/token-info"

[providers.wix]
token_url = "{token}/wix/oauth2/token"
[providers.wix.check]
url = "{url}/wix/oauth2/token-info"

[providers.wix-app]
token_url = "{token}/wix/oauth2/token"
[providers.wix-app.check]
url = "{url}/wix/oauth2/token-info"

[providers.wix-legacy]
token_url = "{token}/wix/oauth/access"
[providers.wix-legacy.check]
url = "{url}/wix/oauth2/token-info"

[providers.strict]
display_name = "Strict"
grant = "refresh_token"
token_url = "{token}/strict/token"
revoke_url = "{url}/strict/revoke"
rotation = "single_use"
replay_window = 0
[providers.strict.check]
url = "{url}/strict/userinfo"

[providers.window]
display_name = "Window"
grant = "refresh_token"
token_url = "{token}/window/token"
revoke_url = "{url}/window/revoke"
rotation = "single_use"
replay_window = 600
[providers.window.check]
url = "{url}/window/userinfo"

[providers.unconfigured]
display_name = "Unconfigured"
grant = "refresh_token"
token_url = "{url}/strict/token"
rotation = "single_use"
replay_window = 0
"""


def definitions(url: str, token_url: str) -> str:
    """The TOML of all of them; token endpoints may be elsewhere."""
    return _DEFINITIONS.format(url=url, token=token_url)


def credentials() -> dict[str, str]:
    """The variables with the simulator's client ids and secrets."""
    variables = {}
    for provider_id, dialect in DIALECTS.items():
        prefix = "EVERGRANT_" + provider_id.upper().replace("-", "_")
        variables[f"{prefix}_CLIENT_ID"] = f"sim-{dialect}-client"
        if provider_id != "wix":
            variables[f"{prefix}_CLIENT_SECRET"] = f"sim-{dialect}-secret"
    return variables
