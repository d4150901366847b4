"""WordPress.com: developer.wordpress.com/docs/oauth2/. Tokens never expire; nothing can be refreshed."""

from __future__ import annotations

from simulator.dialects.base import Call, Dialect, Endpoint
from simulator.dialects.consent import Consent
from simulator.grants import Grant
from simulator.wire import Answer, Request, json_answer
from simulator.world import World


class WordPress(Dialect):
    """A check by token-info, whose token stands in the query; refreshing is an unsupported grant type."""

    name: str = "wordpress"
    token_path: str = "/wordpress/oauth2/token"  # noqa: S105 - a path
    check_path: str = "/wordpress/oauth2/token-info"
    has_refresh_token: bool = False

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.grant_types = {}
        self._consent = Consent(self, "/wordpress/oauth2/authorize")

    def routes(self) -> dict[str, dict[str, Endpoint]]:
        """Add where people consent."""
        return {**super().routes(), **self._consent.routes()}

    def metadata(self, grant: Grant) -> dict[str, object]:
        """Return the blog that the token is for."""
        return {"blog_id": str(1_000_000 + grant.number), "blog_url": f"https://{grant.grant_id}.example"}

    def read_check(self, request: Request, arrived_at: float) -> Call:
        """Read the token from the query, where token-info wants it."""
        call = self.new_call("check", request, arrived_at, self.check)
        return self.recognise_access(call, request.query_parameters().get("token", ""))

    def check_result(self, call: Call, now: float) -> str:
        """Ask for the client id as well: token-info speaks only of one's own tokens."""
        result = super().check_result(call, now)
        if result == "ok" and call.grant is not None:
            asked = call.request.query_parameters().get("client_id")
            if asked != (call.grant.client_id or self.state.settings.client_id):
                return "other_client"
        return result

    def check_answer(self, call: Call, result: str) -> Answer:
        """Return what the token is for, or 400 ``invalid_request`` whatever is wrong with it."""
        if result == "ok" and call.grant is not None:
            content = {
                "client_id": call.request.query_parameters().get("client_id"),
                "user_id": str(call.grant.number),
                "blog_id": self.metadata(call.grant)["blog_id"],
                "scope": call.grant.scope,
            }
            return json_answer(200, content)
        return json_answer(400, {"error": "invalid_request", "error_description": "The token is not valid."})
