"""`evergrant keys list` and `keys rotate`: what they say, how they end, and what a kill leaves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import pytest
from pydantic import SecretStr

from simulator.process import SimulatorProcess
from storage.engine import make_engine
from storage.keys import KeyRing, generate
from storage.processes import ProcessStore
from tests.acceptance.deployment import import_line, start_process
from tests.cli.conftest import Shell
from tests.support.waiting import eventually

pytestmark = [pytest.mark.acceptance, pytest.mark.servers]

OLD, NEW = generate("old"), generate("new")


@pytest.fixture
def three(deployed: Shell, simulator: SimulatorProcess) -> Shell:
    """A deployment whose three connections are sealed with `old`, and a shell with `new` before it."""
    shell = deployed.having(EVERGRANT_KEYS=OLD)
    lines = [import_line(grant, "gsc") for grant in simulator.client.mint("google", 3)]
    assert shell("connections", "import", "-", stdin="".join(lines)).returncode == 0
    return shell.having(EVERGRANT_KEYS=f"{NEW},{OLD}")


def query(shell: Shell, statement: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(shell.environment["EVERGRANT_DATABASE_URL"], autocommit=True) as connection:
        done = connection.execute(statement.encode())
        return done.fetchall() if done.description else []


def register(shell: Shell, *key_ids: str) -> None:
    engine = make_engine(shell.environment["EVERGRANT_DATABASE_URL"])
    ring = KeyRing.parse(SecretStr(f"{NEW},{OLD}"))
    held = [ring.fingerprint(key_id) for key_id in key_ids]
    ProcessStore(engine).register("w1", role="bulk", host="elsewhere", key_ids=held)
    engine.dispose()


def test_the_keys_are_listed(three: Shell) -> None:
    """Which one seals, which the ring holds, and what needs each; one that is needed and missing as well."""
    rows = {row["key_id"]: row for row in three.json("keys", "list")}

    assert rows["new"] == {
        "key_id": "new", "seals": False, "held": True, "tokens": 0, "spares": 0, "revocations": 0, "flows": 0,
        "digests": 0, "staged": 0,
    }  # fmt: skip
    assert (rows["old"]["seals"], rows["old"]["held"], rows["old"]["tokens"]) == (True, True, 3)
    (stranger, missing) = three.having(EVERGRANT_KEYS=generate("other")).json("keys", "list")
    assert (stranger["key_id"], missing["key_id"], missing["held"]) == ("other", "old", False)
    shown = three("keys", "list").stdout.splitlines()
    assert [line.split() for line in shown] == [
        ["KEY", "ID", "SEALS", "HELD", "TOKENS", "SPARES", "REVOCATIONS", "FLOWS", "DIGESTS", "STAGED"],
        ["new", "no", "yes", "0", "0", "0", "0", "0", "0"],
        ["old", "yes", "yes", "3", "0", "0", "0", "3", "0"],
    ]


def test_a_rotation_says_what_it_did(three: Shell) -> None:
    """Progress on standard error, the outcome on standard output, and then the ring can do without the old
    key; a ring without the new one is refused with the variable's name."""
    done = three("keys", "rotate")

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[:2] == [
        "new seals from now on",
        "sealed anew: 3 tokens, 0 spares, 0 revocations, 0 flows, 3 digests, 0 staged",
    ]  # fmt: skip
    assert done.stdout.splitlines()[2].startswith("old is not needed any more: take it out of EVERGRANT_KEYS")
    assert "sealing tokens" in done.stderr
    again = three("keys", "rotate")
    assert (again.returncode, again.stdout.splitlines()[0]) == (0, "new seals already")
    assert three.having(EVERGRANT_KEYS=NEW)("connections", "list").returncode == 0
    refused = three.having(EVERGRANT_KEYS=OLD)("connections", "list")
    assert refused.returncode == 2
    assert "EVERGRANT_KEYS does not hold 'new:" in refused.stderr
    for key in (OLD, NEW):
        assert key.partition(":")[2] not in done.stdout + done.stderr + refused.stderr


def test_a_dry_run_changes_nothing(three: Shell) -> None:
    """It says what would be done; with a process that lacks the key it says which one, and exits 1."""
    before = query(three, "SELECT * FROM tokens, deployment ORDER BY connection_id")
    done = three("keys", "rotate", "--dry-run")

    assert done.returncode == 0, done.stderr
    assert "new would seal instead of old" in done.stdout
    assert "tokens: 0 need new, 3 need old" in done.stdout
    register(three, "old")
    prevented = three("keys", "rotate", "--dry-run")
    assert prevented.returncode == 1
    assert "bulk on elsewhere" in prevented.stdout
    assert query(three, "SELECT * FROM tokens, deployment ORDER BY connection_id") == before


def test_a_living_process_without_the_key_is_named(three: Shell) -> None:
    """The rotation ends with 1 and changes nothing; the doctor tells the same."""
    register(three, "old")
    done = three("keys", "rotate")

    assert done.returncode == 1
    assert "nothing was changed" in done.stderr
    assert "bulk on elsewhere" in done.stderr
    assert query(three, "SELECT DISTINCT key_id FROM tokens") == [("old",)]
    (finding,) = [row for row in three.json("doctor", status=1) if row["subject"] == "proposed key"]
    assert finding["severity"] == "warn"
    assert "bulk on elsewhere do not hold it" in finding["found"]
    assert "EVERGRANT_KEYS" in finding["mend"]


def test_whoever_is_not_waited_for_is_named(three: Shell) -> None:
    """With --no-wait: everything is sealed anew, the process that never looked is named, and no key is called
    removable."""
    register(three, "new", "old")
    done = three("keys", "rotate", "--no-wait")

    assert done.returncode == 1
    assert "sealed anew: 3 tokens" in done.stdout
    assert "still use a former key: bulk on elsewhere" in done.stdout
    assert "not needed any more" not in done.stdout


def test_a_damaged_row_is_named_and_left(three: Shell) -> None:
    """The others are sealed anew, the exit status is 1, and the old key stays in use."""
    query(
        three,
        "UPDATE tokens SET access_token = '\\x01' WHERE connection_id ="
        " (SELECT connection_id FROM tokens ORDER BY connection_id LIMIT 1)",
    )
    ((damaged,),) = query(three, "SELECT connection_id FROM tokens WHERE access_token = '\\x01'")
    done = three("keys", "rotate")

    assert done.returncode == 1
    assert f"left as it is: tokens {damaged}: " in done.stdout
    assert "sealed anew: 2 tokens" in done.stdout
    assert "not needed any more" not in done.stdout
    assert query(three, "SELECT connection_id FROM tokens WHERE access_token = '\\x01'") == [(damaged,)]


def test_a_rotation_killed_in_the_middle_is_run_again(three: Shell, tmp_path: Path) -> None:
    """kill -9 while one row is held by somebody and the others are done: every row opens, and the next run
    does the rest."""
    url = three.environment["EVERGRANT_DATABASE_URL"]
    with psycopg.connect(url) as other:
        other.execute("SELECT 1 FROM tokens ORDER BY connection_id LIMIT 1 FOR NO KEY UPDATE")
        running = start_process("rotate", three.environment, ["keys", "rotate"], tmp_path / "log")
        try:
            eventually(
                lambda: query(three, "SELECT count(*) FROM tokens WHERE key_id = 'new'") == [(2,)],
                what=running.said(),
            )
        finally:
            running.kill_group()
    assert {row["key_id"]: row["tokens"] for row in three.json("keys", "list")} == {"new": 2, "old": 1}
    again = three("keys", "rotate")

    assert again.returncode == 0, again.stdout
    assert "sealed anew: 1 tokens" in again.stdout
    assert {row["key_id"]: row["tokens"] for row in three.json("keys", "list")} == {"new": 3, "old": 0}
