"""Variables of URLs: declared, used, and unable to lead to somebody else's host."""

from __future__ import annotations

from typing import Any

import pytest

from domain.errors import ConfigurationError
from tests.providers.making import acme

SHOP = {"pattern": "[a-z0-9-]+", "help": "the shop's name", "example": "evergreen"}
SHOP_URL = "https://{shop}.acme.example/token"


def problem(**changes: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        acme(**changes)
    return str(caught.value)


def shop(**changes: Any) -> dict[str, Any]:
    """A definition with the variable `shop` in its token_url; a change to None takes a key away."""
    variable = {key: value for key, value in {**SHOP, **changes}.items() if value is not None}
    return {"token_url": SHOP_URL, "variables": {"shop": variable}}


@pytest.mark.parametrize(
    ("changes", "key", "reason"),
    [
        ({"token_url": SHOP_URL}, "token_url", "uses {shop}, which is not declared"),
        (
            {"check": {"url": "https://acme.example/{realm}/me"}},
            "check.url",
            "uses {realm}, which is not declared; add a table variables.realm with its pattern",
        ),
        ({"variables": {"shop": SHOP}}, "variables.shop", "is used in no URL; write {shop} into one"),
        ({"token_url": "https://{shop}@acme.example/"}, "token_url", "not for user, port or query"),
        ({"token_url": "https://acme.example:{port}/"}, "token_url", "not for user, port or query"),
        ({"token_url": "https://acme.example:4{port}/"}, "token_url", "not for user, port or query"),
        ({"token_url": "https://acme.example/?a={shop}"}, "token_url", "not for user, port or query"),
        ({"token_url": "https://acme.example/{Shop}"}, "token_url", "braces that name no variable"),
        ({"token_url": "https://acme.example/{"}, "token_url", "braces that name no variable"),
        ({"token_url": "http://{shop}.acme.example/"}, "token_url", "must use https"),
        ({"token_url": "https://acme.example/{client_id}"}, "token_url", "only of a revocation's path"),
        ({**shop(), "token_url": "https://{shop}/token"}, "token_url", "somebody else's host"),
        ({**shop(), "token_url": "https://{shop}.example/token"}, "token_url", "somebody else's host"),
        ({**shop(), "token_url": "https://acme.example.{shop}/token"}, "token_url", "somebody else's host"),
        ({**shop(), "token_url": "https://{shop}acme.example/token"}, "token_url", "somebody else's host"),
        (
            shop(pattern="[a-z.]+acme\\.example", example="x.acme.example")
            | {"token_url": "https://{shop}/"},
            "token_url",
            "somebody else's host",
        ),
        (shop(pattern="[A-Z]+", example="X"), "token_url", "allows 'ABCDEFGHIJ"),
        (shop(pattern="[a-z_]+"), "token_url", "allows '_' there"),
        (shop(pattern=".+"), "variables.shop.pattern", "bare '.'"),
        (shop(pattern="[^/]+"), "variables.shop.pattern", "negated class"),
        (shop(pattern="\\w+"), "variables.shop.pattern", "has \\w"),
        (shop(pattern="^shop$"), "variables.shop.pattern", "neither '^' nor '$'"),
        (shop(pattern="a/b"), "variables.shop.pattern", "has '/'"),
        (shop(pattern="[a-Z]"), "variables.shop.pattern", "ranges lie within"),
        (shop(pattern="(a"), "variables.shop.pattern", "without its end ')'"),
        (shop(pattern="a)"), "variables.shop.pattern", "unexpected ')'"),
        (shop(pattern="[a"), "variables.shop.pattern", "without its end ']'"),
        (shop(pattern="[a-z]*"), "variables.shop.pattern", "a value without characters"),
        (shop(pattern="a|"), "variables.shop.pattern", "empty part"),
        (shop(pattern="a**"), "variables.shop.pattern", "repetition of a repetition"),
        (shop(pattern=""), "variables.shop.pattern", "at least 1 character"),
        (shop(pattern=None), "variables.shop.pattern", "is required"),
        (shop(patern="x"), "variables.shop.patern", "did you mean 'pattern'?"),
        (shop(example="Ever green"), "variables.shop.example", "does not match the variable's pattern"),
        (shop(default="Ever green"), "variables.shop.default", "does not match the variable's pattern"),
        (shop(help=None), "variables.shop.help", "people have to give the value"),
        (shop(example=None), "variables.shop.example", "people have to give the value"),
        ({"variables": {"Shop": SHOP}}, "variables.Shop", "match pattern"),
        ({**shop(), "variables": {"shop": SHOP, "token": SHOP}}, "variables.token", "use for other things"),
        (
            shop(from_answer={"member": "a", "pattern": "https://.*"}),
            "variables.shop.from_answer.pattern",
            "must have exactly one group (...), the value, and has 0",
        ),
        (
            shop(from_answer={"member": "a", "pattern": "(a)(b)"}),
            "variables.shop.from_answer.pattern",
            "and has 2",
        ),
        (
            shop(from_answer={"member": "a", "pattern": "(a"}),
            "variables.shop.from_answer.pattern",
            "is no regular expression",
        ),
        (shop(from_answer={"member": "a"}), "variables.shop", "is needed for token_url before it can"),
        (
            shop(from_callback={"parameter": "a", "pattern": "((a+)+)b"}),
            "variables.shop.from_callback.pattern",
            "plain text around one (.+)",
        ),
        (
            shop(from_callback={"parameter": "a", "pattern": "https://acme.example"}),
            "variables.shop.from_callback.pattern",
            "plain text around one (.+)",
        ),
        (shop(from_callback={"parametre": "a"}), "variables.shop.from_callback.parameter", "is required"),
        (shop(from_callback=7), "variables.shop.from_callback", "must be a table"),
        (
            shop(from_callback="realmId") | {"authorize_url": "https://{shop}.acme.example/"},
            "variables.shop",
            "is needed for authorize_url before it can be learned",
        ),
        (
            shop(from_callback="a", from_answer={"member": "a"}, default="x"),
            "variables.shop.from_callback",
            "cannot stand beside from_answer",
        ),
    ],
)
def test_a_bad_variable_is_named_with_its_reason(changes: dict[str, Any], key: str, reason: str) -> None:
    message = problem(**changes)

    assert f"test.toml: [providers.acme] {key}: " in message
    assert reason in message


@pytest.mark.parametrize(
    ("token_url", "pattern", "example"),
    [
        ("https://{shop}.acme.example/token", "[a-z0-9][a-z0-9-]{0,60}", "ever-green"),
        ("https://accounts.acme.{shop}/token", "com|eu|com\\.au", "eu"),
        ("https://{shop}/token", "[a-z0-9.-]+\\.acme\\.example", "na1.my.acme.example"),
        ("https://{shop}/token", "([a-z-]+\\.)?acme\\.example|login\\.acme\\.test", "acme.example"),
        ("https://login.acme.example/{shop}/token", "common|[0-9a-f-]{36}", "common"),
        ("https://acme.example/v1.{shop}/token", "[A-Za-z0-9._~-]+", "A_b~c.d-e"),
    ],
)
def test_what_stays_at_the_providers_own_hosts_is_allowed(token_url: str, pattern: str, example: str) -> None:
    variable = {"pattern": pattern, "help": "h", "example": example}

    assert acme(token_url=token_url, variables={"shop": variable}).kept_variables == ("shop",)


def test_a_variable_that_only_names_the_tenant_is_used_enough() -> None:
    """What a URL does not need may still be checked at import, because it names the tenant."""
    assert acme(variables={"shop": SHOP}, tenant_field="shop").kept_variables == ()
