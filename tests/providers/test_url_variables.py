"""URLs are made of a connection's metadata, and no value leads a credential to somebody else's host."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.errors import ConfigurationError
from domain.token import TokenKind
from providers.definition import ProviderDefinition
from providers.patterns import LONGEST, read
from providers.requests import metadata_problem, prepare_check, prepare_refresh
from providers.revoking import prepare_revoke
from providers.urls import destination, resolved
from tests.providers.making import APP, CREDENTIALS, acme

SHOP = {"pattern": "[a-z0-9][a-z0-9-]{0,60}", "help": "the shop's name", "example": "ever-green"}
TENANT = {"pattern": "common|[0-9a-f-]{36}", "default": "common"}
HTTPS = "https://{shop}.acme.example"


def shops(**changes: Any) -> ProviderDefinition:
    table: dict[str, Any] = {
        "token_url": f"{HTTPS}/token",
        "check": {"url": f"{HTTPS}/me"},
        "revoke_url": f"{HTTPS}/revoke",
        "variables": {"shop": SHOP},
        **changes,
    }
    return acme(**table)


def test_each_call_goes_to_the_connections_own_host() -> None:
    definition, metadata = shops(refresh_url=f"{HTTPS}/refresh"), {"shop": "ever-green"}

    refresh = prepare_refresh(definition, APP, CREDENTIALS, metadata)
    check = prepare_check(definition, APP, CREDENTIALS.access_token, metadata)
    revoke = prepare_revoke(definition, APP, CREDENTIALS.access_token, TokenKind.ACCESS_TOKEN, metadata)

    assert str(refresh.request.url) == "https://ever-green.acme.example/refresh"
    assert str(check.request.url) == "https://ever-green.acme.example/me"
    assert str(revoke.request.url) == "https://ever-green.acme.example/revoke"
    assert refresh.request.url.host == b"ever-green.acme.example"
    assert not refresh.request.url.fixed


@pytest.mark.parametrize(
    ("metadata", "path"),
    [({}, "common"), ({"tenant": None}, "common"), ({"tenant": "0" * 36}, "0" * 36)],
)
def test_a_default_stands_in_where_a_connection_has_nothing(metadata: dict[str, object], path: str) -> None:
    definition = acme(token_url="https://login.acme.example/{tenant}/token", variables={"tenant": TENANT})

    assert str(prepare_refresh(definition, APP, CREDENTIALS, metadata).request.url) == (
        f"https://login.acme.example/{path}/token"
    )
    assert metadata_problem(definition, metadata) is None


@pytest.mark.parametrize(
    "value",
    [
        "",
        "Ever-Green",
        "ever.green",
        "evil.example/",
        "evil.example#",
        "evil.example?",
        "a@evil.example",
        "a:80",
        "a\\evil",
        "a%2eb",
        "a\nb",
        "a b",
        "\u0430cme",
        "a" * 62,
        True,
        ["a"],
        {"a": 1},
        1.5,
    ],
)
def test_a_value_that_does_not_fit_never_reaches_a_url(value: object) -> None:
    """It is refused by the name of its key, with help and an example, and is not repeated."""
    definition, metadata = shops(), {"shop": value}

    token = CREDENTIALS.access_token
    calls: list[Callable[[], object]] = [
        lambda: prepare_refresh(definition, APP, CREDENTIALS, metadata),
        lambda: prepare_check(definition, APP, token, metadata),
        lambda: prepare_revoke(definition, APP, token, TokenKind.ACCESS_TOKEN, metadata),
    ]
    for prepare in calls:
        with pytest.raises(ConfigurationError) as caught:
            prepare()
        said = str(caught.value)
        assert said.startswith("metadata.shop: ")
        assert "the shop's name" in said
        assert '{"shop": "ever-green"}' in said
        assert "evil" not in said
    assert metadata_problem(definition, metadata) is not None


def test_a_missing_value_is_asked_for() -> None:
    with pytest.raises(ConfigurationError, match=r"metadata\.shop: provider 'acme' needs it for its URLs"):
        prepare_refresh(shops(), APP, CREDENTIALS, {})
    assert "needs it for its URLs" in (metadata_problem(shops(), {}) or "")


def test_a_number_is_a_value_like_another() -> None:
    realm = {"pattern": "[0-9]+", "help": "the company", "example": "42"}
    definition = acme(check={"url": "https://acme.example/company/{realm}"}, variables={"realm": realm})

    call = prepare_check(definition, APP, CREDENTIALS.access_token, {"realm": 9130347})

    assert str(call.request.url) == "https://acme.example/company/9130347"


def test_what_only_connecting_needs_is_not_asked_of_an_import() -> None:
    """A value that is there must fit all the same: it was given for something."""
    login = {"pattern": "login|test", "help": "which login", "example": "test"}
    definition = acme(
        authorize_url="https://{login}.acme.example/authorize",
        token_url="https://{login}.acme.example/token",
        refresh_url="https://acme.example/token",
        variables={"login": login},
    )

    assert metadata_problem(definition, {}) is None
    assert metadata_problem(definition, {"login": "test"}) is None
    assert "metadata.login" in (metadata_problem(definition, {"login": "elsewhere"}) or "")


@pytest.mark.parametrize("value", [".", ".."])
def test_dots_do_not_climb_a_path(value: str) -> None:
    piece = {"pattern": "[a-z.]+", "help": "h", "example": "a"}
    definition = acme(token_url="https://acme.example/a/{piece}/token", variables={"piece": piece})

    with pytest.raises(ConfigurationError, match=r"metadata\.piece"):
        resolved(definition, str(definition.token_url), {"piece": value})


@pytest.mark.parametrize("value", ["-a", "a-", "a..b", ".a", "a" * 64])
def test_what_is_no_host_name_makes_no_url(value: str) -> None:
    host = {"pattern": "[a-z.-]+", "help": "h", "example": "a"}
    definition = acme(token_url="https://{host}.acme.example/token", variables={"host": host})

    with pytest.raises(ConfigurationError, match=r"metadata\.host"):
        resolved(definition, str(definition.token_url), {"host": value})


def test_the_client_id_is_encoded_into_a_revocations_path() -> None:
    revoke = {"url": "https://acme.example/apps/{client_id}/grant", "auth": "bearer"}
    definition = acme(revoke=revoke)

    url = resolved(definition, str(definition.revocation_url), {}, client_id="a/../b c")

    assert url == "https://acme.example/apps/a%2F..%2Fb%20c/grant"


def test_a_url_without_variables_is_taken_to_pieces_once() -> None:
    """The hot path: the same object for every call."""
    definition = acme()

    first = destination(definition, "https://acme.example/token", {})

    assert destination(definition, "https://acme.example/token", {"shop": "x"}) is first
    assert first.fixed


UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
ATOMS = st.sampled_from(
    ["a", "shop", "acme", "\\.", "-", "[a-z]", "[a-z0-9-]", "[0-9a-f.]", "(a|b)", "(?:x\\.)?", "com|eu", "7"]
)
TIMES = st.sampled_from(["", "", "?", "+", "*", "{2}", "{1,3}", "{2,}"])


@st.composite
def patterns(draw: st.DrawFn) -> str:
    pieces = draw(st.lists(st.tuples(ATOMS, TIMES), min_size=1, max_size=4))
    return "".join(f"(?:{atom}){times}" for atom, times in pieces)


@UNHURRIED
@given(
    pattern=patterns(), data=st.data(), tail=st.sampled_from(["", ".acme.example", ".example", "acme.test"])
)
def test_no_value_of_an_accepted_pattern_leaves_the_written_out_domains(
    pattern: str, data: st.DataObject, tail: str
) -> None:
    """Whatever a definition is allowed to say, two labels of every host that it makes are its own words."""
    variable = {"pattern": pattern, "from_callback": "x"}
    try:
        definition = acme(refresh_url=f"https://{{v}}{tail}/token", variables={"v": variable})
    except ConfigurationError:
        return
    value = data.draw(st.from_regex(re.compile(pattern, re.ASCII), fullmatch=True))
    try:
        url = resolved(definition, str(definition.refresh_url), {"v": value})
    except ConfigurationError:
        return
    host = urlsplit(url).hostname or ""
    assert urlsplit(url).netloc == host
    endings = {
        (ending.text + tail) if ending.whole else (ending.text + tail).partition(".")[2]
        for ending in read(pattern).endings
    }
    assert any(host == ending or host.endswith(f".{ending}") for ending in endings)
    assert all("." in ending for ending in endings)


@UNHURRIED
@given(pattern=patterns(), data=st.data())
def test_what_matches_holds_only_the_characters_that_were_read(pattern: str, data: st.DataObject) -> None:
    value = data.draw(st.from_regex(re.compile(pattern, re.ASCII), fullmatch=True))

    assert len(value) > LONGEST or read(pattern).matches(value)
    assert set(value) <= read(pattern).characters
    assert any(
        value == ending.text if ending.whole else value.endswith(ending.text)
        for ending in read(pattern).endings
    )


@UNHURRIED
@given(pattern=patterns(), value=st.text("ahop.-x7cmeu01", max_size=12))
def test_a_pattern_means_what_it_means_elsewhere(pattern: str, value: str) -> None:
    """Read and matched by ourselves, it agrees with the standard library's engine."""
    expected = re.fullmatch(pattern, value, re.ASCII) is not None

    assert read(pattern).matches(value) is expected


def test_no_value_takes_beyond_all_measure() -> None:
    """The standard library would need longer than the universe has for this one."""
    assert not read("([a-z]+-?)+").matches("a" * 200 + "!")
    assert read("([a-z]+-?)+").matches("a" * 200 + "-")
    assert not read("((a?)*)*b").matches("a" * 200)
    assert not read("[a-z]{1,999}").matches("a" * 254), "longer than any host name"
