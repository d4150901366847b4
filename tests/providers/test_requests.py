"""Requests are written in each provider's dialect, and whatever can fail about them fails before sending."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

import pytest
from pydantic import SecretStr

from domain.errors import ClientMisconfigured, ConfigurationError
from domain.token import Credentials
from providers.app_credentials import AppCredentials
from providers.catalogue import load
from providers.requests import PreparedCall, metadata_problem, prepare_check, prepare_refresh
from tests.providers.making import APP, CREDENTIALS, acme

CATALOGUE = load()
AWKWARD = AppCredentials("id:with space/", SecretStr("p+%&=s:~ t"))


def form(call: PreparedCall) -> dict[str, str]:
    assert call.request.headers["Content-Type"] == "application/x-www-form-urlencoded"
    return dict(parse_qsl((call.request.content or b"").decode(), strict_parsing=True))


def body(call: PreparedCall) -> dict[str, Any]:
    assert call.request.headers["Content-Type"] == "application/json"
    parsed: dict[str, Any] = json.loads(call.request.content or b"")
    return parsed


def refresh(provider_id: str, **metadata: object) -> PreparedCall:
    return prepare_refresh(CATALOGUE.get(provider_id), APP, CREDENTIALS, metadata)


@pytest.mark.parametrize("provider_id", ["gsc", "bing"])
def test_google_and_bing_are_asked_with_a_form_that_carries_the_client(provider_id: str) -> None:
    """Neither scope nor redirect_uri is sent on a refresh."""
    call = refresh(provider_id)

    assert call.request.method == "POST"
    assert str(call.request.url) == CATALOGUE.get(provider_id).token_url
    assert form(call) == {
        "grant_type": "refresh_token",
        "refresh_token": "RT-0123456789",
        "client_id": "client-1",
        "client_secret": "app-secret-1",
    }


def test_wix_headless_is_asked_in_camel_case_json_without_a_secret() -> None:
    call = refresh("wix")

    assert body(call) == {
        "grantType": "refresh_token",
        "refreshToken": "RT-0123456789",
        "clientId": "client-1",
    }


def test_a_wix_app_mints_a_token_for_the_instance_of_the_connection() -> None:
    """Client credentials present no refresh token, even where one is stored."""
    call = refresh("wix-app", instance_id="inst-7")

    assert body(call) == {
        "grant_type": "client_credentials",
        "instance_id": "inst-7",
        "client_id": "client-1",
        "client_secret": "app-secret-1",
    }


def test_a_legacy_wix_app_is_asked_in_snake_case_json() -> None:
    assert body(refresh("wix-legacy")) == {
        "grant_type": "refresh_token",
        "refresh_token": "RT-0123456789",
        "client_id": "client-1",
        "client_secret": "app-secret-1",
    }


@pytest.mark.parametrize(
    "metadata",
    [{}, {"instance_id": ""}, {"instance_id": None}, {"instance_id": True}, {"instance_id": "a\nb"}],
)
def test_a_wix_app_without_its_instance_is_refused_by_the_name_of_the_key(
    metadata: dict[str, object],
) -> None:
    """The fault is one connection's, so it is not reported as our client's, which would stop all others."""
    with pytest.raises(ConfigurationError, match=r"metadata\.instance_id: provider 'wix-app' needs it"):
        prepare_refresh(CATALOGUE.get("wix-app"), APP, CREDENTIALS, metadata)
    assert metadata_problem(CATALOGUE.get("wix-app"), metadata) is not None
    assert metadata_problem(CATALOGUE.get("wix-app"), {"instance_id": 7}) is None


@pytest.mark.parametrize(
    "changes", [{}, {"body_format": "json"}, {"field_names": {"refresh_token": "token"}}]
)
def test_basic_authentication_form_encodes_id_and_secret_first(changes: dict[str, Any]) -> None:
    """RFC 6749 §2.3.1: without it a colon in the id, or a plus in the secret, arrives as something else."""
    call = prepare_refresh(acme(client_auth="client_secret_basic", **changes), AWKWARD, CREDENTIALS, {})

    scheme, _, text = call.request.headers["Authorization"].partition(" ")
    client_id, _, secret = base64.b64decode(text).decode("ascii").partition(":")

    assert scheme == "Basic"
    assert unquote_plus(client_id) == AWKWARD.client_id
    assert unquote_plus(secret) == "p+%&=s:~ t"
    assert b"client_" not in (call.request.content or b"")


def test_awkward_credentials_survive_a_form() -> None:
    call = prepare_refresh(acme(), AWKWARD, Credentials(SecretStr("a"), SecretStr("1//0 +&=%/rt")), {})

    assert form(call) == {
        "grant_type": "refresh_token",
        "refresh_token": "1//0 +&=%/rt",
        "client_id": AWKWARD.client_id,
        "client_secret": "p+%&=s:~ t",
    }


def test_a_public_client_sends_its_id_alone() -> None:
    assert set(form(prepare_refresh(acme(client_auth="none"), APP, CREDENTIALS, {}))) == {
        "grant_type",
        "refresh_token",
        "client_id",
    }


def test_constant_fields_and_headers_of_a_definition_are_sent() -> None:
    definition = acme(token_params={"audience": "api"}, token_headers={"Origin": "https://acme.example"})

    call = prepare_refresh(definition, APP, CREDENTIALS, {})

    assert form(call)["audience"] == "api"
    assert call.request.headers["Origin"] == "https://acme.example"


@pytest.mark.parametrize(
    ("changes", "fresh"),
    [
        ({}, True),
        ({"replay_window": 600}, False),
        ({"replay_window": "unlimited"}, False),
        ({"rotation": None, "replay_window": None}, True),
        ({"rotation": "none", "replay_window": None}, False),
    ],
)
def test_a_fresh_connection_is_asked_for_where_a_lost_answer_cannot_be_asked_for_again(
    changes: dict[str, Any], fresh: bool
) -> None:
    assert prepare_refresh(acme(**changes), APP, CREDENTIALS, {}).request.fresh is fresh


@pytest.mark.parametrize("app", [None, AppCredentials("id")])
def test_missing_app_credentials_stop_the_provider_and_not_the_grant(app: AppCredentials | None) -> None:
    with pytest.raises(ClientMisconfigured) as caught:
        prepare_refresh(acme(), app, CREDENTIALS, {})

    assert caught.value.code == "app_not_configured"


@pytest.mark.parametrize("token", ["", "a\nb", "a\x00b", "t\u00f6ken", "\ud800"])
def test_a_damaged_token_is_refused_before_sending_and_not_quoted(token: str) -> None:
    damaged = Credentials(SecretStr(token), SecretStr(token))

    with pytest.raises(
        ConfigurationError, match="the connection's refresh token is empty or holds"
    ) as caught:
        prepare_refresh(acme(), APP, damaged, {})
    with pytest.raises(ConfigurationError, match="the connection's access token is empty or holds"):
        prepare_check(acme(), APP, damaged.access_token)

    assert not token or token not in str(caught.value)


def test_what_cannot_be_refreshed_or_checked_says_so() -> None:
    with pytest.raises(ConfigurationError, match="the connection has no refresh token"):
        prepare_refresh(acme(), APP, Credentials(SecretStr("a"), None), {})
    with pytest.raises(ConfigurationError, match="provider 'wordpress' has no refresh"):
        prepare_refresh(CATALOGUE.get("wordpress"), APP, CREDENTIALS, {})
    with pytest.raises(ConfigurationError, match=r"add \[providers\.acme\.check\]"):
        prepare_check(acme(check=None), APP, CREDENTIALS.access_token)


@pytest.mark.parametrize("provider_id", ["gsc", "bing"])
def test_google_and_bing_are_checked_with_a_bearer_token(provider_id: str) -> None:
    call = prepare_check(CATALOGUE.get(provider_id), None, CREDENTIALS.access_token)

    assert call.request.method == "GET"
    assert call.request.headers["Authorization"] == "Bearer AT-0123456789"
    assert (call.request.content, call.request.secret_query) == (None, b"")


@pytest.mark.parametrize(
    ("headers", "sent"),
    [
        ({"X-Acme-Token": "{access_token}"}, {"X-Acme-Token": "AT-0123456789"}),
        ({"Authorization": "OAuth {access_token}"}, {"Authorization": "OAuth AT-0123456789"}),
    ],
)
def test_a_token_travels_in_a_header_of_another_name_or_scheme(
    headers: dict[str, str], sent: dict[str, str]
) -> None:
    """Shopify has a header of its own, Mailchimp and Twitch another scheme."""
    table = {"url": "https://acme.example/me", "bearer": False}
    check = {**table, "headers": {**headers, "X-Client": "{client_id}"}}
    call = prepare_check(acme(check=check), APP, CREDENTIALS.access_token)

    assert call.request.headers == {**sent, "X-Client": "client-1"}
    assert "AT-0123456789" not in repr(call.request)
    with pytest.raises(ClientMisconfigured):
        prepare_check(acme(check=check), None, CREDENTIALS.access_token)


@pytest.mark.parametrize("provider_id", ["wix", "wix-app", "wix-legacy"])
def test_wix_is_asked_about_the_token_in_a_json_body(provider_id: str) -> None:
    call = prepare_check(CATALOGUE.get(provider_id), None, CREDENTIALS.access_token)

    assert call.request.method == "POST"
    assert body(call) == {"token": "AT-0123456789"}
    assert "Authorization" not in call.request.headers


def test_wordpress_is_asked_about_the_token_in_a_query_that_no_url_object_holds() -> None:
    """The provider demands the token in the query; what is logged of a request is its URL."""
    call = prepare_check(CATALOGUE.get("wordpress"), APP, SecretStr("AT+/&="))

    assert str(call.request.url) == "https://public-api.wordpress.com/oauth2/token-info"
    assert dict(parse_qsl(call.request.secret_query.decode())) == {"client_id": "client-1", "token": "AT+/&="}
    with pytest.raises(ClientMisconfigured):
        prepare_check(CATALOGUE.get("wordpress"), None, CREDENTIALS.access_token)


def test_a_value_that_looks_like_a_placeholder_is_not_filled_again() -> None:
    check = {
        "url": "https://a.example/",
        "bearer": False,
        "query": {"c": "{client_id}", "t": "{access_token}"},
    }

    call = prepare_check(acme(check=check), AppCredentials("{access_token}"), SecretStr("AT-1"))

    assert dict(parse_qsl(call.request.secret_query.decode())) == {"c": "{access_token}", "t": "AT-1"}


def test_braces_with_a_space_inside_them_are_sent_as_they_are() -> None:
    """GraphQL's queries are made of them: https://linear.app/developers/graphql."""
    query = "{ viewer { id email } }"
    check = {
        "url": "https://a.example/graphql",
        "method": "POST",
        "body": {"query": query, "c": "{client_id}"},
    }

    assert body(prepare_check(acme(check=check), APP, CREDENTIALS.access_token)) == {
        "query": query,
        "c": "client-1",
    }
