"""Bing Webmaster: learn.microsoft.com/en-us/bingwebmaster/oauth2.

The documentation shows refreshing at ``/webmasters/token``, known clients use ``/webmasters/oauth/token``:
both are served, and the setting `token_paths` closes one. Rotation is undocumented: by default there is none.
"""

from __future__ import annotations

from simulator.dialects.base import Call, Dialect, Endpoint
from simulator.dialects.consent import Consent
from simulator.wire import Answer, Refusal, Request, json_answer
from simulator.world import World

# learn.microsoft.com, ApiErrorCode; 18 is undocumented and seen in the wild.
_MESSAGES = {
    3: "InvalidApiKey",
    4: "ThrottleUser",
    5: "ThrottleHost",
    6: "UserBlocked",
    14: "NotAuthorized",
    17: "ThrottleIP",
    18: "InvalidToken",
}
_CODES = {"missing_token": 3, "invalid_token": 18, "expired": 18, "dead": 14}


class Bing(Dialect):
    """Form to the token endpoint; the API answers HTTP 400 with a number for everything that is wrong."""

    name: str = "bing"
    token_path: str = "/bing/webmasters/oauth/token"  # noqa: S105 - a path
    check_path: str = "/bing/webmaster/api.svc/json/GetUserSites"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._consent = Consent(self, "/bing/webmasters/oauth/authorize")

    def routes(self) -> dict[str, dict[str, Endpoint]]:
        """Add the token URL of the documentation's refresh example, and where people consent."""
        return {
            **super().routes(),
            **self._consent.routes(),
            "/bing/webmasters/token": {"POST": Endpoint("token", self.read_token)},
        }

    def read_token(self, request: Request, arrived_at: float) -> Call:
        """Read a form, unless the settings say that this URL does not work."""
        open_paths = self.state.settings.token_paths
        if open_paths != "both" and request.path != f"/bing/webmasters/{open_paths}":
            call = self.new_call("token", request, arrived_at, self.exchange)
            call.refusal = Refusal(Answer(404, b"<html>Not found</html>", "text/html"), "not_found")
            return call
        return super().read_token(request, arrived_at)

    def check_answer(self, call: Call, result: str) -> Answer:
        """Return GetUserSites, or the numbered error."""
        if result == "ok" and call.grant is not None:
            site = {"Url": f"https://{call.grant.grant_id}.example/", "IsVerified": True}
            return json_answer(200, {"d": [site]})
        return self.provider_error(call, _CODES[result])

    def provider_error(self, _call: Call, code: int) -> Answer:
        """Return HTTP 400 with the number and its name."""
        return json_answer(
            400, {"ErrorCode": code, "Message": f"ERROR!!! {_MESSAGES.get(code, 'UnknownError')}"}
        )

    def throttled(self, call: Call) -> Answer:
        """Return ThrottleUser from the API."""
        return self.provider_error(call, 4) if call.kind == "check" else super().throttled(call)
