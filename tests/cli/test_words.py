"""Wrong words, unknown ids, ports and folders that cannot be used."""

from __future__ import annotations

import os
import re
import socket
import subprocess

import pytest

from tests.acceptance.deployment import EVERGRANT, run_cli
from tests.cli.conftest import Shell
from tests.cli.test_wrong_settings import assert_refused

pytestmark = [pytest.mark.acceptance, pytest.mark.servers]

NOBODY = "00000000-0000-4000-8000-000000000000"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("frobnicate",), "frobnicate"),
        (("connections", "show", "not-an-id"), "connection_id"),
        (("incidents", "confirm", "the-wave"), "incident_id"),
        (("connections", "list", "--status", "happy"), "needs_reauth"),
        (("connections", "disconnect"), "--user-id and --provider-id"),
        (("connections", "disconnect", "--user-id", "ann"), "--user-id and --provider-id"),
        (("connections", "disconnect", NOBODY, "--provider-id", "gsc"), "--user-id and --provider-id"),
        (("connections", "disconnect", "not-an-id"), "connection_id"),
        (("connections", "import", "no-such-file.jsonl"), "no-such-file.jsonl"),
        (("refresh",), "CONNECTION_ID"),
        (("worker", "--queues", "refresh,fast"), "refresh, health, on_demand, control"),
        (("worker", "--name", "../elsewhere"), "../elsewhere"),
        (("flower", "--port", "99999"), "--port"),
        (("up", "--flower-port", "http"), "--flower-port"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_wrong_words_are_status_2(deployed: Shell, words: tuple[str, ...], says: str) -> None:
    """What was wrong about the words is named, on standard error."""
    assert_refused(deployed, *words, status=2, says=(says,))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("connections", "show", NOBODY), ("no connection", NOBODY)),
        (("connections", "disconnect", NOBODY), ("no connection", NOBODY)),
        (("alerts", "ack", NOBODY), ("no open alert", NOBODY)),
        (("incidents", "confirm", NOBODY), ("no incident", NOBODY, "incidents list --all")),
        (("incidents", "dismiss", NOBODY), ("no incident", NOBODY, "incidents list --all")),
        (("healthcheck", "worker"), ("worker", "no sign of life")),
        (("healthcheck", "beat"), ("beat", "no sign of life")),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) and len(value) < 4 else "",
)
def test_an_unknown_thing_is_status_1(deployed: Shell, words: tuple[str, ...], says: tuple[str, ...]) -> None:
    """The words were right and the thing is not there."""
    assert_refused(deployed, *words, status=1, says=says)


def test_help_lists_every_command(nowhere: Shell) -> None:
    """Each command of this release is in the help, steps of `up` are not, and some explain themselves."""
    said = nowhere("--help").stdout
    for command in (
        "up", "migrate", "worker", "beat", "flower", "api", "healthcheck", "refresh", "connections", "alerts",
        "incidents", "providers", "keys", "doctor",
    ):  # fmt: skip
        assert f"\n  {command} " in said
    assert "demo-seed" not in said
    assert "--queues" in nowhere("worker", "--help").stdout


def test_a_port_in_use_is_named(deployed: Shell) -> None:
    """Flower does not start on somebody's port or address, alone or under `up`, and says which and what to
    do."""
    shell = deployed.having(EVERGRANT_FLOWER_BASIC_AUTH="user:word")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert_refused(shell, "flower", "--port", port, status=2, says=(port, "in use"))
        for address in ("0.0.0.0", "192.0.2.1"):
            says = (port, f"--address {address}")
            assert_refused(shell, "flower", "--port", port, "--address", address, status=2, says=says)
        assert_refused(shell, "api", "--port", port, status=2, says=(port, "in use"))
        for option in ("--flower-port", "--port"):
            done = shell("up", option, port)
            assert done.returncode == 2, done.stdout + done.stderr
            assert f"port {port}" in done.stderr
            assert "in use" in done.stderr
            assert option in done.stderr
            # Told before anything is started.
            assert "starting:" not in done.stdout
        both = deployed("up", "--port", port, "--flower-port", port)
        assert (both.returncode, f"are both {port}" in both.stderr) == (2, True), both.stderr


def test_flower_is_never_served_without_a_sign_in(deployed: Shell) -> None:
    """No password is set and none was made: Flower refuses to start."""
    assert_refused(deployed, "flower", status=2, says=("EVERGRANT_FLOWER_BASIC_AUTH", "user:password"))


def test_a_data_folder_that_is_a_file_is_refused(nowhere: Shell) -> None:
    """The folder's name belongs to a file."""
    (nowhere.folder / "data").write_text("something else")

    assert_refused(nowhere, "up", status=2, says=("data", "not a folder"))


def test_a_data_folder_that_others_can_write_is_refused(nowhere: Shell) -> None:
    """Others could replace the secrets in it; the mend is the command to run."""
    folder = nowhere.folder / "data"
    folder.mkdir()
    folder.chmod(0o777)

    assert_refused(nowhere, "up", status=2, says=("chmod go-w", str(folder)))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_data_folder_of_somebody_else_is_refused(nowhere: Shell) -> None:
    """It belongs to another user, who could read the secrets."""
    folder = nowhere.folder / "data"
    folder.mkdir(mode=0o700)
    os.chown(folder, 12345, 12345)

    assert_refused(nowhere, "up", status=2, says=("12345", "EVERGRANT_DATA_DIR"))


def test_a_data_folder_that_cannot_be_made_is_refused(nowhere: Shell) -> None:
    """/proc takes no folders, not even root's."""
    shell = nowhere.having(EVERGRANT_DATA_DIR="/proc/evergrant")

    assert_refused(shell, "up", status=2, says=("/proc/evergrant", "EVERGRANT_DATA_DIR"))


@pytest.mark.parametrize(
    ("words", "status"), [(("providers", "list"), 0), (("connections", "list"), 1), (("frobnicate",), 2)]
)
def test_a_real_start_ends_as_a_preloaded_one(nowhere: Shell, words: tuple[str, ...], status: int) -> None:
    """The other tests fork a command line that is loaded already: what a shell starts says the same."""
    started, forked = run_cli(nowhere.environment, *words, cwd=nowhere.folder), nowhere(*words)

    assert started.returncode == forked.returncode == status
    assert started.stdout == forked.stdout
    # Only the program's name in the usage differs: it is that of the module which was started.
    assert _without_program(started.stderr) == _without_program(forked.stderr)


def _without_program(said: str) -> str:
    return re.sub(r"python -m \S+", "evergrant", said)


def test_a_reader_that_leaves_is_no_crash(nowhere: Shell) -> None:
    """`evergrant providers list --json | head -1`: the reader goes, and nobody complains."""
    with subprocess.Popen(
        [*EVERGRANT, "providers", "list", "--json"],
        env=nowhere.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as listing:
        assert listing.stdout is not None
        assert listing.stderr is not None
        # Closed before anything was written, so that the first write finds nobody.
        listing.stdout.close()
        assert listing.stderr.read() == b""
        assert listing.wait(60) == 1
