"""Security event tokens (RFC 8417): verified against the issuer's keys, and read for what they say.

Google's Cross-Account Protection sends them: https://developers.google.com/identity/protocols/risc.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, Final

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey

from domain.events import Meaning, Statement, as_credential_hash
from providers.events.keys import KeySets, KeysUnavailable
from providers.events.reading import Forged, Message, instant, message_id
from providers.events.tables import SecurityEventTokens
from providers.kept_texts import shown

__all__ = ["KeysUnavailable", "verified"]

_RISC: Final = "https://schemas.openid.net/secevent/risc/event-type/"
_OAUTH: Final = "https://schemas.openid.net/secevent/oauth/event-type/"
#: https://openid.net/specs/openid-risc-1_0.html §2, https://openid.net/specs/oauth-event-types-1_0-01.html.
_MEANINGS: Final[Mapping[str, Meaning]] = {
    f"{_OAUTH}tokens-revoked": Meaning.REVOKED,
    f"{_OAUTH}token-revoked": Meaning.REVOKED,
    f"{_RISC}sessions-revoked": Meaning.LOOK,
    f"{_RISC}account-credential-change-required": Meaning.LOOK,
    f"{_RISC}account-disabled": Meaning.DISABLED,
    f"{_RISC}account-purged": Meaning.DISABLED,
    f"{_RISC}account-enabled": Meaning.ENABLED,
    f"{_RISC}verification": Meaning.VERIFY,
}
#: How Google names a refresh token without telling it: base64 of SHA-512 of SHA-512.
HASHED: Final = "hash_base64_sha512_sha512"
#: What the header may call the token (RFC 8417 §2.3); Google leaves it out, or says that it is a JWT.
_TYPES: Final = frozenset({None, "JWT", "SECEVENT+JWT", "APPLICATION/SECEVENT+JWT"})
_KEYS_OF: Final[Mapping[str, type[RSAKey] | type[ECKey]]] = {"RS256": RSAKey, "ES256": ECKey}
#: RFC 7518 §3.3.
_LEAST_RSA_BITS: Final = 2048
#: More events than this are no description of one happening (RFC 8417 §2.2).
_MOST_EVENTS: Final = 16


def verified(body: bytes, table: SecurityEventTokens, keys: KeySets, client_ids: Collection[str]) -> Message:
    """Return what a security event token says, if it is the issuer's and for us.

    Its age is no reason to refuse it: it tells of something that has happened, and has no end.

    Args:
        client_ids: Ours at the issuer.

    Raises:
        Forged: It is not; says which way.
        KeysUnavailable: The issuer's keys could not be had: nobody knows. Ask for it again.
    """
    try:
        text = body.decode("ascii").strip()
        unread = jws.extract_compact(text.encode("ascii"))
        header = unread.headers()
    except (UnicodeDecodeError, JoseError, ValueError, TypeError):
        raise Forged("invalid_request", "the body is not a security event token") from None
    claims = _claims(_signed(text, header, table, keys))
    if claims.get("iss") != table.issuer:
        raise Forged("invalid_issuer", "iss is not the issuer whose events are expected here")
    audience = claims.get("aud")
    named = audience if isinstance(audience, list) else [audience]
    meant = tuple(client_id for client_id in client_ids if client_id in named)
    if not meant:
        raise Forged("invalid_audience", "aud is not a client id of this receiver")
    jti, events = claims.get("jti"), claims.get("events")
    if not isinstance(jti, str) or not jti:
        raise Forged("invalid_request", "jti is missing")
    if not isinstance(events, dict) or not 0 < len(events) <= _MOST_EVENTS:
        raise Forged("invalid_request", "events is missing, empty or too long")
    at = instant(claims.get("toe")) or instant(claims.get("iat"))
    statements = tuple(
        _statement(kind, event, claims, table, at)
        for kind, event in events.items()
        if isinstance(event, dict)
    )
    if not statements:
        raise Forged("invalid_request", "events holds no event")
    return Message(table.issuer, message_id(jti, jti.encode("utf-8", "surrogatepass")), statements, meant)


def _signed(text: str, header: Mapping[str, Any], table: SecurityEventTokens, keys: KeySets) -> bytes:
    """Return the payload, if the issuer has signed it."""
    algorithm, kid, kind = header.get("alg"), header.get("kid"), header.get("typ")
    if algorithm not in table.algorithms:
        raise Forged("authentication_failed", "alg is not an algorithm that is accepted here")
    if not isinstance(kid, str) or not kid:
        raise Forged("invalid_key", "kid is missing")
    if kind is not None and (not isinstance(kind, str) or kind.upper() not in _TYPES):
        raise Forged("invalid_request", "typ says that it is something else")
    key = keys.find(table.jwks_url, kid)
    if key is None:
        raise Forged("invalid_key", "kid names no key of the issuer")
    if not isinstance(key, _KEYS_OF[algorithm]) or key.as_dict(private=False).get("alg") not in (
        None,
        algorithm,
    ):
        # Never the issuer's public key as the secret of an HMAC, or a key of one kind for another.
        raise Forged("invalid_key", "kid names a key that is not for this algorithm")
    if isinstance(key, RSAKey) and key.public_key.key_size < _LEAST_RSA_BITS:
        raise Forged("invalid_key", "kid names a key that is too short")
    try:
        return jws.deserialize_compact(text, key, algorithms=[algorithm]).payload
    except (JoseError, ValueError):
        raise Forged("authentication_failed", "the signature is not the issuer's") from None


def _claims(payload: bytes) -> dict[str, Any]:
    try:
        claims = json.loads(payload)
    except (ValueError, RecursionError):
        claims = None
    if not isinstance(claims, dict):
        raise Forged("invalid_request", "the token holds no claims")
    return claims


def _statement(
    kind: str,
    event: Mapping[str, Any],
    claims: Mapping[str, Any],
    table: SecurityEventTokens,
    at: datetime | None,
) -> Statement:
    word = shown(kind.rpartition("/")[2]) or "unknown"
    meaning = _MEANINGS.get(kind)
    if meaning is None:
        # Of an event that nobody knows nothing follows; others may be added (RFC 8417 §2.2).
        return Statement(word, Meaning.VERIFY, at=at)
    subject = event.get("subject", claims.get("sub_id"))
    if not isinstance(subject, dict):
        return Statement(word, meaning, at=at)
    if kind == f"{_OAUTH}token-revoked":
        # Matched by the hash alone: a prefix of a token names more than one, and is a part of a secret.
        hashed = (
            subject.get("token_identifier_alg") == HASHED and subject.get("token_type") == "refresh_token"
        )
        token = subject.get("token")
        if not hashed or not isinstance(token, str):
            return Statement(f"{word}-by-prefix", Meaning.VERIFY, at=at)
        return Statement(word, meaning, credential=as_credential_hash(token), at=at)
    return Statement(word, meaning, account_id=_account(subject, table.issuer), at=at)


def _account(subject: Mapping[str, Any], issuer: str) -> str | None:
    """Return whose account it is (RFC 9493 §3.2.3, and the names it had before that)."""
    form = subject.get("format", subject.get("subject_type"))
    if not isinstance(form, str) or form.replace("-", "_") not in ("iss_sub", "id_token_claims"):
        return None
    if str(subject.get("iss", "")).rstrip("/") != issuer.rstrip("/"):
        return None
    return shown(subject.get("sub"))
