"""`evergrant doctor` with each thing broken in turn: the finding that fails names it, and says the mend.

What a healthy deployment says is asserted where one runs (tests/acceptance).
"""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from pydantic import SecretStr

from simulator.process import SimulatorProcess
from storage.engine import make_engine
from storage.keys import KeyRing, generate
from storage.processes import ProcessStore
from storage.staging.life import LifeLock
from tests.acceptance.deployment import import_line
from tests.cli.conftest import Shell
from workers.supervision.ports import free_port

pytestmark = [pytest.mark.acceptance, pytest.mark.servers]


def failed(rows: list[dict[str, Any]]) -> dict[str, str]:
    """Give what failed: subject → what was found and how to mend it."""
    for row in rows:
        assert set(row) == {"subject", "severity", "found", "mend"}
        assert row["severity"] in {"ok", "warn", "fail"}
        assert row["mend"] or row["severity"] == "ok", "a trouble without a mend"
    return {row["subject"]: f"{row['found']} {row['mend']}" for row in rows if row["severity"] == "fail"}


def test_workers_that_do_not_run_are_missed(deployed: Shell, simulator: SimulatorProcess) -> None:
    """With servers alone, the queues that nobody reads fail with the command that mends it; so do tokens that
    no key of the ring opens and connections whose provider nobody can call."""
    lines = [
        import_line(simulator.client.mint(dialect, 1)[0], provider_id)
        for provider_id, dialect in (("gsc", "google"), ("bing", "bing"))
    ]
    assert deployed("connections", "import", "-", stdin="".join(lines)).returncode == 0
    shell = deployed.having(EVERGRANT_KEYS=generate("another"), EVERGRANT_BING_CLIENT_SECRET=None)
    trouble = failed(shell.json("doctor", status=1))

    assert set(trouble) == {"queues", "sealing key", "key", "provider"}
    assert "EVERGRANT_KEYS does not hold it" in trouble["sealing key"]
    assert "evergrant worker --queues refresh,health,on_demand,control" in trouble["queues"]
    assert "2 tokens" in trouble["key"]
    assert "not in EVERGRANT_KEYS" in trouble["key"]
    assert "EVERGRANT_BING_CLIENT_ID" in trouble["provider"]


def test_servers_that_are_away_are_named(deployed: Shell) -> None:
    """Postgres and Redis that nobody finds: both fail, each with its variable, and nothing hangs."""
    port = free_port()
    shell = deployed.having(
        EVERGRANT_DATABASE_URL=f"postgresql://u:s3cret-value@127.0.0.1:{port}/d",
        EVERGRANT_REDIS_URL=f"redis://:s3cret-value@127.0.0.1:{port}/0",
    )
    rows = shell.json("doctor", status=1)

    trouble = failed(rows)
    assert "EVERGRANT_DATABASE_URL" in trouble["postgres"]
    assert "EVERGRANT_REDIS_URL" in trouble["redis"]
    assert "s3cret-value" not in str(rows)


def test_what_workers_can_call_is_unknown_while_redis_is_away(
    deployed: Shell, simulator: SimulatorProcess
) -> None:
    """Nobody is told to set client ids that the living workers may well have; Redis alone fails."""
    line = import_line(simulator.client.mint("bing", 1)[0], "bing")
    assert deployed("connections", "import", "-", stdin=line).returncode == 0
    ring = KeyRing.parse(SecretStr(deployed.environment["EVERGRANT_KEYS"]))
    engine = make_engine(deployed.environment["EVERGRANT_DATABASE_URL"], pool_size=1)
    ProcessStore(engine).register("here:1:bulk", role="bulk", host="here", key_ids=ring.fingerprints)
    engine.dispose()
    shell = deployed.having(
        EVERGRANT_REDIS_URL=f"redis://127.0.0.1:{free_port()}/0", EVERGRANT_BING_CLIENT_SECRET=None
    )
    rows = shell.json("doctor", status=1)

    assert "provider" not in failed(rows)
    assert "redis" in failed(rows)
    (said,) = [row for row in rows if row["subject"] == "provider"]
    assert said["severity"] == "warn"
    assert "no worker answered" in said["found"]


def test_answers_in_a_memory_are_told_while_postgres_is_away(deployed: Shell) -> None:
    """The lock beside the spool tells it when Postgres, which would know how many, cannot be asked."""
    spool = deployed.folder / "data" / "spool"
    spool.mkdir(mode=0o700, parents=True)
    lock = LifeLock(spool, "here:1:bulk")
    lock.take()
    shell = deployed.having(EVERGRANT_DATABASE_URL=f"postgresql://u@127.0.0.1:{free_port()}/d")
    assert "unsafe answers" not in failed(shell.json("doctor", status=1))

    lock.hold(answers=True)
    trouble = failed(shell.json("doctor", status=1))
    lock.release()

    assert "do not kill it" in trouble["unsafe answers"]


def test_a_schema_of_another_release_is_named(deployed: Shell) -> None:
    """A schema that is newer than the code fails as such; Postgres itself is well."""
    url = deployed.environment["EVERGRANT_DATABASE_URL"]
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    rows = deployed.json("doctor", status=1)

    assert "9999" in failed(rows)["schema"]
    assert [row["severity"] for row in rows if row["subject"] == "postgres"] == ["ok"]


@pytest.mark.parametrize(
    ("variable", "value", "subject"),
    [
        ("EVERGRANT_LOG_LEVEL", "loud", "settings"),
        ("EVERGRANT_KEYS", "k1:too-short", "keys"),
        ("EVERGRANT_KEYS", None, "deployment"),
        ("EVERGRANT_PROVIDERS_FILE", "broken.toml", "providers"),
    ],
)
def test_a_wrong_setting_is_named(deployed: Shell, variable: str, value: str | None, subject: str) -> None:
    """The examination goes on as far as it can, and the finding names the variable or the file."""
    (deployed.folder / "broken.toml").write_text("[providers.gsc]\nrotation = 'sometimes'\n")
    trouble = failed(deployed.having(**{variable: value}).json("doctor", status=1))

    assert (variable if value != "broken.toml" else "broken.toml") in trouble[subject]


def test_a_person_reads_the_same(deployed: Shell) -> None:
    """Without --json every trouble stands in a line of its own, with an arrow to its mend."""
    done = deployed.having(EVERGRANT_LOG_LEVEL="loud")("doctor")

    assert done.returncode == 1
    first, second = done.stdout.splitlines()
    assert first.startswith("FAIL settings: EVERGRANT_LOG_LEVEL")
    assert second.strip().startswith("→ ")
