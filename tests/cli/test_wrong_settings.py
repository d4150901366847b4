"""Wrong settings: exit status 2 or 1 as the contract says, and words that name the thing and the mend."""

from __future__ import annotations

import base64
from typing import Final

import psycopg
import pytest

from tests.cli.conftest import Shell
from tests.support.servers import database_named
from workers.embedded.postgres import EmbeddedPostgres
from workers.supervision.ports import free_port

pytestmark = [pytest.mark.acceptance, pytest.mark.servers]

KEY: Final = base64.b64encode(b"k" * 32).decode()
OTHER: Final = base64.b64encode(b"j" * 32).decode()
SHORT: Final = base64.b64encode(b"k" * 31).decode()
SECRET: Final = "hunter2-is-no-password"


def assert_refused(shell: Shell, *words: str, status: int, says: tuple[str, ...]) -> str:
    """The command ends with the status, and standard error, alone, says each of these; give what it said."""
    __tracebackhide__ = True
    done = shell(*words)
    assert done.returncode == status, f"{done.returncode}: {done.stdout}{done.stderr}"
    assert done.stdout == ""
    assert "Traceback" not in done.stderr, done.stderr
    for word in says:
        assert word.lower() in done.stderr.lower(), f"{word!r} is not in: {done.stderr}"
    assert SECRET not in done.stderr
    return done.stderr


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        (f"nocolon{KEY}", "colon"),
        (f"k1:{SHORT}", "31 bytes"),
        (f"k1:{KEY},k2:%%%{SECRET}%%%", "entry 2"),
        (f"k1:{KEY},k1:{OTHER}", "repeats"),
        (f"k1:{KEY},", "stray comma"),
    ],
)
def test_a_malformed_key_ring_stops_the_start(deployed: Shell, keys: str, says: str) -> None:
    """Whatever is wrong with EVERGRANT_KEYS is named by place and mend, and no key is repeated."""
    said = assert_refused(
        deployed.having(EVERGRANT_KEYS=keys), "connections", "list", status=2, says=("EVERGRANT_KEYS", says)
    )

    assert KEY not in said


@pytest.mark.parametrize("words", [("worker",), ("up",)], ids=" ".join)
def test_an_external_database_asks_for_keys(deployed: Shell, words: tuple[str, ...]) -> None:
    """Without EVERGRANT_KEYS nothing starts on a database that is not ours, and none are made in silence."""
    shell = deployed.having(EVERGRANT_KEYS=None)

    assert_refused(shell, *words, status=2, says=("EVERGRANT_KEYS is not set", "evergrant keys generate"))
    assert not list(shell.folder.glob("data/secrets/keys*"))


def test_every_malformed_setting_is_named_at_once(deployed: Shell) -> None:
    """Each wrong variable is named with what it must look like, together with the others; no value, which
    may hold a password, is repeated."""
    wrong = {
        "EVERGRANT_DATABASE_URL": (f"mysql://u:{SECRET}@h/d", "postgresql://"),
        "EVERGRANT_REDIS_URL": (f"http://:{SECRET}@h:6379/0", "redis://"),
        "EVERGRANT_WORKER_THREADS": ("0", "greater than or equal to 1"),
        "EVERGRANT_BULK_WORKERS": ("many", "integer"),
        "EVERGRANT_QUEUE_SECONDS": ("-3", "0.5"),
        "EVERGRANT_PUBLIC_URL": (f"http://{SECRET}.example", "https://evergrant.example.com"),
        "EVERGRANT_REDIRECT_ALLOWLIST": (f"https://a.example,https://{SECRET}.example/path", "entry 2"),
        "EVERGRANT_ADMIN_API_KEY": ("hunter2", "at least 16"),
        "EVERGRANT_FORECAST_DAYS": ("0", "greater than 0"),
        "EVERGRANT_LOG_LEVEL": ("loud", "'debug'"),
        "EVERGRANT_LOG_FORMAT": ("yaml", "'json'"),
        "EVERGRANT_FLOWER_BASIC_AUTH": (SECRET, "user:password"),
        "EVERGRANT_PROVIDERS_FILE": ("/nowhere/providers.toml", "/nowhere/providers.toml"),
    }
    shell = deployed.having(**{variable: value for variable, (value, _) in wrong.items()})

    says = [*wrong, *(says for _, says in wrong.values())]
    assert_refused(shell, "connections", "list", status=2, says=tuple(says))


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("EVERGRANT_DATABASE_URL", f"postgresql://u:{SECRET}@h:port/d"),
        ("EVERGRANT_DATABASE_URL", f"postgresql://u:begin@{SECRET}@h/d"),
        ("EVERGRANT_REDIS_URL", f"redis://:{SECRET}@127.0.0.1:port/0"),
        ("EVERGRANT_REDIS_URL", f"redis://:{SECRET}@127.0.0.1:6379/one"),
        ("EVERGRANT_REDIS_URL", f"redis://:{SECRET}/unescaped@127.0.0.1:6379/0"),
        ("EVERGRANT_GSC_CLIENT_ID", f"two\nlines-{SECRET}"),
    ],
)
def test_a_malformed_value_is_named_and_not_repeated(deployed: Shell, variable: str, value: str) -> None:
    """Where only a parser finds the mistake, its words, which quote what they could not read, stay inside."""
    shell = deployed.having(**{variable: value})

    assert_refused(shell, "connections", "list", status=2, says=(variable,))


def test_an_unreachable_postgres_is_a_failure_of_the_moment(deployed: Shell) -> None:
    """Nobody listens: status 1, with host and port and without the password."""
    port = free_port()
    shell = deployed.having(EVERGRANT_DATABASE_URL=f"postgresql://u:{SECRET}@127.0.0.1:{port}/d")

    for words in (("migrate",), ("worker",)):
        assert_refused(shell, *words, status=1, says=("Postgres", str(port)))


def test_a_wrong_password_is_told_without_telling_it(
    deployed: Shell, postgres_server: EmbeddedPostgres
) -> None:
    """Postgres says no: status 1, and the password that was tried stays out of sight."""
    wrong = f"postgresql://evergrant:{SECRET}@127.0.0.1:{postgres_server.port}/evergrant"

    shell = deployed.having(EVERGRANT_DATABASE_URL=wrong)
    assert_refused(shell, "connections", "list", status=1, says=("Postgres", "password"))
    missing = database_named(postgres_server.url, "no_such_database")
    shell = deployed.having(EVERGRANT_DATABASE_URL=missing)
    assert_refused(shell, "connections", "list", status=1, says=("Postgres", "no_such_database"))


def test_an_unreachable_redis_is_a_failure_of_the_moment(deployed: Shell) -> None:
    """A refresh that cannot be sent says so with status 1 and names the variable."""
    shell = deployed.having(EVERGRANT_REDIS_URL=f"redis://:{SECRET}@127.0.0.1:{free_port()}/0")

    assert_refused(
        shell, "refresh", "00000000-0000-4000-8000-000000000000", status=1, says=("EVERGRANT_REDIS_URL",)
    )


def test_a_file_that_is_no_toml_is_named(nowhere: Shell) -> None:
    """File and line of the mistake are said."""
    file = nowhere.folder / "providers.toml"
    file.write_text("[providers.gsc]\nnot toml [", encoding="utf-8")
    shell = nowhere.having(EVERGRANT_PROVIDERS_FILE=str(file))

    assert_refused(shell, "providers", "list", status=2, says=("providers.toml", "line 2"))


def test_every_wrong_definition_names_file_key_and_reason(nowhere: Shell) -> None:
    """All mistakes of a definitions file are told at once, each with its provider and key."""
    file = nowhere.folder / "providers.toml"
    file.write_text(
        "[providers.acme]\ngrant = 'refresh_token'\n"
        "[providers.gsc]\nrotation = 'single_use'\n"
        "[providers.bing]\nacess_token_lifetime = 60\n"
        "[providers.wix]\naccess_token_lifetime = -1\n"
        "[providers.wix-app]\ntoken_url = 'ftp://x/y'\n",
        encoding="utf-8",
    )
    shell = nowhere.having(EVERGRANT_PROVIDERS_FILE=str(file))
    said = assert_refused(shell, "providers", "list", status=2, says=(str(file),))

    for provider, key in (
        ("acme", "display_name"),
        ("gsc", "replay_window"),
        ("bing", "acess_token_lifetime"),
        ("wix", "access_token_lifetime"),
        ("wix-app", "token_url"),
    ):
        assert any(f"[providers.{provider}]" in line and key in line for line in said.splitlines()), said


def test_a_database_of_a_newer_release_is_left_alone(deployed: Shell) -> None:
    """A schema that this code does not know is refused by every command, migrate included, and stays."""
    url = deployed.environment["EVERGRANT_DATABASE_URL"]
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")

    for words in (("worker",), ("migrate",)):
        assert_refused(deployed, *words, status=2, says=("9999", "newer"))
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [("9999",)]


def test_an_empty_database_asks_to_be_migrated(deployed: Shell, database_url: str) -> None:
    """Before `evergrant migrate` everything says to run it; after it everything works; twice is harmless."""
    shell = deployed.having(EVERGRANT_DATABASE_URL=database_url)
    assert_refused(shell, "worker", status=2, says=("evergrant migrate",))

    for _ in range(2):
        assert shell("migrate").returncode == 0
    assert shell.json("connections", "list") == []


def test_nothing_has_been_started_here(nowhere: Shell) -> None:
    """With nothing set and no `up` before, commands say what to do and make no data folder."""
    for words in (("connections", "list"), ("worker",)):
        assert_refused(nowhere, *words, status=1, says=("evergrant up", "EVERGRANT_DATABASE_URL"))
    assert not (nowhere.folder / "data").exists()
