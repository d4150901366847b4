"""Connecting in a browser: the link for a caller with a key, its opening, and the provider's callback."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import structlog
from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, StringConstraints
from starlette.responses import HTMLResponse, RedirectResponse

from api import pages
from api.authentication import WithKey
from api.context import TheFace, TheServices
from api.parameters import AnyText, OfAccount, ProviderId, UserId, once
from api.problems import Problem
from domain.errors import ConfigurationError, ServiceUnavailable
from services.connecting.asking import Wish
from services.connecting.face import told
from services.connecting.leaving import Cookie, Departure, cookie_name
from services.connecting.outcomes import Finished
from services.connecting.returning import Callback
from services.origins import LONGEST

log = structlog.get_logger(__name__)
router = APIRouter(tags=["connecting"])

#: The query parameters of the link's route that are its own; any other names a variable of the definition.
_OWN = frozenset({"user_id", "account_id", "redirect_to", "scopes"})
_Url = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST)]
_Scopes = Annotated[str, StringConstraints(min_length=1, max_length=3000)]


class ConnectLink(BaseModel):
    """A link for the user's browser. It may be opened until `expires_at`, and is for this user alone."""

    connect_url: str
    expires_at: datetime


@router.get("/oauth/{provider_id}/connect")
def ask(
    request: Request,
    provider_id: ProviderId,
    user_id: UserId,
    services: TheServices,
    face: TheFace,
    _key: WithKey,
    account_id: OfAccount = None,
    redirect_to: Annotated[
        _Url | None, Query(description="Where the browser goes in the end; of an allowed origin.")
    ] = None,
    scopes: Annotated[
        _Scopes | None,
        Query(
            description="Instead of the definition's, separated by spaces; what is granted already is kept."
        ),
    ] = None,
) -> ConnectLink:
    """Return a signed, short-lived link that lets a user connect an account.

    Further query parameters are values of the definition's URL variables, such as `shop`.
    """
    given, repeated = once(request)
    if repeated:
        # Whoever puts a link's address together from others' texts must not be talked into another user.
        raise Problem(422, "request_invalid", f"{', '.join(sorted(repeated))[:200]}: given more than once")
    wish = Wish(
        user_id=user_id,
        account_id=account_id,
        scopes=None if scopes is None else tuple(scopes.split()),
        redirect_to=redirect_to,
        variables={name: value for name, value in given.items() if name not in _OWN},
    )
    link = services.connecting.asking.link(provider_id, wish, face)
    return ConnectLink(connect_url=link.url, expires_at=link.expires_at)


@router.get("/oauth/{provider_id}/begin", response_class=HTMLResponse)
def begin(
    provider_id: AnyText,
    services: TheServices,
    face: TheFace,
    link: str = "",
) -> Response:
    """Open a connect link: bind the browser by a cookie, and send it to the provider."""
    if provider_id not in services.desk.catalogue:
        return pages.nowhere()
    try:
        departure = services.connecting.leaving.open(provider_id, link, face)
    except (ServiceUnavailable, ConfigurationError) as error:
        return _away(services.desk.display_name(provider_id), error)
    if isinstance(departure, Departure):
        # 303: whatever brought the browser here, it goes on with a plain GET.
        response = RedirectResponse(departure.url, status_code=303)
        _bind(response, departure.cookie)
        return response
    return pages.finished(departure)


@router.get("/oauth/{provider_id}/callback", response_class=HTMLResponse)
def callback(request: Request, provider_id: AnyText, services: TheServices, face: TheFace) -> Response:
    """Finish a connection: the provider sends the user's browser here."""
    if provider_id not in services.desk.catalogue:
        return pages.nowhere()
    # RFC 6749 §3.1: none may come more than once; of such a one nothing is taken.
    parameters, _ = once(request)
    try:
        finished = services.connecting.returning.finish(
            provider_id, Callback(parameters, request.cookies), face
        )
    except (ServiceUnavailable, ConfigurationError) as error:
        return _away(services.desk.display_name(provider_id), error)
    response = _ended(finished)
    if "state" in parameters:
        name = cookie_name(parameters["state"], secure=face.secure)
        response.delete_cookie(name, path="/", secure=face.secure, httponly=True, samesite="lax")
    return response


def _ended(finished: Finished) -> Response:
    """Send the browser back where it was to go if a connection was made, else show what happened."""
    if finished.failure is None and finished.redirect_to is not None:
        words = {"connection": str(finished.connection_id), "status": "connected"}
        if finished.missing:
            words["missing_scopes"] = " ".join(finished.missing)
        return RedirectResponse(told(finished.redirect_to, **words), status_code=303)
    return pages.finished(finished)


def _bind(response: Response, cookie: Cookie) -> None:
    response.set_cookie(
        cookie.name,
        cookie.value,
        max_age=round(cookie.lifetime.total_seconds()),
        path="/",
        secure=cookie.secure,
        httponly=True,
        # The provider sends the browser back by a link, with which Lax cookies go along; nothing else carries
        # it.
        samesite="lax",
    )


def _away(display_name: str, error: ServiceUnavailable | ConfigurationError) -> Response:
    """Show a page, whatever it is that is wrong with us; the log says what."""
    log.warning("page_of_absence", error=str(error))
    return pages.away(display_name)
