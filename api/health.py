"""Liveness and readiness, without a key."""

from __future__ import annotations

from anyio import to_thread
from fastapi import APIRouter, Request, Response
from starlette.responses import JSONResponse

from api.context import TheServices
from services.readiness import readiness

router = APIRouter(tags=["health"])


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """Say that the process answers; nothing else is asked."""
    return {"status": "ok"}


@router.get("/readyz")
async def readyz(request: Request, services: TheServices) -> Response:
    """Say whether Postgres and Redis answer; 503 where one does not."""
    found = await to_thread.run_sync(readiness, services, limiter=request.app.state.watchers)
    ready = all(word == "ok" for word in found.values())
    return JSONResponse({"status": "ok" if ready else "unavailable", **found}, 200 if ready else 503)
