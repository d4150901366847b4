"""Errors as RFC 9457 problem documents: what is wrong, and how to mend it, never what was sent."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse

from api import pages
from domain.errors import ConfigurationError, ServiceUnavailable
from services.connecting import CannotConnect

log = structlog.get_logger(__name__)

MEDIA_TYPE: Final = "application/problem+json"
#: How long a caller should wait when Postgres or Redis is away, in seconds.
COME_BACK: Final = 5
_STATUS: Final = {
    "unknown_provider": HTTPStatus.NOT_FOUND,
    "provider_not_configured": HTTPStatus.CONFLICT,
    "not_connectable": HTTPStatus.CONFLICT,
    "provider_unavailable": HTTPStatus.BAD_GATEWAY,
}


class Problem(Exception):
    """Ends a request with a problem document.

    Attributes:
        code: A stable lower-case word, the end of the document's `type`.
        detail: One sentence or two for a person.
    """

    def __init__(
        self, status: int, code: str, detail: str, *, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(code)
        self.status, self.code, self.detail = status, code, detail
        self.headers = dict(headers or {})

    def response(self) -> Response:
        """Return the document (RFC 9457 §3)."""
        document = {
            "type": f"urn:evergrant:problem:{self.code}",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
        }
        return JSONResponse(document, self.status, self.headers, MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Let everything that goes wrong end as a problem document."""

    @app.exception_handler(Problem)
    async def _problem(_request: Request, problem: Problem) -> Response:
        return problem.response()

    @app.exception_handler(CannotConnect)
    async def _cannot_connect(_request: Request, error: CannotConnect) -> Response:
        return Problem(_STATUS.get(error.code, HTTPStatus.BAD_REQUEST), error.code, str(error)).response()

    @app.exception_handler(ServiceUnavailable)
    async def _unavailable(_request: Request, error: ServiceUnavailable) -> Response:
        log.warning("request_deferred", error=str(error))
        detail = "Postgres does not answer; nothing is lost by asking again."
        return Problem(
            503, "database_unavailable", detail, headers={"Retry-After": str(COME_BACK)}
        ).response()

    @app.exception_handler(ConfigurationError)
    async def _misconfigured(_request: Request, error: ConfigurationError) -> Response:
        log.error("misconfigured", error=str(error))
        return Problem(
            503, "misconfigured", "A setting of this deployment is wrong; its log says which."
        ).response()

    @app.exception_handler(RequestValidationError)
    async def _invalid(_request: Request, error: RequestValidationError) -> Response:
        return Problem(422, "request_invalid", "; ".join(_wrong(error))).response()

    @app.exception_handler(HTTPException)
    async def _http(_request: Request, error: HTTPException) -> Response:
        code = HTTPStatus(error.status_code).phrase.lower().replace(" ", "_")
        return Problem(error.status_code, code, str(error.detail), headers=error.headers).response()

    @app.exception_handler(Exception)
    async def _bug(request: Request, error: Exception) -> Response:
        # The server logs it with its traceback as it is raised on.
        log.error("request_failed", error=type(error).__name__)
        if getattr(request.scope.get("route"), "response_class", None) is HTMLResponse:
            # A person looks at it.
            name = request.app.state.services.desk.display_name(request.path_params.get("provider_id", ""))
            return pages.away(name, bug=True)
        return Problem(500, "internal_error", "Evergrant has a bug here; its log tells more.").response()


def _wrong(error: RequestValidationError) -> list[str]:
    """Name each parameter that is wrong, and what is wrong with it, without its value."""
    return [
        f"{'.'.join(str(part) for part in item['loc'][1:]) or item['loc'][0]}: {item['msg']}"
        for item in error.errors()
    ]
