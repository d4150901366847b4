"""Where devices without a browser get their code: RFC 8628, in the memory of one dialect."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from html import escape

from simulator.dialects.base import NO_STORE, Call, Dialect, Endpoint, Outcome
from simulator.dialects.consent import answer, mint
from simulator.wire import Answer, Refusal, Request, json_answer

DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
_SECONDS = 600.0
#: RFC 8628 §3.5 has five where none is given; one keeps tests short.
_INTERVAL = 1
_LETTERS = "BCDFGHJKLMNPQRSTVWXZ"


@dataclass(slots=True)
class _Device:
    """A code that waits for a person. `decision` is ``agree`` or ``deny``; None: nobody has decided."""

    client_id: str
    scope: str
    ends_at: float
    user: str = ""
    decision: str | None = None
    asked_at: float = 0.0
    used: bool = False


class Devices:
    """The device authorization endpoint of one dialect, and the page where people type the code."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._devices: dict[str, _Device] = {}
        self._by_user_code: dict[str, _Device] = {}
        dialect.grant_types[DEVICE_GRANT] = self.exchange

    def routes(self) -> dict[str, dict[str, Endpoint]]:
        """Return path → method → endpoint."""
        name = self._dialect.name
        return {
            f"/{name}/device_authorization": {"POST": Endpoint("device", self._read_asking)},
            f"/{name}/device": {"GET": Endpoint("device", self._read_deciding)},
        }

    def _read_asking(self, request: Request, arrived_at: float) -> Call:
        call = self._dialect.new_call("device", request, arrived_at, self._begin)
        try:
            call.params = self._dialect.read_form(request)
        except Refusal as refusal:
            call.refusal = refusal
        return call

    def _begin(self, call: Call, now: float) -> Outcome:
        self._dialect.authenticate(call)
        device_code = f"sim-device-{self._dialect.name}-{secrets.token_urlsafe(24)}"
        letters = [secrets.choice(_LETTERS) for _ in range(8)]
        user_code = f"{''.join(letters[:4])}-{''.join(letters[4:])}"
        state = self._dialect.state
        device = _Device(
            call.params.get("client_id", state.settings.client_id),
            call.params.get("scope", state.default_scope),
            now + _SECONDS,
        )
        self._devices[device_code] = self._by_user_code[user_code] = device
        host = call.request.headers.get(b"host", b"").decode("latin-1")
        place = f"http://{host}/{self._dialect.name}/device"
        content = {
            "device_code": device_code,
            "user_code": user_code,
            "verification_uri": place,
            "verification_uri_complete": f"{place}?user_code={user_code}",
            "expires_in": int(_SECONDS),
            "interval": _INTERVAL,
        }
        return Outcome(json_answer(200, content, NO_STORE), "ok")

    def _read_deciding(self, request: Request, arrived_at: float) -> Call:
        call = self._dialect.new_call("device", request, arrived_at, self._decide)
        call.params = request.query_parameters()
        return call

    def _decide(self, call: Call, now: float) -> Outcome:
        device = self._by_user_code.get(call.params.get("user_code", ""))
        if device is None or device.ends_at < now:
            return _page("No such code", '<form>Code: <input name="user_code"><button>Go on</button></form>')
        decision = call.params.get("decision")
        if decision not in ("agree", "deny"):
            code = escape(call.params["user_code"])
            links = "".join(
                f'<p><a href="?user_code={code}&amp;decision={word}">{text}</a></p>'
                for word, text in (("agree", "Agree"), ("deny", "Do not agree"))
            )
            return _page("A device asks for access", links)
        device.decision, device.user = decision, call.params.get("as", "alice")
        return _page("Done", "You can close this page.")

    def exchange(self, call: Call, now: float) -> Outcome:
        """Answer a question after a code: RFC 8628 §3.5."""
        dialect = self._dialect
        device = self._devices.get(call.params.get("device_code", ""))
        if device is None or device.used:
            raise dialect.dead_grant("unknown_code")
        if device.ends_at < now:
            raise dialect.refusal(400, "expired_token", "The device code has expired.")
        if now - device.asked_at < _INTERVAL:
            raise dialect.refusal(400, "slow_down", "You ask too often.")
        device.asked_at = now
        if device.decision is None:
            raise dialect.refusal(400, "authorization_pending", "Nobody has agreed yet.")
        if device.decision == "deny":
            raise dialect.refusal(400, "access_denied", "The person did not agree.")
        device.used = True
        grant = mint(dialect, user=device.user, scope=device.scope, client_id=device.client_id, now=now)
        return answer(dialect, grant, now)


def _page(title: str, body: str) -> Outcome:
    content = f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title><h1>{title}</h1>{body}"
    return Outcome(Answer(200, content.encode(), "text/html; charset=utf-8"), "page")
