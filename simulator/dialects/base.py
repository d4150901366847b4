"""What the dialects share: RFC 6749 as written, from reading a form to the refusal of a spent token."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote_plus

from simulator.grants import Grant, Verdict
from simulator.memory import DialectState
from simulator.wire import Answer, Headers, Refusal, Request, json_answer
from simulator.world import World

# RFC 6749 §5.1: an answer with tokens must not be cached. Sent with refusals too, as providers do.
NO_STORE: Headers = ((b"cache-control", b"no-store"), (b"pragma", b"no-cache"))


class Outcome(NamedTuple):
    """What a request came to: the answer, and its class for the report."""

    answer: Answer
    result: str


@dataclass(slots=True)
class Call:
    """A request that was read and understood as far as it goes, and waits to be acted on.

    Attributes:
        grant: whose token it carries; None where it carries none of a known grant.
        generation: of the refresh token it carries; -1 where it carries none.
        refusal: why it cannot be acted on, found while reading; None where it can.
    """

    dialect: Dialect
    state: DialectState
    kind: str
    request: Request
    arrived_at: float
    act: Callable[[Call, float], Outcome]
    params: Mapping[str, str] = field(default_factory=dict, repr=False)
    grant: Grant | None = None
    generation: int = -1
    refusal: Refusal | None = None

    def outcome(self, now: float) -> Outcome:
        """Act on the request as of `now` and return what it comes to."""
        if self.refusal is not None:
            return Outcome(self.refusal.answer, self.refusal.result)
        try:
            return self.act(self, now)
        except Refusal as refusal:
            return Outcome(refusal.answer, refusal.result)


class Endpoint(NamedTuple):
    """A kind (``token``, ``check``, ``revoke``) and who reads requests of it."""

    kind: str
    read: Callable[[Request, float], Call]


class Dialect:
    """A provider with a token endpoint that takes forms and knows the refresh grant (RFC 6749 §6)."""

    name: str
    token_path: str
    check_path: str
    revoke_path: str | None = None
    has_refresh_token: bool = True

    def __init__(self, world: World) -> None:
        self.world = world
        self.state = world.states[self.name]
        # Where people consent, `simulator.dialects.consent` adds a grant type of its own.
        self.grant_types: dict[str, Callable[[Call, float], Outcome]] = {"refresh_token": self.refresh}

    def routes(self) -> dict[str, dict[str, Endpoint]]:
        """Return path → method → endpoint."""
        return {
            self.token_path: {"POST": Endpoint("token", self.read_token)},
            self.check_path: {"GET": Endpoint("check", self.read_check)},
        }

    def metadata(self, _grant: Grant) -> dict[str, object]:
        """Return what the product must know of a grant besides its tokens."""
        return {}

    # Reading.

    def read_token(self, request: Request, arrived_at: float) -> Call:
        """Read a form to the token endpoint, and find the grant whose refresh token it presents."""
        call = self.new_call("token", request, arrived_at, self.exchange)
        try:
            call.params = self.read_form(request)
        except Refusal as refusal:
            call.refusal = refusal
            return call
        return self.recognise(call, call.params.get("refresh_token", ""))

    def read_check(self, request: Request, arrived_at: float) -> Call:
        """Read a check, and find the grant whose access token it carries."""
        call = self.new_call("check", request, arrived_at, self.check)
        return self.recognise_access(call, request.bearer or "")

    def new_call(
        self, kind: str, request: Request, arrived_at: float, act: Callable[[Call, float], Outcome]
    ) -> Call:
        """Return a call about which nothing but its request is known."""
        return Call(self, self.state, kind, request, arrived_at, act)

    def recognise(self, call: Call, refresh_token: str) -> Call:
        """Note in `call` the grant and generation of `refresh_token`, if it is one of this dialect's."""
        facts = self.world.smith.read_refresh_token(refresh_token)
        if facts is not None and facts.dialect == self.name:
            call.grant, call.generation = self.state.grant(facts.number), facts.generation
        return call

    def recognise_access(self, call: Call, access_token: str) -> Call:
        """Note in `call` the access token, and its grant if it is one of this dialect's."""
        call.params = {"token": access_token}
        facts = self.world.smith.read_access_token(access_token)
        if facts is not None and facts.dialect == self.name:
            call.grant = self.state.grant(facts.number)
        return call

    def read_form(self, request: Request) -> dict[str, str]:
        """Return the form's parameters. RFC 6749 §3.2: empty ones count as omitted, none may come twice."""
        if request.media_type != "application/x-www-form-urlencoded":
            raise self.refusal(400, "invalid_request", "The body must be application/x-www-form-urlencoded.")
        pairs = parse_qsl(request.body.decode("utf-8", "replace"))
        params = dict(pairs)
        if len(params) != len(pairs):
            raise self.refusal(400, "invalid_request", "A parameter is repeated.")
        return params

    def read_json(self, request: Request) -> dict[str, str]:
        """Return the parameters of a flat JSON object of strings."""
        if request.media_type != "application/json":
            raise self.refusal(400, "invalid_request", "The body must be application/json.")
        try:
            content = json.loads(request.body)
        except ValueError:
            content = None
        if not isinstance(content, dict) or not all(isinstance(value, str) for value in content.values()):
            raise self.refusal(400, "invalid_request", "The body must be a JSON object of strings.")
        return {name: value for name, value in content.items() if value}

    # Acting.

    def exchange(self, call: Call, now: float) -> Outcome:
        """Answer a token request: client first, then the grant type, then the grant (RFC 6749 §5.2)."""
        self.authenticate(call)
        grant_type = call.params.get("grant_type")
        if grant_type is None:
            raise self.refusal(400, "invalid_request", "grant_type is missing.")
        if grant_type not in self.grant_types:
            raise self.refusal(
                400, "unsupported_grant_type", f"Grant types here: {', '.join(self.grant_types)}."
            )
        return self.grant_types[grant_type](call, now)

    def authenticate(self, call: Call) -> None:
        """Check id and secret in the body."""
        self.require_client(call.params.get("client_id"), call.params.get("client_secret"))

    def require_client(self, client_id: str | None, secret: str | None, *, headers: Headers = ()) -> None:
        """Raise `Refusal` (401 ``invalid_client``) unless the provider knows that app by that secret."""
        known = self.state.settings.secret_of(client_id or "")
        if known is None:
            raise self.refusal(401, "invalid_client", "The client is unknown.", headers=headers)
        if not hmac.compare_digest(known.encode(), (secret or "").encode()):
            raise self.refusal(401, "invalid_client", "The client secret is wrong.", headers=headers)

    def refresh(self, call: Call, now: float) -> Outcome:
        """Answer the refresh grant: RFC 6749 §6, and the rotation that the settings say."""
        if "refresh_token" not in call.params:
            raise self.refusal(400, "invalid_request", "refresh_token is missing.")
        grant = self.presented_grant(call, call.params.get("client_id"))
        if self.scope_exceeds(call, grant):
            raise self.refusal(400, "invalid_scope", "The scope exceeds what was granted.")
        verdict = self.world.present(grant, call.generation, arrived_at=call.arrived_at, now=now)
        if verdict in (Verdict.REUSE, Verdict.DEAD):
            raise self.dead_grant(verdict)
        rotates = verdict is Verdict.REFRESHED and self.state.settings.rotation != "none"
        issued = self.world.issue(grant, now=now, rotated_at=call.arrived_at if rotates else None)
        answer = self.token_answer(grant, issued.access_token, issued.expires_in, now=now)
        return Outcome(answer, verdict.value)

    def presented_grant(self, call: Call, client_id: str | None) -> Grant:
        """Return the grant of the presented token if it is known and that app's, else raise `Refusal`."""
        if call.grant is None:
            raise self.dead_grant("unknown_token")
        if client_id != (call.grant.client_id or self.state.settings.client_id):
            raise self.dead_grant("other_client")
        return call.grant

    def scope_exceeds(self, call: Call, grant: Grant) -> bool:
        """Return whether the request asks for more than was granted (RFC 6749 §6)."""
        return not set(call.params.get("scope", "").split()) <= set(grant.scope.split())

    def token_answer(self, grant: Grant, access_token: str, expires_in: int | None, *, now: float) -> Answer:
        """Return the successful answer of RFC 6749 §5.1."""
        content: dict[str, object] = {"access_token": access_token, "token_type": "Bearer"}
        settings = self.state.settings
        if expires_in is not None and settings.expires_in != "missing":
            content["expires_in"] = str(expires_in) if settings.expires_in == "string" else expires_in
        if self.has_refresh_token and (settings.rotation != "none" or settings.send_refresh_token):
            content["refresh_token"] = self.world.refresh_token(grant)
        if settings.grant_life is not None:
            content["refresh_token_expires_in"] = int(grant.minted_at + settings.grant_life - now)
        if grant.scope:
            content["scope"] = grant.scope
        return json_answer(200, content, NO_STORE)

    def first_answer(self, grant: Grant, access_token: str, expires_in: int | None, *, now: float) -> Answer:
        """Return the answer to a consent, which has the refresh token whatever later answers have."""
        later = self.token_answer(grant, access_token, expires_in, now=now)
        content = {**json.loads(later.body), **self.metadata(grant)}
        content.pop("refresh_token", None)
        if self.has_refresh_token and self.state.settings.first_refresh_token:
            content["refresh_token"] = self.world.refresh_token(grant)
        return json_answer(later.status, content, later.headers)

    def check(self, call: Call, now: float) -> Outcome:
        """Answer a check."""
        result = self.check_result(call, now)
        return Outcome(self.check_answer(call, result), result)

    def check_result(self, call: Call, now: float) -> str:
        """Return ``ok``, ``missing_token``, ``invalid_token``, ``dead`` or ``expired``."""
        token = call.params["token"]
        if not token:
            return "missing_token"
        facts = self.world.smith.read_access_token(token)
        if facts is None or call.grant is None:
            return "invalid_token"
        if not call.grant.alive:
            return "dead"
        if 0 < facts.expires_ms <= now * 1000:
            return "expired"
        self.world.note_use(call.grant, facts.generation)
        return "ok"

    def check_answer(self, call: Call, result: str) -> Answer:
        """Return the answer to a check that came to `result`. Each dialect has its own."""
        raise NotImplementedError

    # Refusing.

    def error(self, status: int, error: str, description: str, headers: Headers = ()) -> Answer:
        """Return a refusal of the token endpoint in the shape of RFC 6749 §5.2."""
        status = 200 if self.state.settings.errors_in_200 else status
        return json_answer(status, {"error": error, "error_description": description}, NO_STORE + headers)

    def refusal(
        self, status: int, error: str, description: str, *, result: str | None = None, headers: Headers = ()
    ) -> Refusal:
        """Return a refusal to raise; its class in the report is the error code unless `result` is given."""
        return Refusal(self.error(status, error, description, headers), result or error)

    def dead_grant(self, result: str) -> Refusal:
        """Return the refusal of a token that is unknown, spent, revoked or another client's."""
        settings = self.state.settings
        description = "The refresh token is invalid, expired, revoked or was issued to another client."
        return self.refusal(settings.dead_grant_status, settings.dead_grant_error, description, result=result)

    def spurious(self, error: str) -> Answer:
        """Return the answer of a fault ``invalid_grant`` or ``invalid_client``, like the true one."""
        if error == "invalid_client":
            return self.error(401, error, "The client secret is wrong.")
        return self.dead_grant("").answer

    def provider_error(self, _call: Call, code: int) -> Answer:
        """Return the provider's own numbered error."""
        return json_answer(400, {"error": str(code)})

    def throttled(self, _call: Call) -> Answer:
        """Return the answer to a request above the rate limit."""
        wait = f"{self.state.settings.retry_after:.0f}".encode()
        return json_answer(429, {"error": "rate_limited"}, ((b"retry-after", wait),))


def basic_credentials(request: Request) -> tuple[str, str] | None:
    """Return id and secret of an ``Authorization: Basic`` header, or None without one.

    RFC 6749 §2.3.1: both were form-encoded before they were joined. A header that cannot be read gives a pair
    that matches no client.
    """
    scheme, _, value = request.headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        client_id, _, secret = base64.b64decode(value, validate=True).decode().partition(":")
    except ValueError:
        return "", ""
    return unquote_plus(client_id), unquote_plus(secret)
