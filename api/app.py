"""The application of one process: its services in, its routes out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anyio import CapacityLimiter, to_thread
from fastapi import FastAPI, Request
from pydantic import SecretStr
from starlette.types import ASGIApp

from api import connecting, connections, devices, events, health, problems
from api.authentication import Keys
from api.headers import Headers
from services.connecting import Face
from services.wiring import Services

_DESCRIPTION = "Connects users' accounts at OAuth providers, and keeps the grants evergreen."


def make(services: Services, face: Face, *, admin_key: SecretStr | None, threads: int) -> ASGIApp:
    """Return the application.

    Args:
        face: Where browsers reach it.
        admin_key: May do everything; None: no key is known, and nothing that asks for one works.
        threads: How many requests are worked on at once.
    """

    @asynccontextmanager
    async def running(_app: FastAPI) -> AsyncIterator[None]:
        to_thread.current_default_thread_limiter().total_tokens = threads
        yield

    app = FastAPI(
        title="Evergrant",
        description=_DESCRIPTION,
        # The pages of the documentation would load scripts from elsewhere; the document itself is served.
        docs_url=None,
        redoc_url=None,
        # A path with a slash too many would be redirected to whichever host the request names.
        redirect_slashes=False,
        lifespan=running,
    )
    app.state.services = services
    app.state.face = face
    app.state.keys = Keys(admin_key)
    # Threads of their own: people who wait for slow providers must not make the process look dead.
    app.state.watchers = CapacityLimiter(2)
    problems.install(app)
    for routes in (connecting.router, devices.router, connections.router, health.router):
        app.include_router(routes)
    app.include_router(events.router(lambda request: _services(request).events))
    # Around everything, so that the answer to a bug of ours has them too.
    return Headers(app, secure=face.secure)


def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services
