"""The application of one process: its services in, its routes out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anyio import to_thread
from fastapi import FastAPI, Request
from pydantic import SecretStr

from api import connecting, connections, devices, events, health, problems
from api.authentication import Keys
from api.headers import Headers
from services.connecting import Face
from services.wiring import Services

_DESCRIPTION = "Connects users' accounts at OAuth providers, and keeps the grants evergreen."


def make(services: Services, face: Face, *, admin_key: SecretStr | None, threads: int) -> FastAPI:
    """Return the application.

    Args:
        face: Where browsers reach it.
        admin_key: May do everything; None: no key is known, and nothing that asks for one works.
        threads: How many requests are worked on at once; the services' pools are sized by it.
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
        lifespan=running,
    )
    app.state.services = services
    app.state.face = face
    app.state.keys = Keys(admin_key)
    problems.install(app)
    for routes in (connecting.router, devices.router, connections.router, health.router):
        app.include_router(routes)
    app.include_router(events.router(lambda request: _services(request).events))
    app.add_middleware(Headers, secure=face.secure)
    return app


def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services
