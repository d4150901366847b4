"""What a person reads after `make conformance`, and what a script learns from its exit status."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.conformance.__main__ import main
from tests.simulator.test_transcripts import GOOD

ACME = """
[providers.acme]
display_name = "Acme"
grant = "refresh_token"
token_url = "https://acme.example/token"
client_auth = "client_secret_basic"
rotation = "single_use"
replay_window = 0
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A definition of one's own, and what its provider shows."""
    (tmp_path / "acme.toml").write_text(
        GOOD.replace('client_auth = "basic"', 'client_auth = "basic" # its page')
    )
    (tmp_path / "providers").mkdir()
    return tmp_path


def run(folder: Path, text: str, *words: str) -> int:
    file = folder / "providers" / "mine.toml"
    file.write_text(text)
    return main(["acme", "--file", str(file), "--transcripts", str(folder), *words])


def test_a_provider_that_conforms_is_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With how much was played, and what was not shown."""
    assert run(folder, ACME) == 0

    line, summary = capsys.readouterr().out.splitlines()
    assert line.split()[:4] == ["acme", "1", "exchanges", "(1"]
    assert "conforms" in line
    assert summary.endswith("none lies")


def test_a_lie_is_told_with_all_that_mends_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Provider, exchange, what the provider wants, what the definition says, key, source; and status 1."""
    assert run(folder, ACME.replace("https://acme.example/token", "https://acme.example/oauth/token")) == 1

    told = capsys.readouterr().out
    assert "acme: a refresh" in told
    assert "the provider    insists on https://acme.example/token" in told
    assert "the definition  makes it https://acme.example/oauth/token" in told
    assert "mend            token_url" in told
    assert "source          https://acme.example/docs" in told


def test_a_table_without_a_transcript_is_tried_all_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(ACME)

    assert main(["acme", "--file", str(file)]) == 0
    line = capsys.readouterr().out.splitlines()[0]
    assert "no transcript" in line
    assert line.endswith("agrees with itself")


def test_the_operators_file_is_found_by_its_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As every process of the product finds it."""
    file = tmp_path / "mine.toml"
    file.write_text(ACME)
    monkeypatch.setenv("EVERGRANT_PROVIDERS_FILE", str(file))

    assert main(["acme"]) == 0
    assert capsys.readouterr().out.startswith("acme")


def test_gaps_are_told_when_they_are_asked_for(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(folder, ACME, "--gaps")

    assert "not shown: a dead refresh token" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("table", "transcript", "said"),
    [
        (ACME.replace("token_url", "token_uri"), GOOD, "token_uri"),
        (ACME, GOOD.replace("status", "state"), 'exchange 1 "a refresh": answer.state: unknown key'),
    ],
)
def test_what_cannot_be_read_is_said_and_fails(
    folder: Path, capsys: pytest.CaptureFixture[str], table: str, transcript: str, said: str
) -> None:
    (folder / "acme.toml").write_text(transcript)

    assert run(folder, table) == 1
    assert said in capsys.readouterr().err


def test_an_unknown_provider_is_a_wrong_word(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["nobody"])

    assert caught.value.code == 2
    assert "unknown provider nobody" in capsys.readouterr().err
