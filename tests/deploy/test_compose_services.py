"""The compose file's own commands, run without containers, make a deployment that refreshes tokens."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from simulator.process import SimulatorProcess
from storage.keys import generate
from tests.deploy import compose
from tests.deploy.compose import FILLED, Service, application
from tests.support.waiting import eventually
from workers.supervision.ports import free_port

_LOG_TAIL = 3000


class Native:
    """The application services as processes of this machine, each with the environment of its container.

    Mapped are the addresses of the servers, the folder of each container, the providers' file and the ports
    of Flower and the HTTP face: a container has those to itself. Commands and health checks are the file's
    own words.
    """

    def __init__(self, place: Path, servers: dict[str, str], providers: dict[str, str]) -> None:
        self._place = place
        self._mapped = {**servers, "EVERGRANT_KEYS": generate()}
        self._providers = providers
        self.secrets = [
            FILLED["EVERGRANT_FLOWER_BASIC_AUTH"].partition(":")[2],
            self._mapped["EVERGRANT_KEYS"].partition(":")[2],
            *filter(None, (urlsplit(url).password for url in servers.values())),
            *(value for name, value in providers.items() if name.endswith("_SECRET")),
        ]
        self.flower_port, self.face_port = free_port(), free_port()
        variables = {**FILLED, "EVERGRANT_KEYS": self._mapped["EVERGRANT_KEYS"]}
        self.services = {service.name: service for service in application(variables)}

    def environment(self, service: Service) -> dict[str, str]:
        """Return a service's whole environment; nothing of the test's own settings is handed on."""
        folder = self._place / service.name
        folder.mkdir(exist_ok=True)
        return {
            "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])),
            "HOME": str(folder),
            **service.environment,
            **self._mapped,
            "EVERGRANT_DATA_DIR": str(folder / "data"),
            **self._providers,
        }

    def words(self, words: list[str]) -> list[str]:
        """Give the file's words, with ports of this machine in place of the container's."""
        ports = {"5555": str(self.flower_port), "8080": str(self.face_port)}
        program, *rest = (ports.get(word, word) for word in words)
        return [str(Path(sys.executable).parent / program), *rest]

    def run(self, name: str, words: list[str], **more: Any) -> subprocess.CompletedProcess[str]:
        """Run a short command in the place of a service."""
        service = self.services[name]
        return subprocess.run(
            self.words(words), env=self.environment(service), cwd=self._place / service.name, text=True,
            capture_output=True, check=False, timeout=120, **more,
        )  # fmt: skip

    def healthy(self, name: str) -> bool:
        """Ask the file's own health check."""
        healthcheck = self.services[name].healthcheck
        assert healthcheck is not None
        return self.run(name, healthcheck).returncode == 0

    @contextmanager
    def running(self, name: str) -> Iterator[subprocess.Popen[bytes]]:
        """Start a service; at the end nothing of it is left."""
        service = self.services[name]
        environment = self.environment(service)
        with self.log(name).open("wb") as log, subprocess.Popen(
            self.words(service.command), env=environment, cwd=self._place / name,
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        ) as process:  # fmt: skip
            try:
                yield process
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)

    def log(self, name: str) -> Path:
        """Say where a service's output goes."""
        return self._place / f"{name}.log"

    def connections(self) -> dict[str, dict[str, Any]]:
        """Return the connections by their user."""
        listed = self.run("migrate", ["evergrant", "connections", "list", "--json"])
        assert listed.returncode == 0, listed.stderr
        return {row["user_id"]: row for row in json.loads(listed.stdout)}


@pytest.fixture
def native(tmp_path: Path, database_url: str, redis_url: str, simulator: SimulatorProcess) -> Native:
    """The services on an empty database, with one provider that the simulator plays."""
    definitions = tmp_path / "providers.toml"
    definitions.write_text(
        f"""
        [providers.strict]
        display_name = "Strict"
        grant = "refresh_token"
        token_url = "{simulator.base_url}/strict/token"
        access_token_lifetime = 3600
        rotation = "single_use"
        replay_window = 0
        [providers.strict.check]
        url = "{simulator.base_url}/strict/userinfo"
        """,
        encoding="utf-8",
    )
    return Native(
        tmp_path,
        {"EVERGRANT_DATABASE_URL": database_url, "EVERGRANT_REDIS_URL": redis_url},
        {
            "EVERGRANT_PROVIDERS_FILE": str(definitions),
            "EVERGRANT_STRICT_CLIENT_ID": "sim-strict-client",
            "EVERGRANT_STRICT_CLIENT_SECRET": "sim-strict-secret",
        },
    )


def importable(simulator: SimulatorProcess, user: str, expires_in: timedelta) -> str:
    (grant,) = simulator.client.mint("strict", 1)
    return json.dumps(
        {
            "user_id": user,
            "provider_id": "strict",
            "access_token": grant.access_token,
            "refresh_token": grant.refresh_token,
            "expires_at": (datetime.now(UTC) + expires_in).isoformat(),
        }
    )


def tasks_that_flower_shows(port: int) -> set[tuple[str, str]]:
    signed = base64.b64encode(FILLED["EVERGRANT_FLOWER_BASIC_AUTH"].encode()).decode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/api/tasks", headers={"Authorization": f"Basic {signed}"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - our own http URL
        return {(task["name"], task["state"]) for task in json.load(answer).values()}


@pytest.mark.acceptance
@pytest.mark.servers
def test_compose_services_refresh_together(native: Native, simulator: SimulatorProcess) -> None:
    """Every service starts by its own command, becomes healthy by its own check, and helps to refresh.

    The first connection is due, and is refreshed by beat, the control worker's scheduling and the bulk
    worker; the second one is not, and is refreshed by the interactive worker on demand. Flower has seen both.
    On SIGTERM each process ends within the grace that the file gives it.
    """
    lasting = [name for name in native.services if name != "migrate"]
    migrated = native.run("migrate", native.services["migrate"].command)
    assert migrated.returncode == 0, migrated.stderr
    assert not [name for name in lasting if native.healthy(name)]

    with ExitStack() as running:
        processes = {name: running.enter_context(native.running(name)) for name in lasting}
        for name in lasting:
            eventually(
                lambda name=name: native.healthy(name) or died(native, name, processes[name]),  # type: ignore[misc]  # mypy infers no lambda with a default
                seconds=120,
                what=f"{name} is healthy; {native.log(name).read_text()[-_LOG_TAIL:]}",
            )

        lines = [
            importable(simulator, "due", timedelta(seconds=5)),
            importable(simulator, "fresh", timedelta(hours=1)),
        ]
        imported = native.run("migrate", ["evergrant", "connections", "import", "-"], input="\n".join(lines))
        assert imported.returncode == 0, imported.stdout + imported.stderr
        eventually(
            lambda: native.connections()["due"]["last_refreshed_at"], what="the due connection is refreshed"
        )
        fresh = native.connections()["fresh"]
        assert fresh["last_refreshed_at"] is None
        asked = native.run("worker-on-demand", ["evergrant", "refresh", fresh["id"], "--wait", "--force"])
        assert asked.returncode == 0, asked.stdout + asked.stderr
        assert json.loads(asked.stdout)["outcome"] == "refreshed"
        eventually(
            lambda: ("evergrant.refresh_token", "SUCCESS") in tasks_that_flower_shows(native.flower_port),
            what="Flower shows a refresh",
        )

        for process in processes.values():
            process.terminate()
        for name, process in processes.items():
            process.wait(timeout=native.services[name].stop_grace_seconds)
        ended = {name: process.returncode for name, process in processes.items()}

    assert ended == dict.fromkeys(lasting, 0)
    assert_no_secret_in_logs(native)


def died(native: Native, name: str, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, f"{name} ended: {native.log(name).read_text()[-_LOG_TAIL:]}"
    return False


def assert_no_secret_in_logs(native: Native) -> None:
    for name in native.services:
        log = native.log(name)
        text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
        assert not [secret for secret in native.secrets if secret in text], (
            f"a secret is in the log of {name}"
        )


def test_harness_maps_nothing_but_what_a_container_has_to_itself(tmp_path: Path) -> None:
    """Commands run natively are the file's, word for word, but for the ports."""
    native = Native(tmp_path, {}, {})

    for service in compose.application():
        given = [Path(native.words(service.command)[0]).name, *native.words(service.command)[1:]]
        ports = {str(native.flower_port): "5555", str(native.face_port): "8080"}
        assert [ports.get(word, word) for word in given] == service.command
