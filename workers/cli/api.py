"""`evergrant api`: the HTTP face."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from api.app import make
from api.server import serve
from services.wiring import wire
from workers import logs
from workers.cli import session
from workers.cli.app_maker import single
from workers.cli.listening import check_listening
from workers.deployment import DEFAULT_PORT, admin_api_key, face
from workers.supervision.ports import LOOPBACK

#: Calls to providers at once, of which each provider has its share.
THREADS: Final = 16
#: Requests at once. Most are short; those that wait for a slot at one provider must leave threads for others.
REQUESTS: Final = 4 * THREADS


def api(
    port: Annotated[int, typer.Option("--port", min=1, max=65535)] = DEFAULT_PORT,
    address: Annotated[
        str, typer.Option("--address", help="Where to listen; 0.0.0.0 in a container.")
    ] = LOOPBACK,
) -> None:
    """Serve the HTTP face: connect links, callbacks, connections (EVERGRANT_PUBLIC_URL)."""
    settings, servers = session.load()
    check_listening(address, port, what="The HTTP face")
    logs.configure(settings)
    settings, environment = session.with_demo(settings)
    services = wire(settings, servers, environment, role="api", threads=THREADS)
    try:
        app = make(services, face(settings, port), admin_key=admin_api_key(settings), threads=REQUESTS)
        serve(app, host=address, port=port)
    finally:
        services.close()


app = single(api)
