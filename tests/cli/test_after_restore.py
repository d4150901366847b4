"""`evergrant doctor --after-restore`: it tells, it asks, and without a yes it changes nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from psycopg.rows import dict_row

from domain.restore import Identity, Mark
from services.restore.marks import FILE, REDIS_KEY
from simulator.process import SimulatorProcess
from tests.acceptance.deployment import import_line
from tests.cli.conftest import Shell

pytestmark = [pytest.mark.acceptance, pytest.mark.servers]

AHEAD = 5000


def rows(shell: Shell, statement: str) -> list[dict[str, Any]]:
    url = shell.environment["EVERGRANT_DATABASE_URL"]
    with psycopg.connect(url, row_factory=dict_row) as connection:
        return connection.execute(statement.encode()).fetchall()


def state(shell: Shell) -> list[str]:
    """Everything that an answer could change."""
    return [
        str(row["line"])
        for table in ("tokens", "activity", "deployment", "alerts")
        for row in rows(shell, f"SELECT t::text AS line FROM {table} t ORDER BY 1")  # noqa: S608 - tests' own words
    ]


@pytest.fixture
def restored(deployed: Shell, simulator: SimulatorProcess) -> Shell:
    """A deployment with a strict and a plain connection, whose mark in Redis is far ahead."""
    lines = [
        import_line(simulator.client.mint(dialect, 1)[0], provider_id)
        for provider_id, dialect in (("gsc", "google"), ("strict", "strict"))
    ]
    assert deployed("connections", "import", "-", stdin="".join(lines)).returncode == 0
    rows(deployed, "UPDATE tokens SET refresh_due_at = now() RETURNING 1")
    with redis.Redis.from_url(deployed.environment["EVERGRANT_REDIS_URL"]) as client:
        mark = Mark(Identity("7711619819544041694", 1, 16384), AHEAD, 0, datetime.now(UTC))
        client.set(REDIS_KEY, mark.to_json())
    return deployed


def told(output: str) -> None:
    """What a person must know before he says yes."""
    words = " ".join(output.split())
    assert "activity is missing that was seen before" in words
    assert "Redis: line 5000" in words
    assert "missing 4998 lines of activity" in words
    assert "gsc 1 - nothing: presenting an old token does no harm" in words
    assert "strict 1 1 in doubt; one attempt each" in words
    assert "1 connections of providers that rotate tokens are put in doubt" in words


@pytest.mark.parametrize("answer", ["", "n\n", "\n"])
def test_without_a_yes_nothing_is_changed(restored: Shell, answer: str) -> None:
    """Nobody there, a no, and the default: exit 1, and every row as it was."""
    before = state(restored)
    done = restored("doctor", "--after-restore", stdin=answer)

    assert done.returncode == 1, done.stderr
    told(done.stdout)
    assert "Nothing was changed." in done.stdout
    assert state(restored) == before


@pytest.mark.parametrize(("words", "answer"), [(("--yes",), ""), ((), "y\n")])
def test_with_a_yes_it_is_done(restored: Shell, words: tuple[str, ...], answer: str) -> None:
    """What was told is done, the marks are raised, and a second run finds nothing to do."""
    done = restored("doctor", "--after-restore", *words, stdin=answer)

    assert done.returncode == 0, done.stderr
    told(done.stdout)
    assert "1 connections are in doubt" in done.stdout
    statuses = {
        row["provider_id"]: (row["status"], row["last_error_code"]) for row in rows(restored, "TABLE tokens")
    }
    assert statuses == {"gsc": ("active", None), "strict": ("in_doubt", "restored")}
    file = Path(restored.environment["EVERGRANT_DATA_DIR"]) / FILE
    assert Mark.from_json(file.read_text()).line > AHEAD
    again = restored("doctor", "--after-restore")
    assert (again.returncode, again.stderr) == (0, "")
    assert "nothing to do" in again.stdout


def test_a_deployment_that_goes_on_has_nothing_to_settle(deployed: Shell) -> None:
    """Nothing is asked, and the exit status is 0."""
    done = deployed("doctor", "--after-restore")

    assert done.returncode == 0, done.stderr
    assert "nothing to do" in done.stdout


def test_a_restore_that_nothing_shows_is_declared(restored: Shell) -> None:
    """Its marks were put back with it; an operator who knows better is believed, and asked all the same."""
    with redis.Redis.from_url(restored.environment["EVERGRANT_REDIS_URL"]) as client:
        client.delete(REDIS_KEY)
    assert "nothing to do" in restored("doctor", "--after-restore").stdout
    refused = restored("doctor", "--after-restore", "--declare")
    assert refused.returncode == 1
    assert "an operator says so" in refused.stdout

    assert restored("doctor", "--after-restore", "--declare", "--yes").returncode == 0
    statuses = [row["status"] for row in rows(restored, "SELECT status FROM tokens ORDER BY provider_id")]
    assert statuses == ["active", "in_doubt"]


def test_the_examination_names_it(restored: Shell) -> None:
    """`evergrant doctor` fails with the command that settles it, and shows the marks; then no more."""

    def guard() -> dict[str, Any]:
        found = restored.json("doctor", status=1)  # No worker runs either.
        assert any(row["subject"] == "high-water mark" and "Redis: line" in row["found"] for row in found)
        return next(row for row in found if row["subject"] == "restore guard")

    before = guard()
    assert before["severity"] == "fail"
    assert "doctor --after-restore" in before["mend"]
    assert restored("doctor", "--after-restore", "--yes").returncode == 0
    assert guard()["severity"] == "ok"


@pytest.mark.parametrize("words", [("--yes",), ("--declare",), ("--after-restore", "--json")])
def test_wrong_words(nowhere: Shell, words: tuple[str, ...]) -> None:
    """An answer without its question, and a conversation in JSON: exit 2."""
    done = nowhere("doctor", *words)

    assert done.returncode == 2
    assert "--after-restore" in done.stderr
