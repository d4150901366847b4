"""The key that is to be mended, for differences that the built-in definitions have no example of."""

from __future__ import annotations

from typing import Any

import pytest

from providers.definition import ProviderDefinition
from scripts.conformance.making import exchange
from scripts.conformance.mending import key_to_mend
from simulator.playing.insisting import Discrepancy
from simulator.playing.transcript import SUCCESS, Exchange, Means, Told
from tests.conformance.tables import acme, definition_of


def shown(definition: ProviderDefinition, on: Any) -> Exchange:
    means = Means.model_validate({"outcome": SUCCESS[on]})
    grant: Any = "refresh_token" if on == "token" else None
    return exchange(definition, "shown", on, Told(status=200), means, grant=grant)


@pytest.mark.parametrize(
    ("on", "about", "name", "changes", "key"),
    [
        ("token", "header", "X-Version", {}, "token_headers.X-Version"),
        ("token", "header", "Authorization", {}, "client_auth"),
        ("token", "url", "", {}, "token_url"),
        ("token", "url", "", {"refresh_url": "https://acme.example/r"}, "refresh_url"),
        ("token", "field", "audience", {"token_params": {"audience": "x"}}, "token_params.audience"),
        ("token", "field", "site", {"metadata_fields": {"site": "site"}}, "metadata_fields.site"),
        ("token", "field", "code_verifier", {}, "pkce"),
        ("check", "header", "authorization", {}, "check.bearer, or check.headers.authorization"),
        ("check", "header", "X-Version", {}, "check.headers.X-Version"),
        ("check", "query", "fields", {}, "check.query.fields"),
        ("account", "client_auth", "", {}, "account.bearer"),
        ("revoke", "url", "", {}, "revoke_url"),
        ("revoke", "field", "token", {}, "client_auth, or a table [revoke] in place of revoke_url"),
        (
            "revoke",
            "header",
            "authorization",
            {"revoke_url": None, "revoke": {"url": "https://acme.example/r", "auth": "bearer"}},
            "revoke.auth, or revoke.token",
        ),
        ("device", "url", "", {"device_url": "https://acme.example/device"}, "device_url"),
    ],
)
def test_a_difference_points_at_its_key(
    on: str, about: Any, name: str, changes: dict[str, Any], key: str
) -> None:
    definition = definition_of("acme", acme(**changes))

    found = Discrepancy(about, name, "one thing", "another")

    assert key_to_mend(definition, shown(definition, on), found) == key
