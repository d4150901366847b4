"""`evergrant flower`: the queues and workers, in a browser."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from workers.celery_app import make_app
from workers.cli import session
from workers.cli.app_maker import single
from workers.cli.listening import check_listening
from workers.deployment import flower_basic_auth
from workers.supervision.ports import LOOPBACK

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
    check_listening(address, port, what="Flower")
    app = make_app(settings, servers)
    # By the environment of this process and not by its arguments, which every user of the machine can read.
    os.environ["FLOWER_BASIC_AUTH"] = auth.get_secret_value()
    app.start(["flower", f"--port={port}", f"--address={address}", "--read-only=True", "--max-tasks=10000"])


app = single(flower)
