"""The authorization callback: whoever comes back is who left, with what the provider gave him."""

from __future__ import annotations

import hmac
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import structlog

from domain.errors import SealBroken, ServiceUnavailable
from services import alerts
from services.connecting.calling import Refusal
from services.connecting.exchange import Exchange
from services.connecting.face import Face
from services.connecting.landing import Landing
from services.connecting.leaving import cookie_name, hashed
from services.connecting.outcomes import Failure, Finished
from services.providers import ProviderDesk, ReadyProvider
from storage.activity import Note
from storage.alerts import AlertStore
from storage.flows import Flow, FlowStore
from storage.tokens.store import TokenStore

log = structlog.get_logger(__name__)

#: RFC 6749 §4.1.2.1 and OpenID Connect Core §3.1.2.6: the codes that are passed on. Anything else that stands
#: there may be anybody's text: the address can be made up.
_CODES: Final = frozenset(
    {
        *("invalid_request", "unauthorized_client", "access_denied", "unsupported_response_type"),
        *("invalid_scope", "server_error", "temporarily_unavailable", "interaction_required"),
        *("login_required", "account_selection_required", "consent_required"),
    }
)
#: A person has said no; in other providers' words too.
_DENIED: Final = frozenset(
    {"access_denied", "user_denied", "user_cancelled_login", "user_cancelled_authorize"}
)
#: Longer than any code of a provider's.
_LONGEST_CODE: Final = 8192


@dataclass(frozen=True, slots=True)
class Callback:
    """What the browser brought. `repr` shows nothing of it.

    Attributes:
        parameters: Of the query; of one that came more than once nothing is taken (RFC 6749 §3.1).
        cookies: All that the browser sent.
    """

    parameters: Mapping[str, str] = field(repr=False)
    cookies: Mapping[str, str] = field(repr=False)


class _Few:
    """Lets a few lines a minute be written about what anybody can send without end."""

    def __init__(self, a_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._a_minute = a_minute
        self._clock = clock
        self._lock = threading.Lock()
        self._since, self._count = clock(), 0

    def admits(self) -> bool:
        with self._lock:
            if self._clock() - self._since >= 60:
                self._since, self._count = self._clock(), 0
            self._count += 1
            return self._count <= self._a_minute


class Returning:
    """One per process; thread-safe."""

    def __init__(
        self,
        desk: ProviderDesk,
        flows: FlowStore,
        tokens: TokenStore,
        exchange: Exchange,
        landing: Landing,
        alert_store: AlertStore,
    ) -> None:
        self._desk = desk
        self._alerts = alert_store
        self._flows = flows
        self._tokens = tokens
        self._exchange = exchange
        self._landing = landing
        self._strangers = _Few(60)

    def finish(self, provider_id: str, callback: Callback, face: Face) -> Finished:
        """Finish a connection, or say why nothing was connected.

        The state is taken away by the first who comes with it, whatever comes of it: one that turns up in
        another browser has leaked.

        Raises:
            ServiceUnavailable: Postgres is away. The state may be used up; the person has to begin anew.
        """
        state = callback.parameters.get("state", "")
        flow = self._flows.take(hashed(state)) if state else None
        if flow is None:
            return self._stranger(provider_id)
        problem = self._doubt(provider_id, flow, state, callback, face) or _said_no(callback)
        if problem is not None:
            failure, code = problem
            return self._failed(flow, failure, code)
        provider = self._desk.ready(flow.provider_id)
        if not isinstance(provider, ReadyProvider):
            return self._failed(flow, Failure.UNAVAILABLE, provider.code)
        try:
            exchanged = self._exchange.code(
                provider,
                flow,
                code=callback.parameters["code"],
                verifier=self._flows.open(flow),
                callback=callback.parameters,
            )
        except SealBroken as broken:
            log.error("verifier_unreadable", flow_id=str(flow.id), why=str(broken))
            return self._failed(flow, Failure.UNAVAILABLE, "unreadable")
        if isinstance(exchanged, Refusal):
            if exchanged.ours:
                name = provider.definition.display_name
                self._alerts.open(alerts.connect_refused(flow.provider_id, name, code=exchanged.code))
            return self._failed(flow, exchanged.failure, exchanged.code)
        finished = self._landing.store(provider, flow, exchanged)
        if finished.failure is not None:
            return self._failed(flow, finished.failure, finished.code)
        with suppress(ServiceUnavailable):
            # What counts is stored; the next success ends the alert as well.
            self._alerts.resolve(alerts.connect_cause(flow.provider_id))
        return finished

    def _doubt(
        self, provider_id: str, flow: Flow, state: str, callback: Callback, face: Face
    ) -> tuple[Failure, str | None] | None:
        """Return why who comes back is not taken for who left; None where nothing speaks against it."""
        kept = callback.cookies.get(cookie_name(state, secure=face.secure), "")
        if not hmac.compare_digest(hashed(kept), flow.browser_hash or b""):
            return Failure.OTHER_BROWSER, None
        if flow.provider_id != provider_id:
            return Failure.OTHER_PROVIDER, None
        if flow.expired:
            return Failure.EXPIRED_STATE, None
        issuer = self._issuer(provider_id)
        # RFC 9207 §2.4: compared as it is, also in an error; one that is missing is as wrong as another's.
        if issuer is not None and callback.parameters.get("iss") != issuer:
            return Failure.ISSUER, None
        return None

    def _issuer(self, provider_id: str) -> str | None:
        catalogue = self._desk.catalogue
        return catalogue.get(provider_id).issuer if provider_id in catalogue else None

    def _stranger(self, provider_id: str) -> Finished:
        """Tell of a state that nobody here gave out, or that was used; a few times a minute."""
        if self._strangers.admits():
            self._flows.note(provider_id, Note("connect_failed", Failure.UNKNOWN_STATE))
            log.warning("connect_failed", provider=provider_id, code=str(Failure.UNKNOWN_STATE))
        return Finished(provider_id, self._desk.display_name(provider_id), Failure.UNKNOWN_STATE)

    def _failed(self, flow: Flow, failure: Failure, code: str | None) -> Finished:
        detail: dict[str, object] = {"user_id": flow.user_id, "flow_id": str(flow.id)}
        if code is not None:
            detail["said"] = code
        connection_id = self._tokens.find(flow.user_id, flow.provider_id, flow.account_id or "")
        self._flows.note(
            flow.provider_id, Note("connect_failed", failure, detail), connection_id=connection_id
        )
        log.warning(
            "connect_failed", provider=flow.provider_id, code=str(failure), said=code, flow_id=str(flow.id)
        )
        name = self._desk.display_name(flow.provider_id)
        # Who is not who left learns nothing of where it would have led.
        back = None if failure in (Failure.OTHER_BROWSER, Failure.OTHER_PROVIDER) else flow.redirect_to
        return Finished(flow.provider_id, name, failure, redirect_to=back, code=code)


def _said_no(callback: Callback) -> tuple[Failure, str | None] | None:
    """Return why the provider gave nothing; None where it gave a code."""
    error = callback.parameters.get("error")
    if error is not None:
        shown = error if error in _CODES or error in _DENIED else None
        return (Failure.DENIED if error in _DENIED else Failure.PROVIDER_ERROR), shown
    code = callback.parameters.get("code", "")
    if not code or len(code) > _LONGEST_CODE or not code.isascii() or not code.isprintable():
        return Failure.NO_CODE, None
    return None
