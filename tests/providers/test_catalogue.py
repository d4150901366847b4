"""The built-in catalogue is complete, and a file adds to it or overrides it key by key."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from domain.errors import ConfigurationError
from domain.provider import GrantKind, Replay, Rotation
from providers.catalogue import Catalogue, load
from providers.definition import BodyFormat, ClientAuth


@pytest.fixture(scope="module")
def built_in() -> Catalogue:
    return load()


def write(folder: Path, text: str) -> Path:
    path = folder / "providers.toml"
    path.write_text(text)
    return path


def test_the_catalogue_lists_what_is_built_in_each_once_and_in_order(built_in: Catalogue) -> None:
    """Among them those that it began with, Wix under three ids."""
    assert {"bing", "gsc", "wix", "wix-app", "wix-legacy", "wordpress"} <= set(built_in.ids)
    assert list(built_in.ids) == sorted(set(built_in.ids))
    assert len(built_in) == len(list(built_in)) == len(built_in.ids)


@pytest.mark.parametrize(
    ("provider_id", "grant", "rotation", "replay", "client_auth", "body_format", "lifetime"),
    [
        ("gsc", "refresh_token", "none", "freely", "client_secret_post", "form", 3600),
        ("bing", "refresh_token", "optional", "last_resort", "client_secret_post", "form", 3599),
        ("wordpress", "none", "none", "freely", "client_secret_post", "form", None),
        ("wix", "refresh_token", "optional", "last_resort", "none", "json", 14400),
        ("wix-app", "client_credentials", "none", "freely", "client_secret_post", "json", 14400),
        ("wix-legacy", "refresh_token", "none", "freely", "client_secret_post", "json", 300),
    ],
)
def test_the_facts_of_a_built_in_provider(
    built_in: Catalogue,
    provider_id: str,
    grant: str,
    rotation: str,
    replay: str,
    client_auth: str,
    body_format: str,
    lifetime: int | None,
) -> None:
    definition = built_in.get(provider_id)

    assert definition.grant is GrantKind(grant)
    assert definition.facts.rotation is Rotation(rotation)
    assert definition.replay is Replay(replay)
    assert definition.client_auth is ClientAuth(client_auth)
    assert definition.body_format is BodyFormat(body_format)
    assert definition.access_token_lifetime == (None if lifetime is None else timedelta(seconds=lifetime))


def test_every_built_in_provider_names_its_sources_and_has_a_health_check(built_in: Catalogue) -> None:
    for definition in built_in:
        assert definition.sources
        assert "health_check" in definition.capabilities


def test_what_is_not_confirmed_is_said_beside_the_fact(built_in: Catalogue) -> None:
    assert {"token_url", "rotation"} <= set(built_in.get("bing").unconfirmed)
    assert "rotation" in built_in.get("wix").unconfirmed


def test_wix_apps_need_an_instance_and_headless_projects_no_secret(built_in: Catalogue) -> None:
    assert built_in.get("wix-app").required_metadata == ("instance_id",)
    assert not built_in.get("wix").requires_secret
    assert built_in.get("wix-app").requires_secret


def test_a_file_overrides_a_built_in_provider_key_by_key(tmp_path: Path, built_in: Catalogue) -> None:
    """One key of a table within a table changes; every other fact stays as it was."""
    path = write(
        tmp_path,
        """
        [providers.gsc]
        token_url = "http://127.0.0.1:9000/google/token"
        [providers.gsc.check]
        interval = 60
        """,
    )

    changed, before = load(path).get("gsc"), built_in.get("gsc")

    assert changed.token_url == "http://127.0.0.1:9000/google/token"
    assert changed.check is not None
    assert before.check is not None
    assert changed.check.interval == timedelta(seconds=60)
    assert changed.check.url == before.check.url
    assert changed.judgements == before.judgements
    assert load(path).get("bing") == built_in.get("bing")


def test_a_list_in_a_file_replaces_the_built_in_list(tmp_path: Path) -> None:
    path = write(tmp_path, "[providers.gsc]\njudgements = []\n")

    assert load(path).get("gsc").judgements == ()


def test_a_plain_provider_is_added_without_code(tmp_path: Path) -> None:
    """The table of the documentation works as it stands there."""
    path = write(
        tmp_path,
        """
        [providers.acme]
        display_name = "Acme"
        grant = "refresh_token"
        authorize_url = "https://acme.example/authorize"
        token_url = "https://acme.example/token"
        revoke_url = "https://acme.example/revoke"
        client_auth = "client_secret_post"
        body_format = "form"
        scopes = ["read"]
        pkce = true
        access_token_lifetime = 3600
        refresh_token_idle_lifetime = 7776000
        rotation = "single_use"
        replay_window = 0
        max_requests_per_second = 20
        [providers.acme.check]
        method = "GET"
        url = "https://acme.example/userinfo"
        """,
    )

    catalogue = load(path)

    assert "acme" in catalogue
    assert catalogue.ids[0] == "acme"
    assert catalogue.get("acme").max_requests_per_second == 20.0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[providers.acme\n", ": is not TOML: "),
        ("[provider.acme]\n", ": provider: unknown key; a definition is a table named [providers.<id>]"),
        ("providers = 3\n", ": providers: must be tables"),
        ("[providers.Acme]\n", ": [providers.Acme]: the id must be lower-case"),
        ("[providers]\nacme = 3\n", ": providers.acme: must be a table"),
        (
            "[providers.gsc]\ngrant = 'x'\n[providers.acme]\ndisplay_name = ''\n",
            ": [providers.gsc] grant: must",
        ),
        ("[providers.gsc]\ngrant = 'x'\n[providers.acme]\ndisplay_name = ''\n", ": [providers.acme] token"),
    ],
)
def test_a_bad_file_is_refused_with_its_name_and_what_is_wrong(
    tmp_path: Path, text: str, expected: str
) -> None:
    text = text.replace("display_name = ''", "display_name = 'A'\ngrant = 'refresh_token'")
    path = write(tmp_path, text)

    with pytest.raises(ConfigurationError) as caught:
        load(path)

    assert f"{path}{expected}" in str(caught.value)


def test_a_file_that_cannot_be_read_names_the_setting(tmp_path: Path) -> None:
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\x00")

    with pytest.raises(ConfigurationError, match=r"EVERGRANT_PROVIDERS_FILE: cannot read .*missing\.toml"):
        load(tmp_path / "missing.toml")
    with pytest.raises(ConfigurationError, match=r"EVERGRANT_PROVIDERS_FILE: cannot read .*: Is a directory"):
        load(tmp_path)
    with pytest.raises(ConfigurationError, match=r"binary\.toml is not UTF-8"):
        load(binary)


def test_an_unknown_provider_is_answered_with_the_known_ones(built_in: Catalogue) -> None:
    with pytest.raises(ConfigurationError, match=r"unknown provider 'gcs'; known are .*\bgsc, .*\bwix, "):
        built_in.get("gcs")
