"""Looks at how a client says who it is (RFC 6749 §2.3.1): in the one way that is wanted, and rightly."""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Mapping
from urllib.parse import unquote_plus

from simulator.playing.known import Known
from simulator.playing.transcript import Wanted
from simulator.wire import Request

#: What is insisted on, and what was done instead.
Problem = tuple[str, str]
_BASIC = "the client's id and secret in a Basic header"
_BODY = "the client's id and secret in the body"
_BEARER = "the access token in a Bearer header"


def problem(wanted: Wanted, request: Request, sent: Mapping[str, object], known: Known) -> Problem | None:
    """Return what is wrong with it, None where nothing is.

    Args:
        sent: The parameters of query and body.
    """
    authorization = request.headers.get(b"authorization", b"").decode("latin-1")
    scheme, _, credentials = authorization.partition(" ")
    did = _did(scheme, sent, known)
    match wanted.client_auth:
        case "basic":
            return _basic(scheme, credentials, sent, known, did)
        case "bearer":
            if scheme.lower() != "bearer":
                return _BEARER, did
            return None if credentials == known.access_token else (_BEARER, "another value in it")
        case "body":
            if _unasked(authorization, wanted):
                return _BODY, did
            return None if _in_body(wanted, sent, known) else (f"{_BODY}, under the provider's names", did)
        case "none":
            if _unasked(authorization, wanted):
                return "no Authorization header", did
            asked = "{client_secret}" in {**wanted.parameters, **wanted.members}.values()
            return ("no client secret", did) if _has_secret(sent, known) and not asked else None


def _basic(
    scheme: str, credentials: str, sent: Mapping[str, object], known: Known, did: str
) -> Problem | None:
    if scheme.lower() != "basic":
        return _BASIC, did
    if _decoded(credentials) != (known.client_id, known.client_secret):
        return _BASIC, "another id or secret in it"
    # RFC 6749 §2.3: not more than one way in a request.
    return (f"{_BASIC} alone", "the secret in the body too") if _has_secret(sent, known) else None


def _unasked(authorization: str, wanted: Wanted) -> bool:
    """Say whether there is an Authorization header that the exchange does not list by itself."""
    return bool(authorization) and "authorization" not in {name.lower() for name in wanted.headers}


def _has_secret(sent: Mapping[str, object], known: Known) -> bool:
    return known.client_secret in sent.values()


def _did(scheme: str, sent: Mapping[str, object], known: Known) -> str:
    if scheme:
        return f"a {scheme.capitalize()} header"
    if _has_secret(sent, known):
        return "the id and secret in the body"
    return "the id alone in the body" if known.client_id in sent.values() else "neither header nor id"


def _in_body(wanted: Wanted, sent: Mapping[str, object], known: Known) -> bool:
    """Find id and secret under RFC 6749's names, or under those that the exchange's fields list instead."""
    for usual in ("client_id", "client_secret"):
        value = getattr(known, usual)
        names = {usual} if usual in wanted.fields else {usual, *wanted.fields}
        if not any(sent.get(name) == value for name in names):
            return False
    return True


def _decoded(encoded: str) -> tuple[str, str] | None:
    try:
        client_id, colon, secret = b64decode(encoded, validate=True).decode("utf-8").partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return (unquote_plus(client_id), unquote_plus(secret)) if colon else None
