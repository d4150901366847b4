"""Opening a connect link: the browser is bound by a cookie and sent to the provider."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final
from uuid import uuid4

from domain.errors import ClientMisconfigured, ConfigurationError
from providers.authorization import new_state, prepare_authorization
from services.connecting.face import Face
from services.connecting.links import Links
from services.connecting.outcomes import Failure, Finished
from services.providers import ProviderDesk, ReadyProvider
from storage.flows import FlowStore, NewFlow

#: How long a person may take to consent.
PATIENCE: Final = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Cookie:
    """What binds the browser. `repr` does not show its value.

    Attributes:
        lifetime: As long as the person may take.
    """

    name: str
    value: str = field(repr=False)
    secure: bool
    lifetime: timedelta


@dataclass(frozen=True, slots=True)
class Departure:
    """Where the browser is sent, and what it takes along. `repr` shows neither."""

    url: str = field(repr=False)
    cookie: Cookie


def hashed(secret: str) -> bytes:
    """Return what is stored of a state or of a cookie's value."""
    return hashlib.sha256(secret.encode()).digest()


def cookie_name(state: str, *, secure: bool) -> str:
    """Return the name of the cookie that belongs to a state.

    Each flow has a cookie of its own: two windows do not disturb each other, and no value that somebody has
    planted before is ever taken over. `__Host-` keeps other hosts of the domain from setting it (RFC 6265bis
    §4.1.3.2); it is for https alone.
    """
    name = f"evergrant-connect-{hashed(f'cookie/{state}').hex()[:16]}"
    return f"__Host-{name}" if secure else name


class Leaving:
    """One per process; thread-safe."""

    def __init__(
        self, desk: ProviderDesk, links: Links, flows: FlowStore, clock: Callable[[], datetime]
    ) -> None:
        """Take what it works with.

        Args:
            clock: Postgres' clock.
        """
        self._desk = desk
        self._links = links
        self._flows = flows
        self._clock = clock

    def open(self, provider_id: str, token: str, face: Face) -> Departure | Finished:
        """Begin what a link asks for; `Finished` where it may not, or not any more, be opened.

        Raises:
            ServiceUnavailable: Postgres is away.
        """
        link = self._links.read(token, provider_id)
        name = self._desk.display_name(provider_id)
        # Asked once more: whoever made the link may have allowed other origins than we do.
        if link is None or (link.redirect_to is not None and not face.may_send_to(link.redirect_to)):
            return Finished(provider_id, name, Failure.LINK_INVALID)
        if link.ends <= self._clock():
            return Finished(provider_id, name, Failure.LINK_EXPIRED, redirect_to=link.redirect_to)
        provider = self._desk.ready(provider_id)
        if not isinstance(provider, ReadyProvider):
            return Finished(provider_id, name, Failure.UNAVAILABLE, code=provider.code)
        state, kept = new_state(), secrets.token_urlsafe(32)
        redirect_uri = face.callback(provider_id)
        try:
            authorization = prepare_authorization(
                provider.definition,
                provider.app,
                redirect_uri=redirect_uri,
                state=state,
                scopes=link.scopes,
                metadata=link.variables,
            )
        except (ClientMisconfigured, ConfigurationError):
            # The definition has changed since the link was made.
            return Finished(provider_id, name, Failure.UNAVAILABLE, code="not_connectable")
        flow = NewFlow(
            id=uuid4(),
            provider_id=provider_id,
            user_id=link.user_id,
            account_id=link.account_id,
            scopes=link.scopes,
            variables=link.variables,
            lifetime=PATIENCE,
            redirect_uri=redirect_uri,
            redirect_to=link.redirect_to,
            secret=authorization.verifier,
        )
        self._flows.begin_code(flow, state_hash=hashed(state), browser_hash=hashed(kept))
        cookie = Cookie(cookie_name(state, secure=face.secure), kept, face.secure, PATIENCE)
        return Departure(authorization.url.get_secret_value(), cookie)
