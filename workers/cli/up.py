"""`evergrant up`: everything on this machine, supervised, with a live status."""

from __future__ import annotations

import os
import secrets
import time
from pathlib import Path
from typing import Annotated

import typer

from domain.errors import ConfigurationError, EvergrantError
from providers.catalogue import load as load_catalogue
from services import settings as service_settings
from services.providers import ProviderDesk
from services.settings import Settings
from services.wiring import Services, wire
from storage.keys import KeyRing, generate
from workers.cli.app_maker import single
from workers.cli.flower import DEFAULT_PORT as DEFAULT_FLOWER_PORT
from workers.cli.listening import check_listening
from workers.cli.output import stdout
from workers.deployment import (
    DEFAULT_PORT,
    FLOWER_FILE,
    KEYS_FILE,
    admin_key_path,
    face,
    resolve,
)
from workers.embedded.layout import DataFolder
from workers.embedded.secret_files import create_once
from workers.supervision.claim import ClaimedFolder, claim_folder
from workers.supervision.ports import LOOPBACK
from workers.supervision.spec import ProcessSpec
from workers.supervision.state import ProcessState
from workers.supervision.supervisor import Supervisor
from workers.up import composition
from workers.up.composition import project_root
from workers.up.demo import Demo, is_demo
from workers.up.display import Addresses, Display
from workers.up.snapshot import Snapshot, Watcher


def up(
    demo: Annotated[
        bool, typer.Option("--demo", help="Keep short-lived connections of a provider simulator fresh.")
    ] = False,
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Of the HTTP face.")] = DEFAULT_PORT,
    flower_port: Annotated[int, typer.Option("--flower-port", min=1, max=65535)] = DEFAULT_FLOWER_PORT,
) -> None:
    """Start servers, workers, beat, the HTTP face and Flower, and keep them running until Ctrl-C or
    SIGTERM."""
    settings = service_settings.load()
    folder = DataFolder(settings.data_dir)
    with claim_folder(folder.path) as claimed:
        _refuse_mixing(settings, folder, demo=demo)
        folder.make()
        for leftover in claimed.leftovers:
            stdout.print(f"stopped {leftover}, left over from a run that was killed")
        _make_secrets(settings, folder)
        made = Demo(folder) if demo else None
        _Run(settings, folder, claimed, demo=made, port=port, flower_port=flower_port).go()


def _refuse_mixing(settings: Settings, folder: DataFolder, *, demo: bool) -> None:
    """Keep demo and real connections in folders of their own: each has other providers.

    Raises:
        ConfigurationError: The folder was used for the other one.
    """
    if settings.database_url is not None or not folder.postgres.exists() or demo == is_demo(folder):
        return
    raise ConfigurationError(
        f"{folder.path} "
        + ("holds connections of a real deployment" if demo else "belongs to `evergrant up --demo`")
        + "; set EVERGRANT_DATA_DIR to another folder"
    )


def _refuse_taken(port: int, flower_port: int) -> None:
    """Say before anything is started that something cannot listen where it is to.

    Raises:
        ConfigurationError: A port belongs to another program, or both are to have the same one.
    """
    if port == flower_port:
        raise ConfigurationError(f"--port and --flower-port are both {port}; choose another one for either")
    check_listening(LOOPBACK, port, what="the HTTP face (--port)")
    check_listening(LOOPBACK, flower_port, what="Flower (--flower-port)")


def _make_secrets(settings: Settings, folder: DataFolder) -> None:
    """Make what was not set, once: the key ring only for a database that is ours too."""
    if settings.keys is None and settings.database_url is None:
        if folder.postgres.exists() and folder.secret(KEYS_FILE) is None:
            raise ConfigurationError(
                f"the key ring {folder.secret_path(KEYS_FILE)} is missing, and the database holds tokens "
                "that only it can open; restore the file from a backup, or set EVERGRANT_KEYS"
            )
        folder.secret_file(KEYS_FILE, generate)
    if settings.admin_api_key is None and settings.database_url is None:
        create_once(admin_key_path(settings), lambda: secrets.token_urlsafe(32))
    if settings.flower_basic_auth is None:
        folder.secret_file(FLOWER_FILE, lambda: f"evergrant:{secrets.token_urlsafe(18)}")


class _Run:
    """One run of everything."""

    def __init__(
        self,
        settings: Settings,
        folder: DataFolder,
        claimed: ClaimedFolder,
        *,
        demo: Demo | None,
        port: int,
        flower_port: int,
    ) -> None:
        self._settings = settings
        self._folder = folder
        self._claimed = claimed
        self._demo = demo
        self._port = port
        self._flower_port = flower_port
        self._environment = _environment(folder, demo)
        self._watcher: Watcher | None = None
        self._services: Services | None = None

    def go(self) -> None:
        """Run until told to stop."""
        specs = self._specs()
        # Here, not in a child: a wrong setting is told at once and starts nothing.
        KeyRing.parse(resolve(self._settings).keys)
        ProviderDesk(load_catalogue(self._providers_file()), self._environment)
        _refuse_taken(self._port, self._flower_port)
        where = Addresses(
            flower=f"http://127.0.0.1:{self._flower_port}",
            flower_password=_where_password(self._settings, self._folder),
            logs=str(self._folder.logs),
            simulator=None if self._demo is None else self._demo.url,
            face=face(self._settings, self._port).url,
            admin_key=_where_key(self._settings),
        )
        stdout.print(f"data: {self._folder.path}   logs: {where.logs}", soft_wrap=True)
        stdout.print(f"HTTP: {where.face}   API key: {where.admin_key}", soft_wrap=True)
        stdout.print(f"flower: {where.flower}   sign-in: {where.flower_password}", soft_wrap=True)
        if where.simulator is not None:
            stdout.print(
                f"providers are played by a simulator at {where.simulator}; nothing real is called",
                soft_wrap=True,
            )
        started_at = float(os.environ.get("EVERGRANT_STARTED_AT") or time.time())
        display = Display(stdout, where, self._latest, started_at=started_at)
        supervisor = Supervisor(specs, self._claimed, display.event)

        def tick(states: tuple[ProcessState, ...]) -> None:
            self._watch_when_ready(supervisor)
            display.tick(states)

        try:
            with display:
                supervisor.run(tick)
        finally:
            self._stop_watching()
        stdout.print("stopped; the data stays where it is")

    def _providers_file(self) -> Path | None:
        named = self._environment.get("EVERGRANT_PROVIDERS_FILE")
        return Path(named) if named else None

    def _specs(self) -> list[ProcessSpec]:
        specs = composition.servers(self._settings, self._folder)
        specs.append(composition.migration(self._environment, for_demo=self._demo is not None))
        if self._demo is not None:
            specs.append(self._demo.simulator(self._environment))
        specs += composition.application(
            self._settings, self._folder, self._environment, port=self._port, flower_port=self._flower_port
        )
        if self._demo is not None:
            # Last, so that the workers load while the demo's grants are minted.
            specs.append(self._demo.seed(self._environment))
        return specs

    def _latest(self) -> Snapshot:
        return Snapshot() if self._watcher is None else self._watcher.latest

    def _watch_when_ready(self, supervisor: Supervisor) -> None:
        """Begin to read figures once the schema is there; trouble then is shown and not raised."""
        if self._watcher is not None or not any(
            state.name == "migrate" and state.status == "done" for state in supervisor.states()
        ):
            return
        try:
            self._services = wire(
                self._settings, resolve(self._settings), self._environment, role="up", threads=1
            )
        except EvergrantError:
            return
        self._watcher = Watcher(self._services)
        self._watcher.start()

    def _stop_watching(self) -> None:
        if self._watcher is not None:
            self._watcher.stop()
        if self._services is not None:
            self._services.close()


def _environment(folder: DataFolder, demo: Demo | None) -> dict[str, str]:
    """Return the children's environment: ours, the data folder by its whole path, and the demo's."""
    environment = dict(os.environ)
    environment["EVERGRANT_DATA_DIR"] = str(folder.path)
    path = environment.get("PYTHONPATH")
    environment["PYTHONPATH"] = (
        str(project_root()) if not path else os.pathsep.join((str(project_root()), path))
    )
    # Output goes to a log; a line that waits in a buffer is missing when it is needed.
    environment["PYTHONUNBUFFERED"] = "1"
    if demo is not None:
        environment.update(demo.environment())
    return environment


def _where_password(settings: Settings, folder: DataFolder) -> str:
    if settings.flower_basic_auth is not None:
        return "EVERGRANT_FLOWER_BASIC_AUTH"
    return f"user:password in {folder.secret_path(FLOWER_FILE)}"


def _where_key(settings: Settings) -> str:
    if settings.admin_api_key is not None:
        return "EVERGRANT_ADMIN_API_KEY"
    if settings.database_url is not None:
        return "none yet; set EVERGRANT_ADMIN_API_KEY"
    return f"in {admin_key_path(settings)}"


app = single(up)
