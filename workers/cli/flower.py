"""`evergrant flower`: the queues and workers, in a browser."""

from __future__ import annotations

import os
import socket
from typing import Annotated

import typer

from domain.errors import ConfigurationError
from workers.celery_app import make_app
from workers.cli import session
from workers.cli.app_maker import single
from workers.deployment import flower_basic_auth
from workers.supervision.errors import PortInUse
from workers.supervision.ports import LOOPBACK, is_free

DEFAULT_PORT = 5555


def flower(
    port: Annotated[int, typer.Option("--port", min=1, max=65535)] = DEFAULT_PORT,
    address: Annotated[
        str, typer.Option("--address", help="Where to listen; 0.0.0.0 in a container.")
    ] = LOOPBACK,
) -> None:
    """Run Flower, read-only and with authentication (EVERGRANT_FLOWER_BASIC_AUTH)."""
    settings, servers = session.load()
    auth = flower_basic_auth(settings)
    _check_listening(address, port)
    app = make_app(settings, servers)
    # By the environment of this process and not by its arguments, which every user of the machine can read.
    os.environ["FLOWER_BASIC_AUTH"] = auth.get_secret_value()
    app.start(["flower", f"--port={port}", f"--address={address}", "--read-only=True", "--max-tasks=10000"])


def _check_listening(address: str, port: int) -> None:
    """Say now, and in words, what Flower would say with a traceback."""
    if address == LOOPBACK:
        if not is_free(port):
            raise PortInUse(port, "Flower")
        return
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            address or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
    except OSError as error:
        raise ConfigurationError(
            f"Flower cannot listen on --address {address} --port {port}: {error.strerror or error}; choose "
            "an address of this machine (0.0.0.0: all of them) and a free port"
        ) from None


app = single(flower)
