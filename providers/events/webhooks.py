"""Webhooks: signed by a secret that the provider shares with us, and read as the definition says."""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import parse_qs

from pydantic import SecretStr

from domain.events import Meaning, Statement
from providers.answers import member
from providers.events.reading import Forged, Message, instant, message_id
from providers.events.tables import Place, Signature, Webhook
from providers.kept_texts import shown

#: Of a signature, in either encoding, and of a timestamp; what is longer is none.
_LONGEST: Final = 200
_HEX: Final = re.compile(r"[0-9a-fA-F]{64}")
#: Signatures of one message that are tried (a secret that is being replaced signs twice).
_MOST_SIGNATURES: Final = 8


def verified(
    source: str, headers: Mapping[str, str], body: bytes, table: Webhook, secret: SecretStr
) -> Message:
    """Return what a webhook says, if whoever has the secret has signed it.

    The timestamp that is signed with it is no reason to refuse it.

    Args:
        source: Names the sender, in whose messages ids are unique.
        headers: By their names in lower case.

    Raises:
        Forged: Nobody who has the secret has signed it, or it cannot be read.
    """
    if table.scheme == "signed_request":
        signed = _signed_request(body, secret)
    else:
        if table.signature is None:
            raise AssertionError("unreachable: the definition was validated")
        _verify(table.signature, headers, body, secret)
        signed = body
    document = _document(signed)
    topic = ".".join(part for place in table.topic if (part := _text(place, headers, document)) is not None)
    meaning = table.topics.get(topic, Meaning.VERIFY)
    if meaning is Meaning.CHALLENGE:
        return Message(source, message_id(None, signed), (), answer=_answer(table, document, secret))
    given = None if table.id is None else _raw(table.id, headers, document)
    statement = Statement(
        shown(topic) or str(meaning),
        meaning,
        account_id=_text(table.account, headers, document),
        at=None if table.at is None else instant(_raw(table.at, headers, document)),
    )
    return Message(source, message_id(given, signed), (statement,))


def _verify(how: Signature, headers: Mapping[str, str], body: bytes, secret: SecretStr) -> None:
    written = headers.get(how.header.lower(), "")
    timestamp = b""
    if how.key is None:
        given = [written.removeprefix(how.prefix)] if written.startswith(how.prefix) else []
        if how.timestamp is not None:
            timestamp = headers.get(how.timestamp.lower(), "").encode("latin-1", "replace")
    else:
        parts = [part.strip().partition("=") for part in written.split(",")]
        given = [value for name, _, value in parts if name == how.key]
        stamps = [value for name, _, value in parts if name == how.timestamp]
        timestamp = stamps[0].encode("latin-1", "replace") if stamps else b""
    if len(timestamp) > _LONGEST or (how.timestamp is not None and not timestamp):
        raise Forged("authentication_failed", "the signature's timestamp is missing")
    before, _, after = how.content.partition("{body}")
    content = _filled(before, timestamp) + body + _filled(after, timestamp)
    expected = _mac(secret, content)
    signatures = [_decoded(text, how.encoding) for text in given[:_MOST_SIGNATURES]]
    if not any(found is not None and hmac.compare_digest(found, expected) for found in signatures):
        raise Forged("authentication_failed", "the signature is missing, or not of this message")


def _filled(template: str, timestamp: bytes) -> bytes:
    return template.encode("utf-8").replace(b"{timestamp}", timestamp)


def _mac(secret: SecretStr, content: bytes) -> bytes:
    return hmac.digest(secret.get_secret_value().encode("utf-8"), content, "sha256")


def _decoded(text: str, encoding: str) -> bytes | None:
    if len(text) > _LONGEST:
        return None
    if encoding == "hex":
        return bytes.fromhex(text) if _HEX.fullmatch(text) else None
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


def _signed_request(body: bytes, secret: SecretStr) -> bytes:
    """Return the payload of Meta's form field: signature, dot and payload, the two in base64url."""
    try:
        fields = parse_qs(body.decode("ascii"), max_num_fields=8)
        signature, _, payload = fields["signed_request"][0].partition(".")
        found, content = _unpadded(signature), _unpadded(payload)
    except (UnicodeDecodeError, ValueError, KeyError, binascii.Error):
        raise Forged("invalid_request", "the body is not a signed request") from None
    if not hmac.compare_digest(found, _mac(secret, payload.encode("ascii"))):
        raise Forged("authentication_failed", "the signature is not of this message")
    document = _document(content)
    if str(member(document, "algorithm")).upper() != "HMAC-SHA256":
        raise Forged("authentication_failed", "the payload names another algorithm")
    return content


def _unpadded(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def _document(content: bytes) -> dict[str, Any]:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise Forged("invalid_request", "the body is not a JSON object")
    return document


def _raw(place: Place, headers: Mapping[str, str], document: object) -> object:
    if place.header is not None:
        return headers.get(place.header.lower())
    return member(document, str(place.member))


def _text(place: Place, headers: Mapping[str, str], document: object) -> str | None:
    text = shown(_raw(place, headers, document))
    if text is None or place.pattern is None:
        return text
    found = re.fullmatch(place.pattern, text)
    return None if found is None else found.group(1)


def _answer(table: Webhook, document: object, secret: SecretStr) -> dict[str, str]:
    if table.challenge is None:
        raise AssertionError("unreachable: the definition was validated")
    value = shown(member(document, table.challenge.value))
    if value is None:
        raise Forged("invalid_request", "the challenge is missing")
    return dict(_members(table, value, secret))


def _members(table: Webhook, value: str, secret: SecretStr) -> Iterator[tuple[str, str]]:
    if table.challenge is not None:
        yield table.challenge.echo_as, value
        if table.challenge.signed_as is not None:
            yield table.challenge.signed_as, _mac(secret, value.encode("utf-8")).hex()
