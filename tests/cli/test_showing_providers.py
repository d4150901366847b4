"""`evergrant providers show`: everything a person wants to know of one provider, and everything as JSON."""

from __future__ import annotations

from typing import Any

import pytest

from providers.catalogue import load
from providers.definition import ProviderDefinition
from tests.cli.conftest import Shell

pytestmark = [pytest.mark.acceptance]

SHOPS = """
[providers.shops]
display_name = "Shops [beta]"
grant = "refresh_token"
authorize_url = "https://{shop}.shops.example/authorize"
token_url = "https://{shop}.shops.example/token"
rotation = "single_use"
replay_window = 600
access_token_lifetime = 5400
refresh_token_lifetime = 7776000
grant_limit = { max = 100, beyond = "oldest_dies" }
error_member = ["error", "error.code"]
known_scopes = ["read_*"]
scopes = ["read_orders"]
sources = ["https://shops.example/docs"]
[providers.shops.variables.shop]
pattern = "[a-z0-9-]+"
help = "the shop's name"
example = "ever-green"
[providers.shops.revoke]
method = "DELETE"
url = "https://{shop}.shops.example/grants/{client_id}"
auth = "basic"
token = "access_token"
body = { access_token = "{token}" }
[providers.shops.account]
from = "answer"
id = "shop.id"
[[providers.shops.judgements]]
on = "token"
status = 400
code = "invalid_grant"
where = { member = "error_description", contains = "being processed" }
outcome = "transient"
[providers.shops.unconfirmed]
rotation = "said by third parties"
"variables.shop" = "a guess"
judgements = "seen once"
"""


@pytest.fixture
def shell(nowhere: Shell) -> Shell:
    file = nowhere.folder / "providers.toml"
    file.write_text(SHOPS, encoding="utf-8")
    return nowhere.having(
        EVERGRANT_PROVIDERS_FILE=str(file),
        EVERGRANT_SHOPS_CLIENT_ID="id",
        EVERGRANT_SHOPS_CLIENT_SECRET="s3cret-value",
    )


def test_a_provider_is_shown_in_words(shell: Shell) -> None:
    """Without any server: facts, endpoints, rotation, lifetimes, variables, answers, sources, doubts."""
    said = shell("providers", "show", "shops").stdout
    lines = " ".join(said.split())

    for words in (
        "Shops [beta] (shops)",
        "configured yes",
        "can connect, refresh, revoke",
        "single_use: a refresh token is replaced whenever it is used (not confirmed)",
        "10 minutes: for so long the replaced one stays good",
        "90 minutes: an access token",
        "90 days: a refresh token, from when it is issued",
        "100 living grants of one account; one more ends the oldest",
        "https://{shop}.shops.example/token",
        "DELETE https://{shop}.shops.example/grants/{client_id} with the access token",
        "the shop's name; such as ever-green",
        "in the code exchange's answer: shop.id",
        "an error stands in error, else in error.code",
        "error = invalid_grant and error_description has 'being processed'",
        "never ends a grant",
        "https://shops.example/docs",
        "rotation: said by third parties",
        "What its answers mean (not confirmed)",
    ):
        assert words in lines, words
    assert "s3cret-value" not in said


def test_a_provider_is_shown_as_json(shell: Shell) -> None:
    """The contract's fields and every key of the definition, durations in seconds."""
    (row,) = shell.json("providers", "show", "shops")
    (listed,) = [row for row in shell.json("providers", "list") if row["id"] == "shops"]

    assert set(row) >= set(listed) | set(ProviderDefinition.model_fields)
    assert {key: row[key] for key in listed} == listed
    assert (row["replay_window"], row["refresh_token_lifetime"]) == (600, 7776000)
    assert row["account"]["from"] == "answer"
    assert row["variables"]["shop"]["example"] == "ever-green"
    assert row["judgements"][0]["where"]["contains"] == "being processed"
    assert row["settings"] == ["EVERGRANT_SHOPS_CLIENT_ID", "EVERGRANT_SHOPS_CLIENT_SECRET"]
    assert "s3cret-value" not in str(row)


def test_every_built_in_provider_can_be_shown(nowhere: Shell) -> None:
    for definition in load():
        done = nowhere("providers", "show", definition.id)
        assert done.returncode == 0, done.stderr
        assert f"({definition.id})" in done.stdout
        assert "configured  no: set EVERGRANT_" in done.stdout
        rows: list[dict[str, Any]] = nowhere.json("providers", "show", definition.id)
        assert [row["id"] for row in rows] == [definition.id]


def test_an_unknown_provider_is_answered_with_the_known_ones(nowhere: Shell) -> None:
    done = nowhere("providers", "show", "gcs")

    assert (done.returncode, done.stdout) == (2, "")
    assert "unknown provider 'gcs'" in done.stderr
    assert "gsc" in done.stderr


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("https://sso.example", "'https://sso.example'"),
        ("sso.example:443", "'sso.example:443'"),
        ("*.example", "'*.example'"),
        ("sso.example,,", "''"),
        ("10.0.0.0/8", "'10.0.0.0/8'"),
    ],
)
def test_internal_hosts_are_exact_names(shell: Shell, value: str, says: str) -> None:
    """EVERGRANT_INTERNAL_HOSTS is checked at start; names and addresses are taken, patterns are not."""
    done = shell.having(EVERGRANT_INTERNAL_HOSTS=value)("providers", "list")

    assert (done.returncode, done.stdout) == (2, "")
    assert "EVERGRANT_INTERNAL_HOSTS" in done.stderr
    assert says in done.stderr
    good = shell.having(EVERGRANT_INTERNAL_HOSTS="sso.intern.example, 10.0.0.7,[fd00::1],::1")
    assert good("providers", "list").returncode == 0
