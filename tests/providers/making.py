"""What the tests of the provider client are made of."""

from __future__ import annotations

import json
from typing import Any

from pydantic import SecretStr

from domain.token import Credentials
from providers.app_credentials import AppCredentials
from providers.definition import ProviderDefinition
from providers.definition_errors import define
from providers.http import WireAnswer

PLAIN: dict[str, Any] = {
    "display_name": "Acme",
    "grant": "refresh_token",
    "token_url": "https://acme.example/token",
    "rotation": "single_use",
    "replay_window": 0,
    "check": {"url": "https://acme.example/userinfo"},
}
APP = AppCredentials("client-1", SecretStr("app-secret-1"))
CREDENTIALS = Credentials(SecretStr("AT-0123456789"), SecretStr("RT-0123456789"))


def acme(**changes: Any) -> ProviderDefinition:
    """A strict plain OAuth 2 provider, with changes; a change to None takes the key away."""
    table = {key: value for key, value in {**PLAIN, **changes}.items() if value is not None}
    return define("acme", table, source="test.toml")


def answer(status: int, body: Any = None, /, **headers: str) -> WireAnswer:
    """An answer whose body is JSON unless it is given as bytes; header names are written with underscores."""
    raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    return WireAnswer(status, {name.replace("_", "-"): value for name, value in headers.items()}, raw)
