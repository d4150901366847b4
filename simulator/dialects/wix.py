"""Wix in its three modes: dev.wix.com, api-reference of OAuth 2.

Guesses, marked as such: errors of the token endpoint have the shape of RFC 6749; token-info answers 200 with
``"active": false`` to a token that is none; an unknown or removed instance is ``invalid_grant``; the legacy
answer has ``expires_in``; refresh tokens do not rotate. The settings turn rotation, status and code.
"""

from __future__ import annotations

from simulator.dialects.base import Call, Dialect, Endpoint, Outcome
from simulator.dialects.consent import Consent
from simulator.grants import Grant, Verdict
from simulator.wire import Answer, Refusal, Request, json_answer
from simulator.world import World

_TOKEN_PATH = "/wix/oauth2/token"  # noqa: S105 - a path
_CHECK_PATH = "/wix/oauth2/token-info"
_CAMEL = {
    "grantType": "grant_type",
    "refreshToken": "refresh_token",
    "clientId": "client_id",
    "code": "code",
    "redirectUri": "redirect_uri",
    "codeVerifier": "code_verifier",
}


class _Wix(Dialect):
    """What the modes share. Their URLs overlap, so `WixFamily` has the routes."""

    check_path: str = _CHECK_PATH

    def routes(self) -> dict[str, dict[str, Endpoint]]:
        """Return none: see `WixFamily`."""
        return {}

    def metadata(self, grant: Grant) -> dict[str, object]:
        """Return the instance, by which an app names one installation."""
        return {"instance_id": self.world.smith.instance_id(self.name, grant.number)}

    def check_answer(self, call: Call, result: str) -> Answer:
        """Return token-info."""
        if result != "ok" or call.grant is None:
            return json_answer(200, {"active": False})
        facts = self.world.smith.read_access_token(call.params["token"])
        instance = self.world.smith.instance_id(self.name, call.grant.number)
        content: dict[str, object] = {
            "active": True,
            "clientId": call.grant.client_id or self.state.settings.client_id,
            "siteId": f"site-{call.grant.grant_id}",
            "instanceId": instance,
            "subjectId": f"member-{call.grant.user}",
        }
        if facts is not None and facts.expires_ms:
            content["exp"] = facts.expires_ms // 1000
        return json_answer(200, content)


class WixHeadless(_Wix):
    """Visitors and members: camelCase in JSON or form, no secret, a refresh token that stays."""

    name: str = "wix"
    token_path: str = _TOKEN_PATH

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.consent = Consent(self, "/wix/oauth2/authorize")

    def authenticate(self, call: Call) -> None:
        """Know the client by its id alone."""
        client_id = call.params.get("client_id", "")
        if self.state.settings.secret_of(client_id) is None:
            raise self.refusal(401, "invalid_client", "The client is unknown.")


class WixApp(_Wix):
    """An app's own token for one installation: ``client_credentials``, JSON, no refresh token."""

    name: str = "wix-app"
    token_path: str = _TOKEN_PATH
    has_refresh_token: bool = False

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.grant_types = {"client_credentials": self.mint}

    def recognise_instance(self, call: Call) -> Call:
        """Note in `call` the grant whose instance it names. It counts as a presentation."""
        number = self.world.smith.read_instance_id(self.name, call.params.get("instance_id", ""))
        if number is not None:
            call.grant, call.generation = self.state.grant(number), 0
        return call

    def mint(self, call: Call, now: float) -> Outcome:
        """Make an access token for the instance."""
        if "instance_id" not in call.params:
            raise self.refusal(400, "invalid_request", "instance_id is missing.")
        grant = self.presented_grant(call, call.params.get("client_id"))
        if not grant.alive:
            raise self.dead_grant(Verdict.DEAD)
        issued = self.world.issue(grant, now=now, rotated_at=None)
        answer = self.token_answer(grant, issued.access_token, issued.expires_in, now=now)
        return Outcome(answer, Verdict.REFRESHED)


class WixLegacy(_Wix):
    """Apps from before: JSON with a secret to a URL of its own; the identical refresh token comes back."""

    name: str = "wix-legacy"
    token_path: str = "/wix/oauth/access"  # noqa: S105 - a path


class WixFamily:
    """Tells the modes apart where they share a URL."""

    def __init__(self, headless: WixHeadless, app: WixApp, legacy: WixLegacy) -> None:
        self._headless, self._app, self._legacy = headless, app, legacy

    def routes(self) -> dict[str, dict[str, Endpoint]]:
        """Return path → method → endpoint."""
        return {
            _TOKEN_PATH: {"POST": Endpoint("token", self._read_token)},
            _CHECK_PATH: {"POST": Endpoint("check", self._read_check)},
            **self._headless.consent.routes(),
            self._legacy.token_path: {"POST": Endpoint("token", self._read_legacy)},
        }

    def _read_token(self, request: Request, arrived_at: float) -> Call:
        headless, app = self._headless, self._app
        call = headless.new_call("token", request, arrived_at, headless.exchange)
        try:
            form = request.media_type == "application/x-www-form-urlencoded"
            params = headless.read_form(request) if form else headless.read_json(request)
        except Refusal as refusal:
            call.refusal = refusal
            return call
        if params.get("grant_type") == "client_credentials":
            call = app.new_call("token", request, arrived_at, app.exchange)
            call.params = params
            if form:
                call.refusal = app.refusal(400, "invalid_request", "The body must be application/json.")
            return app.recognise_instance(call)
        if not headless.state.settings.accept_snake_case:
            # The documented names are camelCase for JSON and form alike; others are as good as not sent.
            params = {name: value for name, value in params.items() if name in _CAMEL}
        call.params = {_CAMEL.get(name, name): value for name, value in params.items()}
        return headless.recognise(call, call.params.get("refresh_token", ""))

    def _read_legacy(self, request: Request, arrived_at: float) -> Call:
        legacy = self._legacy
        call = legacy.new_call("token", request, arrived_at, legacy.exchange)
        try:
            call.params = legacy.read_json(request)
        except Refusal as refusal:
            call.refusal = refusal
            return call
        return legacy.recognise(call, call.params.get("refresh_token", ""))

    def _read_check(self, request: Request, arrived_at: float) -> Call:
        call = self._headless.new_call("check", request, arrived_at, self._headless.check)
        try:
            token = self._headless.read_json(request).get("token", "")
        except Refusal as refusal:
            call.refusal = refusal
            return call
        facts = self._headless.world.smith.read_access_token(token)
        modes = {dialect.name: dialect for dialect in (self._headless, self._app, self._legacy)}
        mode = modes.get(facts.dialect if facts is not None else "", self._headless)
        return mode.recognise_access(mode.new_call("check", request, arrived_at, mode.check), token)
