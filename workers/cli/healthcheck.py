"""`evergrant healthcheck`: is a process on this machine alive and working."""

from __future__ import annotations

import urllib.error
import urllib.request
from datetime import timedelta
from enum import StrEnum
from typing import Annotated

import typer

from domain.errors import EvergrantError
from services import settings as service_settings
from workers import signs_of_life
from workers.cli.app_maker import single
from workers.cli.output import stdout
from workers.embedded.layout import DataFolder
from workers.supervision.ports import LOOPBACK


class Kind(StrEnum):
    """What can be asked after."""

    WORKER = "worker"
    BEAT = "beat"
    FLOWER = "flower"
    API = "api"


def healthcheck(
    kind: Annotated[Kind, typer.Argument(help="What to ask after.")],
    name: Annotated[str, typer.Option("--name", help="The worker's --name.")] = "worker",
    port: Annotated[
        int | None, typer.Option("--port", help="Flower's or the HTTP face's; default: its usual one.")
    ] = None,
) -> None:
    """Exit 0 if a process on this machine is alive and working, 1 if it is not."""
    if kind is Kind.FLOWER:
        _check(port or 5555, "/healthcheck", "Flower")
        return
    if kind is Kind.API:
        _check(port or 8080, "/healthz", "the HTTP face")
        return
    shown = name if kind is Kind.WORKER else "beat"
    folder = DataFolder(service_settings.load().data_dir)
    age = signs_of_life.age(signs_of_life.heartbeat_file(folder, shown))
    if age is None:
        raise EvergrantError(f"{shown} has shown no sign of life under {folder.path}")
    if age > signs_of_life.STALE:
        raise EvergrantError(f"{shown} has shown no sign of life for {_seconds(age)}")
    stdout.print(f"{shown} is alive ({_seconds(age)} ago)")


def _check(port: int, path: str, what: str) -> None:
    try:
        with urllib.request.urlopen(f"http://{LOOPBACK}:{port}{path}", timeout=5):
            pass
    except (urllib.error.URLError, OSError) as error:
        raise EvergrantError(f"{what} does not answer on port {port}: {type(error).__name__}") from None
    stdout.print(f"{what} answers")


def _seconds(age: timedelta) -> str:
    return f"{age.total_seconds():.0f} s"


app = single(healthcheck)
