"""Transcripts are read strictly, and told where they are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from simulator.playing.loading import TranscriptError, in_folder, read

GOOD = """
provider = "acme"

[[exchange]]
name = "a refresh"
on = "token"
grant = "refresh_token"
source = "https://acme.example/docs"
[exchange.request]
method = "POST"
url = "https://acme.example/token"
client_auth = "basic"
body_format = "form"
fields = { grant_type = "refresh_token", refresh_token = "*" }
[exchange.answer]
status = 200
body = '''{"access_token": "{access_token}", "id_token": "{id_token:{"sub": "1"}}"}'''
[exchange.means]
outcome = "tokens"
"""


def test_a_good_transcript_is_read() -> None:
    """Its exchanges are documented unless it says otherwise."""
    transcript = read(GOOD, source="transcripts/acme.toml")

    assert transcript.exchange[0].documented
    assert transcript.exchange[0].request.members == {"grant_type": "refresh_token", "refresh_token": "*"}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("client_auth =", "client_aut =", 'exchange 1 "a refresh": request.client_aut: unknown key'),
        ('"basic"', '"Basic"', 'exchange 1 "a refresh": request.client_auth: must be'),
        ("status = 200", 'status = "200"', 'exchange 1 "a refresh": answer.status: must be'),
        ('outcome = "tokens"', 'outcome = "alive"', 'means.outcome: of on = "token" is "tokens"'),
        ('outcome = "tokens"', 'outcome = "dead"', 'exchange 1 "a refresh": means.outcome: must be'),
        ('grant = "refresh_token"\n', "", 'exchange 1 "a refresh": grant: belongs to on = "token"'),
        ("https://acme.example/token", "http://acme.example/token", "request.url: must be https"),
        ('refresh_token = "*"', 'refresh_token = "{refresh}"', "request.fields.refresh_token: may refer to"),
        ('{"sub": "1"}}', '{"sub": "1"}', 'exchange 1 "a refresh": answer.body:'),
        ('name = "a refresh"', 'name = ""', 'exchange 1 "": name:'),
        ('source = "https://acme.example/docs"', "", 'exchange 1 "a refresh": source: is required'),
        ('provider = "acme"', 'provider = "Acme"', "provider:"),
        ("[[exchange]]", "[exchange", "is not TOML"),
    ],
)
def test_a_mistake_is_named_with_file_exchange_and_key(old: str, new: str, said: str) -> None:
    assert GOOD.count(old) == 1
    with pytest.raises(TranscriptError) as caught:
        read(GOOD.replace(old, new), source="transcripts/acme.toml")

    assert "transcripts/acme.toml: " in str(caught.value)
    assert said in str(caught.value)


def test_two_exchanges_have_two_names() -> None:
    """A report points at an exchange by its name."""
    twice = GOOD + GOOD.partition('provider = "acme"\n')[2]

    with pytest.raises(TranscriptError, match='two are named "a refresh"'):
        read(twice, source="transcripts/acme.toml")


def test_a_file_is_named_after_its_provider(tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text(GOOD)

    with pytest.raises(TranscriptError, match="named after the provider"):
        in_folder(tmp_path)


def test_all_files_are_complained_about_at_once(tmp_path: Path) -> None:
    (tmp_path / "acme.toml").write_text(GOOD.replace("status = 200", ""))
    (tmp_path / "else.toml").write_text("[")

    with pytest.raises(TranscriptError, match=r"acme\.toml(.|\n)*else\.toml"):
        in_folder(tmp_path)


def test_a_folder_of_ones_own_is_named_in_full_and_each_mistake_is_said_once(tmp_path: Path) -> None:
    """Exchanges that cannot be read are not said to be missing as well."""
    (tmp_path / "acme.toml").write_text(GOOD.replace("status = ", "stauts = "), "utf-8")

    with pytest.raises(TranscriptError) as caught:
        in_folder(tmp_path)
    lines = str(caught.value).splitlines()
    assert all(line.startswith(f"{tmp_path}/acme.toml: exchange 1") for line in lines), lines
