"""Commands in a demo's folder work on the demo's providers."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from services.settings import Settings
from workers.cli import session
from workers.embedded.layout import DataFolder
from workers.up.demo import Demo


def test_a_demos_commands_have_its_providers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As its workers have them, whatever the shell's environment says of the same providers."""
    monkeypatch.setenv("EVERGRANT_GSC_CLIENT_ID", "a-real-one")
    started = Demo(DataFolder(tmp_path)).environment()

    settings, environment = session.with_demo(Settings(data_dir=tmp_path))

    assert str(settings.providers_file) == started["EVERGRANT_PROVIDERS_FILE"]
    assert environment["EVERGRANT_GSC_CLIENT_ID"] == started["EVERGRANT_GSC_CLIENT_ID"] != "a-real-one"


@pytest.mark.parametrize("of_a_demo", [True, False])
def test_real_providers_are_never_exchanged(tmp_path: Path, of_a_demo: bool) -> None:
    """A folder that is no demo's changes nothing, and neither does a demo's where the database is another."""
    if of_a_demo:
        Demo(DataFolder(tmp_path)).environment()
    url = SecretStr("postgresql://elsewhere/evergrant") if of_a_demo else None
    given = Settings(data_dir=tmp_path, database_url=url)

    settings, environment = session.with_demo(given)

    assert settings is given
    assert "EVERGRANT_GSC_CLIENT_ID" not in environment
