"""Provider definitions whose every endpoint is the simulator's, those where people consent included."""

from __future__ import annotations

from typing import Final

_DEFINITIONS: Final = """\
[providers.gsc]
authorize_url = "{url}/google/auth"
token_url = "{url}/google/token"
revoke_url = "{url}/google/revoke"
authorize_params = {{ access_type = "offline", prompt = "consent" }}
scopes = ["openid", "email", "https://www.googleapis.com/auth/webmasters.readonly"]
scope_aliases = {{ email = "https://www.googleapis.com/auth/userinfo.email" }}
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
[providers.bing.check]
url = "{url}/bing/webmaster/api.svc/json/GetUserSites"

[providers.wordpress]
authorize_url = "{url}/wordpress/oauth2/authorize"
token_url = "{url}/wordpress/oauth2/token"
[providers.wordpress.account]
url = "{url}/wordpress/oauth2/token-info"
[providers.wordpress.check]
url = "{url}/wordpress/oauth2/token-info"

[providers.wix]
authorize_url = "{url}/wix/oauth2/authorize"
token_url = "{url}/wix/oauth2/token"
[providers.wix.field_names]
redirect_uri = "redirectUri"
code_verifier = "codeVerifier"
[providers.wix.account]
url = "{url}/wix/oauth2/token-info"
[providers.wix.check]
url = "{url}/wix/oauth2/token-info"

[providers.wix-app]
token_url = "{url}/wix/oauth2/token"

[providers.strict]
display_name = "Strict <provider>"
grant = "refresh_token"
issuer = "{url}/strict"
authorize_url = "{url}/strict/authorize"
token_url = "{url}/strict/token"
revoke_url = "{url}/strict/revoke"
device_url = "{url}/strict/device_authorization"
scopes = ["read"]
known_scopes = ["read", "write", "admin.*"]
rotation = "single_use"
replay_window = 0
[providers.strict.account]
from = "request"
url = "{url}/strict/userinfo"
id = "account"
[providers.strict.check]
url = "{url}/strict/userinfo"

[providers.window]
display_name = "Window"
grant = "refresh_token"
authorize_url = "{url}/{{shop}}/authorize"
token_url = "{url}/{{shop}}/token"
authorize_names = {{ scope = "scope" }}
scopes = ["read"]
rotation = "single_use"
replay_window = 600
refresh_token_lifetime = 5184000
metadata_fields = {{ audience = "plan" }}
[providers.window.variables.shop]
pattern = "window|elsewhere"
help = "the shop's name"
example = "window"
[providers.window.check]
url = "{url}/window/userinfo"

[providers.unconfigured]
display_name = "Unconfigured"
grant = "refresh_token"
authorize_url = "{url}/strict/authorize"
token_url = "{url}/strict/token"
rotation = "none"
"""
#: Provider id → the simulator's dialect.
DIALECTS: Final = {
    "gsc": "google",
    "bing": "bing",
    "wordpress": "wordpress",
    "wix": "wix",
    "wix-app": "wix-app",
    "strict": "strict",
    "window": "window",
}


def definitions(url: str) -> str:
    """Write the TOML."""
    return _DEFINITIONS.format(url=url)
