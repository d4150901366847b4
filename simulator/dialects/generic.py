"""A provider by the book, twice: ``strict`` (single use, no mercy) and ``window`` (a replay window).

RFC 6749 for the token endpoint (credentials in the body or by HTTP Basic), RFC 6750 for the check, RFC 7009
for revocation, RFC 9700 §4.14.2 for what happens on reuse.
"""

from __future__ import annotations

from simulator.dialects.base import Call, Dialect, Endpoint, Outcome, basic_credentials
from simulator.dialects.consent import Consent
from simulator.dialects.devices import Devices
from simulator.grants import Grant
from simulator.wire import Answer, Headers, Refusal, Request, json_answer
from simulator.world import World

_CHALLENGE: Headers = ((b"www-authenticate", b'Basic realm="simulator"'),)


class Generic(Dialect):
    """Both generic dialects; they differ by their settings alone."""

    def __init__(self, world: World, name: str) -> None:
        self.name = name
        self.token_path = f"/{name}/token"
        self.check_path = f"/{name}/userinfo"
        self.revoke_path = f"/{name}/revoke"
        super().__init__(world)
        self._consent = Consent(self, f"/{name}/authorize", sends_issuer=True)
        self._devices = Devices(self)

    def routes(self) -> dict[str, dict[str, Endpoint]]:
        """Add revocation and the places where people consent."""
        return {
            **super().routes(),
            **self._consent.routes(),
            **self._devices.routes(),
            f"/{self.name}/revoke": {"POST": Endpoint("revoke", self.read_revoke)},
        }

    def client_of(self, call: Call) -> str:
        """Return the id of the authenticated client. RFC 6749 §2.3: one method at a time."""
        basic = basic_credentials(call.request)
        if basic is None:
            self.require_client(call.params.get("client_id"), call.params.get("client_secret"))
            return call.params["client_id"]
        if "client_secret" in call.params:
            raise self.refusal(400, "invalid_request", "Two ways of client authentication at once.")
        # RFC 6749 §5.2: a client that tried by header gets a challenge for that scheme.
        self.require_client(*basic, headers=_CHALLENGE)
        return basic[0]

    def authenticate(self, call: Call) -> None:
        """Take the credentials from the body or from HTTP Basic."""
        self.client_of(call)

    def presented_grant(self, call: Call, client_id: str | None) -> Grant:
        """Compare with the client that authenticated, wherever it said its id."""
        basic = basic_credentials(call.request)
        return super().presented_grant(call, client_id if basic is None else basic[0])

    def check_answer(self, call: Call, result: str) -> Answer:
        """Return the user, or 401 in the shape of RFC 6750 §3.1."""
        if result == "ok" and call.grant is not None:
            grant = call.grant
            return json_answer(200, {"sub": grant.grant_id, "account": grant.user, "scope": grant.scope})
        if result == "missing_token":
            return Answer(401, b"", headers=((b"www-authenticate", b"Bearer"),))
        challenge = b'Bearer error="invalid_token", error_description="The access token is not valid"'
        return json_answer(401, {"error": "invalid_token"}, ((b"www-authenticate", challenge),))

    def read_revoke(self, request: Request, arrived_at: float) -> Call:
        """Read a revocation (RFC 7009 §2.1); either kind of token ends the grant."""
        call = self.new_call("revoke", request, arrived_at, self.revoke)
        try:
            params = self.read_form(request)
        except Refusal as refusal:
            call.refusal = refusal
            return call
        token = params.get("token", "")
        if self.recognise_access(call, token).grant is None:
            self.recognise(call, token)
        call.params = params
        return call

    def revoke(self, call: Call, now: float) -> Outcome:
        """Answer 200 also for a token that is none (RFC 7009 §2.2)."""
        client_id = self.client_of(call)
        if "token" not in call.params:
            raise self.refusal(400, "invalid_request", "token is missing.")
        grant = call.grant
        if grant is not None and client_id == (grant.client_id or self.state.settings.client_id):
            self.world.kill(grant, "revoked_by_client", now=now)
        return Outcome(Answer(200, b""), "ok")
