"""What connecting learns for a connection's URLs, and the account that they name."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from providers.accounts import Account
from providers.client import ProviderClient
from providers.connecting import Connected, learned_from_callback
from providers.http import Wire
from tests.providers.loopback import answering, http, serving, tokens
from tests.providers.making import APP, acme, answer
from tests.providers.test_code_exchange import AUTHORIZE, TOKENS, exchange, judged

HOST = {
    "pattern": "[a-z0-9-]+\\.acme\\.example",
    "from_answer": {"member": "instance", "pattern": "https://(.+)"},
}
REALM = {"pattern": "[0-9]+", "from_callback": "realmId"}
SHOP = {"pattern": "[a-z-]+", "help": "the shop", "example": "rose"}


@pytest.mark.parametrize(
    ("said", "callback", "expected"),
    [
        ({"instance": "https://na1.acme.example"}, {"realmId": "913"},
         {"host": "na1.acme.example", "realm": "913"}),
        ({"instance": "https://evil.example"}, {"realmId": "9/../1"}, {}),
        ({"instance": "http://na1.acme.example"}, {}, {}),
        ({"instance": ["https://na1.acme.example"]}, {}, {}),
        ({}, {}, {}),
    ],
)  # fmt: skip
def test_variables_are_learned_where_they_fit(
    said: dict[str, Any], callback: dict[str, str], expected: dict[str, str]
) -> None:
    """From the answer and from the callback; what does not fit its pattern is left out."""
    definition = acme(
        **AUTHORIZE,
        refresh_url="https://{host}/token",
        check={"url": "https://api.acme.example/{realm}"},
        variables={"host": HOST, "realm": REALM},
    )
    found = judged(definition, answer(200, {**TOKENS, **said}), **callback)

    assert isinstance(found, Connected)
    assert found.metadata == expected
    assert learned_from_callback(definition, callback).items() <= found.metadata.items()


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ("https://accounts.acme.eu", {"domain": "acme.eu"}),
        ("https://accounts.acme.eu/", {}),
        ("https://accounts.evil.example", {}),
        ("acme.eu", {}),
    ],
)
def test_a_variable_is_a_part_of_a_callbacks_parameter(told: str, expected: dict[str, str]) -> None:
    """Zoho names the user's data centre by a whole URL; the code goes there, and nowhere else."""
    back = {"parameter": "accounts-server", "pattern": "https://accounts[.](.+)"}
    definition = acme(
        **AUTHORIZE,
        token_url="https://accounts.{domain}/token",
        variables={"domain": {"pattern": "acme[.](eu|in)", "from_callback": back}},
    )

    assert learned_from_callback(definition, {"accounts-server": told}) == expected


def test_the_account_is_the_variable_that_was_asked() -> None:
    """Of the shop that made the tokens, whatever shop the browser's callback names."""
    wire = Wire()
    with serving(answering(http("200 OK", tokens()))) as server:
        definition = acme(
            **AUTHORIZE,
            token_url=server.url("/{shop}"),
            variables={"shop": SHOP},
            account={"from": "variable", "id": "{shop}.acme.example"},
        )
        found = ProviderClient(wire).exchange_code(
            exchange(definition, shop="rose"),
            APP,
            deadline=timedelta(seconds=20),
            callback={"shop": "thorn"},
        )
    wire.close()

    assert found.account == Account("rose.acme.example")
    assert found.metadata == {}
