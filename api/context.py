"""What a route finds on its application: the services that the process was wired with."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from services.connecting import Face
from services.wiring import Services


# Coroutines: what is found at once needs no thread, and must not wait for one.
async def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


async def _face(request: Request) -> Face:
    face: Face = request.app.state.face
    return face


TheServices = Annotated[Services, Depends(_services)]
TheFace = Annotated[Face, Depends(_face)]
