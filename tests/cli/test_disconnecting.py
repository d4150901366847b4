"""`evergrant connections disconnect`: by id or by names, and what it came to in words."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from pydantic import SecretStr

from services.settings import Settings
from services.wiring import Servers, Services, wire
from simulator.client import MintedGrant
from simulator.process import SimulatorProcess
from tests.acceptance.deployment import EVERGRANT, import_line, start_process
from tests.cli.conftest import Shell
from tests.support.waiting import eventually

pytestmark = [pytest.mark.acceptance, pytest.mark.servers]


def imported(shell: Shell, grant: MintedGrant, provider_id: str, **names: object) -> str:
    """Import a grant, and give the connection's id."""
    before = {row["id"] for row in shell.json("connections", "list")}
    done = shell("connections", "import", "-", stdin=import_line(grant, provider_id, **names))
    assert done.returncode == 0, done.stderr
    (made,) = {row["id"] for row in shell.json("connections", "list")} - before
    assert UUID(made)
    return str(made)


def outbox(shell: Shell) -> list[Any]:
    with psycopg.connect(shell.environment["EVERGRANT_DATABASE_URL"]) as connection:
        return connection.execute("SELECT attempts FROM pending_revocations").fetchall()


def pass_a_minute(shell: Shell) -> None:
    with psycopg.connect(shell.environment["EVERGRANT_DATABASE_URL"]) as connection:
        connection.execute("UPDATE pending_revocations SET next_at = next_at - interval '1 minute'")


@contextmanager
def another_process(shell: Shell) -> Iterator[Services]:
    """What a worker of the same deployment is wired with."""
    environment = shell.environment
    servers = Servers(
        *(SecretStr(environment[f"EVERGRANT_{name}"]) for name in ("DATABASE_URL", "REDIS_URL", "KEYS"))
    )
    settings = Settings(
        providers_file=Path(environment["EVERGRANT_PROVIDERS_FILE"]), data_dir=shell.folder / "data"
    )
    services = wire(settings, servers, environment, role="other", threads=2)
    yield services
    services.close()


def test_a_connection_is_revoked_and_erased(deployed: Shell, simulator: SimulatorProcess) -> None:
    """Said in one line on standard output; a second time there is nothing left to do."""
    grant = simulator.client.mint("google")[0]
    wanted = imported(deployed, grant, "gsc")

    done = deployed("connections", "disconnect", wanted)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"disconnected {wanted}: revoked at Google Search Console, and erased here\n"
    assert simulator.client.grant(grant.grant_id)["dead_reason"] == "revoked_by_client"
    (shown,) = deployed.json("connections", "show", wanted)
    assert (shown["status"], shown["expires_at"]) == ("disconnected", None)
    assert [line["kind"] for line in shown["activity"]] == ["revoked", "disconnected", "imported"]
    again = deployed("connections", "disconnect", wanted, "--yes")
    assert (again.returncode, again.stdout) == (0, f"{wanted} was disconnected already\n")


def test_names_do_instead_of_an_id(deployed: Shell, simulator: SimulatorProcess) -> None:
    """Of a user with two accounts the named one is ended; a provider without revocation is said."""
    first, second = simulator.client.mint("bing", 2, user="ann")
    ids = [
        imported(deployed, grant, "bing", account_id=name) for grant, name in ((first, "x"), (second, "y"))
    ]
    words = ("connections", "disconnect", "--user-id", "ann", "--provider-id", "bing", "--account-id")

    done = deployed(*words, "y")

    assert done.returncode == 0
    assert done.stdout.startswith(
        f"disconnected {ids[1]}: erased only here; the provider takes no revocations"
    )
    assert [row["status"] for row in deployed.json("connections", "list")] == ["active", "disconnected"]
    missing = deployed(*words, "z")
    assert (missing.returncode, missing.stdout) == (1, "")
    assert "user 'ann' has no connection at 'bing' with account 'z'" in missing.stderr


def test_siblings_are_named(deployed: Shell, simulator: SimulatorProcess) -> None:
    """Nothing is revoked while another connection of the account lives, and it is listed."""
    grants = simulator.client.mint("google", 2, user="g-1")
    first, second = (
        imported(deployed, grant, "gsc", user_id=user, account_id="site")
        for grant, user in zip(grants, ("ann", "bob"), strict=True)
    )

    done = deployed("connections", "disconnect", first)

    assert done.returncode == 0
    assert "erased only here; nothing was revoked" in done.stdout
    assert done.stdout.splitlines()[1].strip() == second
    assert all(simulator.client.grant(grant.grant_id)["alive"] for grant in grants)


def test_a_provider_that_does_not_answer_is_said(deployed: Shell, simulator: SimulatorProcess) -> None:
    """Done all the same: the workers go on with it."""
    wanted = imported(deployed, simulator.client.mint("google")[0], "gsc")
    simulator.client.fault("status", endpoint="revoke", dialect="google", status=503)

    done = deployed("connections", "disconnect", wanted)

    assert done.returncode == 0
    assert "the workers go on trying for a day" in done.stdout
    assert outbox(deployed) == [(1,)]


def test_a_killed_command_leaves_the_revocation_to_the_next(
    deployed: Shell, simulator: SimulatorProcess, tmp_path: Path
) -> None:
    """SIGKILL while the provider is being asked: erased here already, and the token is in the outbox."""
    grant = simulator.client.mint("google")[0]
    wanted = imported(deployed, grant, "gsc")
    simulator.client.fault("hang_before", endpoint="revoke", dialect="google", seconds=60)
    words = ("connections", "disconnect", wanted)
    running = start_process("disconnect", deployed.environment, words, tmp_path / "log", cwd=deployed.folder)
    try:
        eventually(lambda: outbox(deployed) == [(1,)], what="the revocation is being made")
    finally:
        running.end(signal.SIGKILL)
    simulator.client.clear_faults()

    assert deployed.json("connections", "list")[0]["status"] == "disconnected"
    assert outbox(deployed) == [(1,)]
    assert simulator.client.grant(grant.grant_id)["alive"]
    with another_process(deployed) as other:
        assert other.revocations.drain() == 0, "it is the killed one's for a minute"
        pass_a_minute(deployed)
        assert other.revocations.drain() == 1
    assert simulator.client.grant(grant.grant_id)["dead_reason"] == "revoked_by_client"
    assert outbox(deployed) == []


@pytest.mark.parametrize(("answer", "status"), [(b"n\n", 1), (b"y\n", 0)])
def test_a_person_is_asked_first(
    deployed: Shell, simulator: SimulatorProcess, answer: bytes, status: int
) -> None:
    """On a terminal, and only there; a no changes nothing."""
    wanted = imported(deployed, simulator.client.mint("bing", user="ann")[0], "bing")
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "wb", buffering=0) as terminal:
        process = subprocess.Popen(
            [*EVERGRANT, "connections", "disconnect", wanted],
            env=deployed.environment, cwd=deployed.folder, stdin=theirs,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        os.close(theirs)
        terminal.write(answer)
        said, asked = process.communicate(timeout=120)

    assert process.returncode == status
    assert "of user ann" in asked
    assert wanted in asked
    expected = "disconnected" if status == 0 else "active"
    assert deployed.json("connections", "list")[0]["status"] == expected
    assert ("disconnected" in said) == (status == 0)
