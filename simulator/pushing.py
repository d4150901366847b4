"""Google's side of Cross-Account Protection: signs security event tokens, serves its keys, pushes, forges.

https://developers.google.com/identity/protocols/risc, RFC 8417 (the tokens), RFC 8935 (how they are pushed).
Written with nothing but RSA: no library for JSON Web Signatures is shared with whoever verifies.

``POST /_sim/events`` takes

============  ==============================================================================================
``url``       the receiver
``audience``  whom the token is for: a client id, or a list
``events``    event → its members; an event's short name (``tokens-revoked``) stands for its whole URI
``sub``       if given, the subject of each event that has none
``issuer``    ``iss``
``claims``    if given, laid over the token's claims; null takes one away
``forge``     if given, one of `FORGERIES`
============  ==============================================================================================

and answers ``{"status": …, "body": …, "content_type": …, "jti": …}`` of the receiver.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import secrets
import time
from http.client import HTTPConnection
from urllib.parse import urlsplit

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from simulator.orders import BadOrder, Body, optional_text, read_object, text
from simulator.wire import Answer, Request, json_answer

KEYS_PATH = "/google/oauth2/v3/certs"
#: Ways to make a token that must be refused.
FORGERIES = (
    "wrong_key",
    "unknown_kid",
    "no_kid",
    "none",
    "hs256_public_key",
    "tampered",
    "id_token",
)
_RISC = "https://schemas.openid.net/secevent/risc/event-type/"
_OAUTH = "https://schemas.openid.net/secevent/oauth/event-type/"
_OF_OAUTH = ("tokens-revoked", "token-revoked")
_TIMEOUT_SECONDS = 30.0


class Pusher:
    """Holds the keys, which are made when they are first needed."""

    def __init__(self) -> None:
        self._keys: dict[str, rsa.RSAPrivateKey] = {}
        self._fetches = 0

    def serve_keys(self) -> Answer:
        """Answer with the public keys (RFC 7517 §5)."""
        self._fetches += 1
        return json_answer(200, {"keys": [_public(kid, key) for kid, key in self._signing().items()]})

    async def handle(self, request: Request, noun: str) -> Answer:
        """Answer what the control interface was asked for."""
        if noun == "event-keys":
            if request.method == "POST":
                self._keys.clear()
            return json_answer(200, {"kids": list(self._signing()), "fetches": self._fetches})
        if request.method != "POST":
            raise BadOrder("POST the event that is to be pushed", 404)
        order = read_object(request)
        url, (token, jti) = text(order, "url"), self._token(order)
        # On a thread of its own: the receiver asks this very process for the keys meanwhile.
        status, kind, body = await asyncio.to_thread(_push, url, token)
        return json_answer(200, {"status": status, "content_type": kind, "body": body, "jti": jti})

    def _signing(self) -> dict[str, rsa.RSAPrivateKey]:
        if not self._keys:
            self._keys[secrets.token_hex(20)] = _new_key()
        return self._keys

    def _token(self, order: Body) -> tuple[str, str]:
        forge = optional_text(order, "forge")
        if forge is not None and forge not in FORGERIES:
            raise BadOrder(f"forge: one of {', '.join(FORGERIES)} is needed")
        claims = _claims(order)
        kid, key = next(iter(self._signing().items()))
        header: dict[str, object] = {"alg": "RS256", "kid": kid, "typ": "secevent+jwt"}
        if forge == "unknown_kid":
            header["kid"] = secrets.token_hex(20)
        elif forge == "no_kid":
            del header["kid"]
        elif forge == "none":
            header["alg"] = "none"
        elif forge == "hs256_public_key":
            header["alg"] = "HS256"
        elif forge == "id_token":
            # What the same keys sign for the same client, and what is no event.
            header["typ"] = "JWT"
            claims = {name: value for name, value in claims.items() if name not in ("events", "jti")}
        signed = f"{_encoded(_json(header))}.{_encoded(_json(claims))}"
        signature = self._signature(forge, key, signed.encode())
        if forge == "tampered":
            claims["iat"] = int(time.time()) + 1
            signed = f"{_encoded(_json(header))}.{_encoded(_json(claims))}"
        return f"{signed}.{_encoded(signature)}", str(claims.get("jti", ""))

    @staticmethod
    def _signature(forge: str | None, key: rsa.RSAPrivateKey, signed: bytes) -> bytes:
        if forge == "none":
            return b""
        if forge == "hs256_public_key":
            pem = key.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
            return hmac.digest(pem, signed, hashlib.sha256)
        signer = _new_key() if forge == "wrong_key" else key
        return signer.sign(signed, padding.PKCS1v15(), SHA256())


def _new_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _claims(order: Body) -> Body:
    events, subject = order.get("events"), optional_text(order, "sub")
    if not isinstance(events, dict):
        raise BadOrder("events: an object is needed")
    issuer = text(order, "issuer")
    named = {}
    for name, members in events.items():
        event = dict(members) if isinstance(members, dict) else {}
        if subject is not None and "subject" not in event:
            event["subject"] = {"subject_type": "iss-sub", "iss": issuer, "sub": subject}
        named[name if ":" in name else (_OAUTH if name in _OF_OAUTH else _RISC) + name] = event
    claims: Body = {
        "iss": issuer,
        "aud": order.get("audience"),
        "iat": int(time.time()),
        "jti": secrets.token_hex(16),
        "events": named,
    }
    changes = order.get("claims")
    claims |= changes if isinstance(changes, dict) else {}
    return {name: value for name, value in claims.items() if value is not None}


def _push(url: str, token: str) -> tuple[int, str, str]:
    parts = urlsplit(url)
    connection = HTTPConnection(parts.netloc, timeout=_TIMEOUT_SECONDS)
    try:
        headers = {"Content-Type": "application/secevent+jwt", "Accept": "application/json"}
        connection.request("POST", parts.path, token, headers)
        response = connection.getresponse()
        return response.status, response.headers.get("Content-Type", ""), response.read().decode()
    finally:
        connection.close()


def _public(kid: str, key: rsa.RSAPrivateKey) -> Body:
    numbers = key.public_key().public_numbers()
    return {
        "kty": "RSA",
        "use": "sig",
        "alg": "RS256",
        "kid": kid,
        "n": _encoded(numbers.n.to_bytes((numbers.n.bit_length() + 7) // 8, "big")),
        "e": _encoded(numbers.e.to_bytes(3, "big")),
    }


def _json(content: object) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode()


def _encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
