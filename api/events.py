"""The receiver of what providers push (RFC 8935, webhooks): authenticated by the sender's signature alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Final

import structlog
from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from domain.errors import ServiceUnavailable
from services.events import EventReceiver, KeysAway, NoReceiver, Received, Refused

log = structlog.get_logger(__name__)

#: Of a message that is read; events are a kilobyte or two.
LARGEST: Final = 256 * 1024
#: How long a sender should wait when we cannot take a message, in seconds.
COME_BACK: Final = 30
_PROBLEM: Final = "application/problem+json"

ProviderId = Annotated[str, Path(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]


def router(receiver: Callable[[Request], EventReceiver]) -> APIRouter:
    """Return the route.

    Args:
        receiver: Finds the service for a request.
    """
    routes = APIRouter(tags=["events"])

    @routes.post(
        "/oauth/{provider_id}/events",
        status_code=202,
        responses={
            200: {"description": "A webhook was taken, or its challenge is answered."},
            202: {"description": "A security event token was taken (RFC 8935)."},
            400: {"description": "It is forged, or cannot be read; a token's refusal is RFC 8935's."},
            401: {"description": "A webhook without the provider's signature."},
            413: {"description": "It is longer than 256 KiB."},
            503: {"description": "It cannot be taken now; send it again."},
        },
    )
    async def receive(request: Request, provider_id: ProviderId) -> Response:
        """Take what a provider pushes: security event tokens, and webhooks. Needs no key: it is signed."""
        body = await _read(request)
        if body is None:
            return _problem(413, "message_too_large", f"A message may have {LARGEST} bytes.")
        headers = {name.lower(): value for name, value in request.headers.items()}
        try:
            received = await run_in_threadpool(receiver(request).receive, provider_id, headers, body)
        except NoReceiver as error:
            return _problem(404, error.code, "Nothing is received for this provider here.")
        except Refused as refused:
            return _refusal(refused)
        except (KeysAway, ServiceUnavailable) as error:
            log.warning("event_deferred", provider=provider_id, error=str(error))
            detail = "The message cannot be taken now; send it again."
            return _problem(503, "unavailable", detail, {"Retry-After": str(COME_BACK)})
        return _acknowledgement(received)

    return routes


async def _read(request: Request) -> bytes | None:
    """Return the body; None where it is longer than is read."""
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > LARGEST:
            return None
        chunks.append(chunk)
    return b"".join(chunks)


def _acknowledgement(received: Received) -> Response:
    if received.answer is not None:
        return JSONResponse(dict(received.answer), 200)
    # RFC 8935 §2.2: 202 and no body. Webhooks' senders want a 2xx, some of them this one.
    return Response(status_code=202 if received.by_rfc else 200)


def _refusal(refused: Refused) -> Response:
    if refused.by_rfc:
        # RFC 8935 §2.3.
        return JSONResponse({"err": refused.err, "description": str(refused)}, 400)
    status = 401 if refused.err == "authentication_failed" else 400
    return _problem(status, refused.err, f"{str(refused)[:1].upper()}{str(refused)[1:]}.")


def _problem(status: int, code: str, detail: str, headers: dict[str, str] | None = None) -> Response:
    """Return a problem document (RFC 9457 §3)."""
    document = {"type": f"urn:evergrant:problem:{code}", "status": status, "code": code, "detail": detail}
    return JSONResponse(document, status, headers, _PROBLEM)
