"""Google for Search Console: developers.google.com/identity/protocols/oauth2, …/webmaster-tools/v1."""

from __future__ import annotations

from simulator.dialects.base import Call, Dialect, Endpoint, Outcome
from simulator.dialects.consent import Consent
from simulator.wire import Answer, Refusal, Request, json_answer
from simulator.world import World

_SCOPES = {
    "https://www.googleapis.com/auth/webmasters",
    "https://www.googleapis.com/auth/webmasters.readonly",
}


class Google(Dialect):
    """Refresh answers carry no refresh token; revoking takes all of a user's grants to the app with it."""

    name: str = "google"
    token_path: str = "/google/token"  # noqa: S105 - a path
    check_path: str = "/google/webmasters/v3/sites"
    revoke_path: str | None = "/google/revoke"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._consent = Consent(self, "/google/auth")

    def routes(self) -> dict[str, dict[str, Endpoint]]:
        """Add revocation, where people consent, and who they are."""
        return {
            **super().routes(),
            **self._consent.routes(),
            "/google/revoke": {"POST": Endpoint("revoke", self.read_revoke)},
            "/google/userinfo": {"GET": Endpoint("account", self._read_userinfo)},
        }

    def _read_userinfo(self, request: Request, arrived_at: float) -> Call:
        call = self.new_call("account", request, arrived_at, self._userinfo)
        return self.recognise_access(call, request.bearer or "")

    def _userinfo(self, call: Call, now: float) -> Outcome:
        """Return who the account is (OpenID Connect Core §5.3)."""
        result = super().check_result(call, now)
        if result != "ok" or call.grant is None:
            return Outcome(self.check_answer(call, result), result)
        user = call.grant.user
        return Outcome(json_answer(200, {"sub": f"google-{user}", "email": f"{user}@example.com"}), result)

    def read_revoke(self, request: Request, arrived_at: float) -> Call:
        """Read a revocation: either kind of token will do, in the form or in the query."""
        call = self.new_call("revoke", request, arrived_at, self.revoke)
        try:
            params = self.read_form(request) if request.body else {}
        except Refusal as refusal:
            call.refusal = refusal
            return call
        token = params.get("token") or request.query_parameters().get("token", "")
        self.recognise_access(call, token)
        return call if call.grant is not None else self.recognise(call, token)

    def revoke(self, call: Call, now: float) -> Outcome:
        """Kill the grant and its siblings: the same user's other grants to the same client."""
        grant = call.grant
        if grant is None or not grant.alive:
            return Outcome(self.error(400, "invalid_token", "Token expired or revoked"), "invalid_token")
        for sibling in self.state.grants:
            if sibling is grant or (sibling.user == grant.user and sibling.client_id == grant.client_id):
                self.world.kill(sibling, "revoked_by_client", now=now)
        return Outcome(json_answer(200, {}), "ok")

    def check_result(self, call: Call, now: float) -> str:
        """Ask for a Search Console scope as well."""
        result = super().check_result(call, now)
        if result == "ok" and call.grant is not None and not _SCOPES & set(call.grant.scope.split()):
            return "insufficient_scope"
        return result

    def check_answer(self, call: Call, result: str) -> Answer:
        """Return sites.list, or Google's error object."""
        if result == "ok" and call.grant is not None:
            site = f"https://{call.grant.grant_id}.example/"
            return json_answer(200, {"siteEntry": [{"siteUrl": site, "permissionLevel": "siteOwner"}]})
        if result == "insufficient_scope":
            return _api_error(
                403,
                "PERMISSION_DENIED",
                "Request had insufficient authentication scopes.",
                "insufficientPermissions",
            )
        return _api_error(
            401, "UNAUTHENTICATED", "Request had invalid authentication credentials.", "authError"
        )

    def throttled(self, call: Call) -> Answer:
        """Return Google's own shape for the API; the token endpoint has the plain one."""
        plain = super().throttled(call)
        if call.kind != "check":
            return plain
        shaped = _api_error(429, "RESOURCE_EXHAUSTED", "Quota exceeded.", "rateLimitExceeded")
        return Answer(shaped.status, shaped.body, headers=plain.headers)

    def provider_error(self, _call: Call, code: int) -> Answer:
        """Return the error object with `code` as HTTP status where it is one."""
        return _api_error(code if 400 <= code <= 599 else 400, "UNKNOWN", "Simulated error.", "backendError")


def _api_error(status: int, name: str, message: str, reason: str) -> Answer:
    challenge = (
        ((b"www-authenticate", b'Bearer realm="https://accounts.google.com/", error="invalid_token"'),)
        if status == 401
        else ()
    )
    return json_answer(
        status,
        {
            "error": {
                "code": status,
                "message": message,
                "status": name,
                "errors": [{"message": message, "domain": "global", "reason": reason}],
            }
        },
        challenge,
    )
