"""Where people consent: the authorization endpoint (RFC 6749 §4.1, RFC 7636) and what its codes are good for.

The page asks who agrees; a test answers for the person by adding ``decision`` (``agree`` or ``deny``), ``as``
(the account) and, where less is given than was asked for, ``granted`` to the address. Codes are kept in
memory: they live a minute, and a provider that restarts has forgotten them too.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from html import escape
from urllib.parse import urlencode

from simulator.dialects.base import Call, Dialect, Endpoint, Outcome
from simulator.grants import Grant
from simulator.wire import Answer, Request

CODE_GRANT = "authorization_code"
EXCHANGED = "exchanged"
_CODE_SECONDS = 60.0
_ACCOUNTS = ("alice", "bob")


@dataclass(slots=True)
class _Code:
    """A code that was given out. `grant` is what it was exchanged for; None: not yet."""

    client_id: str
    redirect_uri: str
    challenge: str | None = field(repr=False)
    user: str
    scope: str
    ends_at: float
    grant: Grant | None = None


class Consent:
    """The authorization endpoint of one dialect."""

    def __init__(self, dialect: Dialect, path: str, *, sends_issuer: bool = False) -> None:
        """Let a dialect hand out codes, and exchange them.

        Args:
            path: Of the endpoint.
            sends_issuer: Name the issuer in every answer (RFC 9207): the address with the dialect's name.
        """
        self._dialect = dialect
        self._path = path
        self._sends_issuer = sends_issuer
        self._codes: dict[str, _Code] = {}
        dialect.grant_types[CODE_GRANT] = self.exchange

    def routes(self) -> dict[str, dict[str, Endpoint]]:
        """Return path → method → endpoint."""
        return {self._path: {"GET": Endpoint("authorize", self._read)}}

    def _read(self, request: Request, arrived_at: float) -> Call:
        call = self._dialect.new_call("authorize", request, arrived_at, self._consent)
        call.params = request.query_parameters()
        return call

    def _consent(self, call: Call, now: float) -> Outcome:
        asked = call.params
        # RFC 6749 §4.1.2.1: whoever is sent by an unknown client, or to nowhere, is sent nowhere.
        if self._dialect.state.settings.secret_of(asked.get("client_id", "")) is None:
            return _page(400, "Unknown client", "This app is not registered here.")
        if not asked.get("redirect_uri"):
            return _page(400, "No redirect_uri", "The app did not say where to go back to.")
        if asked.get("response_type") != "code":
            return self._back(call, error="unsupported_response_type")
        if "code_challenge" in asked and asked.get("code_challenge_method") != "S256":
            return self._back(call, error="invalid_request")
        match asked.get("decision"):
            case "agree":
                return self._back(call, code=self._code(call, now))
            case "deny":
                return self._back(call, error="access_denied")
            case _:
                return self._ask(call)

    def _code(self, call: Call, now: float) -> str:
        asked = call.params
        code = f"sim-code-{self._dialect.name}-{secrets.token_urlsafe(24)}"
        self._codes[code] = _Code(
            asked["client_id"],
            asked["redirect_uri"],
            asked.get("code_challenge"),
            asked.get("as", _ACCOUNTS[0]),
            asked.get("granted", asked.get("scope", self._dialect.state.default_scope)),
            now + _CODE_SECONDS,
        )
        return code

    def _back(self, call: Call, **words: str) -> Outcome:
        asked = call.params
        if "state" in asked:
            words["state"] = asked["state"]
        if self._sends_issuer:
            words["iss"] = issuer(call.request, self._dialect.name)
        joint = "&" if "?" in asked["redirect_uri"] else "?"
        location = f"{asked['redirect_uri']}{joint}{urlencode(words)}"
        return Outcome(Answer(302, b"", "text/plain", ((b"location", location.encode()),)), "redirected")

    def _ask(self, call: Call) -> Outcome:
        name = self._dialect.name
        scopes = "".join(f"<li>{escape(scope)}</li>" for scope in call.params.get("scope", "").split())
        choices = [
            _choice(call, f"Agree as {account}", decision="agree", **{"as": account}) for account in _ACCOUNTS
        ]
        choices.append(_choice(call, "Do not agree", decision="deny"))
        return _page(200, f"{name} (simulated)", f"An app asks for:<ul>{scopes}</ul>{''.join(choices)}")

    def exchange(self, call: Call, now: float) -> Outcome:
        """Answer a code exchange: RFC 6749 §4.1.3, RFC 7636 §4.6."""
        dialect = self._dialect
        code = self._codes.get(call.params.get("code", ""))
        if code is None or code.ends_at < now:
            raise dialect.dead_grant("unknown_code")
        if code.grant is not None:
            # RFC 6749 §4.1.2: what a code was exchanged for ends when it comes twice.
            dialect.world.kill(code.grant, "code_reuse", now=now)
            raise dialect.dead_grant("code_reuse")
        if call.params.get("redirect_uri") != code.redirect_uri:
            raise dialect.dead_grant("other_redirect_uri")
        if code.challenge is not None and not _proves(call.params.get("code_verifier", ""), code.challenge):
            raise dialect.dead_grant("wrong_verifier")
        code.grant = mint(dialect, user=code.user, scope=code.scope, client_id=code.client_id, now=now)
        return answer(dialect, code.grant, now)


def mint(dialect: Dialect, *, user: str, scope: str, client_id: str, now: float) -> Grant:
    """Make the grant that a person has agreed to."""
    (number,) = dialect.world.mint(
        dialect.name,
        1,
        now=now,
        user=user,
        owner="",
        scope=scope,
        client_id=client_id,
        lifetime=None,
        first_lifetime=None,
    )
    return dialect.state.grants[number]


def answer(dialect: Dialect, grant: Grant, now: float) -> Outcome:
    """Return a new grant's first tokens."""
    expires_at = grant.access_expires_at
    expires_in = None if expires_at is None else round(expires_at - now)
    first = dialect.first_answer(grant, dialect.world.access_token(grant), expires_in, now=now)
    return Outcome(first, EXCHANGED)


def issuer(request: Request, name: str) -> str:
    """Return a dialect's issuer, as the client reached it."""
    return f"http://{request.headers.get(b'host', b'').decode('latin-1')}/{name}"


def _proves(verifier: str, challenge: str) -> bool:
    digest = hashlib.sha256(verifier.encode()).digest()
    expected = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    return hmac.compare_digest(expected.encode(), challenge.encode())


def _choice(call: Call, text: str, **words: str) -> str:
    address = f"{call.request.path}?{urlencode({**call.params, **words})}"
    return f'<p><a href="{escape(address)}">{text}</a></p>'


_STYLE = (
    ":root{color-scheme:light dark}"
    "body{font:1rem/1.5 system-ui;max-width:30rem;margin:2rem auto;padding:0 1rem;overflow-wrap:anywhere}"
)
_META = '<meta charset=utf-8><meta name=viewport content="width=device-width,initial-scale=1">'
_SMALL = "<p><small>A simulator of providers. Nobody real is asked.</small></p>"


def _page(status: int, title: str, body: str) -> Outcome:
    name = escape(title)
    head = f"<!doctype html><html lang=en>{_META}<title>{name}</title><style>{_STYLE}</style>"
    content = f"{head}<h1>{name}</h1>{body}{_SMALL}"
    return Outcome(Answer(status, content.encode(), "text/html; charset=utf-8"), "page")
