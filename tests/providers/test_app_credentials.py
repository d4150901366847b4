"""The app's credentials come from two variables a provider, and are refused by name when they are wrong."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from domain.errors import ConfigurationError
from providers.app_credentials import (
    AppCredentials,
    all_from_environment,
    configured,
    from_environment,
    variable_names,
)
from providers.catalogue import load


def test_the_variables_are_named_after_the_id_in_capitals() -> None:
    assert variable_names("wix-app") == ("EVERGRANT_WIX_APP_CLIENT_ID", "EVERGRANT_WIX_APP_CLIENT_SECRET")


def test_unset_and_empty_variables_mean_that_there_are_no_credentials() -> None:
    assert from_environment("gsc", {}) is None
    assert from_environment("gsc", {"EVERGRANT_GSC_CLIENT_ID": "", "EVERGRANT_GSC_CLIENT_SECRET": ""}) is None


def test_id_and_secret_are_read_and_the_secret_stays_hidden() -> None:
    found = from_environment(
        "gsc", {"EVERGRANT_GSC_CLIENT_ID": "id-1", "EVERGRANT_GSC_CLIENT_SECRET": "hush-hush"}
    )

    assert found == AppCredentials("id-1", SecretStr("hush-hush"))
    assert "hush" not in repr(found)


@pytest.mark.parametrize(
    ("environment", "names"),
    [
        ({"EVERGRANT_GSC_CLIENT_SECRET": "s"}, ["EVERGRANT_GSC_CLIENT_SECRET", "EVERGRANT_GSC_CLIENT_ID"]),
        ({"EVERGRANT_GSC_CLIENT_ID": " id"}, ["EVERGRANT_GSC_CLIENT_ID"]),
        (
            {"EVERGRANT_GSC_CLIENT_ID": "id", "EVERGRANT_GSC_CLIENT_SECRET": "se\ncret"},
            ["EVERGRANT_GSC_CLIENT_SECRET"],
        ),
        ({"EVERGRANT_GSC_CLIENT_ID": "ïd"}, ["EVERGRANT_GSC_CLIENT_ID"]),
    ],
)
def test_a_bad_value_is_refused_by_the_variables_name_alone(
    environment: dict[str, str], names: list[str]
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        from_environment("gsc", environment)

    assert all(name in str(caught.value) for name in names)
    assert "cret" not in str(caught.value).replace("_CLIENT_SECRET", "")


def test_wix_headless_counts_as_configured_without_a_secret_and_the_others_do_not() -> None:
    catalogue = load()
    bare = AppCredentials("id")

    assert [d.id for d in catalogue if configured(d, bare)] == ["wix"]
    assert all(configured(d, AppCredentials("id", SecretStr("s"))) for d in catalogue)
    assert not any(configured(d, None) for d in catalogue)


def test_all_wrong_variables_are_reported_together() -> None:
    with pytest.raises(ConfigurationError) as caught:
        all_from_environment(
            load(), {"EVERGRANT_GSC_CLIENT_SECRET": "s", "EVERGRANT_BING_CLIENT_ID": "x ", "HOME": "/"}
        )

    assert len(str(caught.value).splitlines()) == 2


def test_only_providers_with_credentials_are_listed() -> None:
    assert set(all_from_environment(load(), {"EVERGRANT_WIX_APP_CLIENT_ID": "x"})) == {"wix-app"}
