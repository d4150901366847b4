"""Made-up ID tokens (OpenID Connect Core §2), as answers of transcripts ask for them."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from typing import Final

_PLACEHOLDER: Final = "{id_token:"


def id_token(claims: object) -> str:
    """Return a JSON Web Token of these claims whose signature is made up."""
    parts = ({"alg": "RS256", "kid": "simulated", "typ": "JWT"}, claims)
    return ".".join([*(_encoded(json.dumps(part).encode()) for part in parts), _encoded(b"simulated")])


def with_id_tokens(body: str, usual: Mapping[str, object]) -> str:
    """Return a body in which each ``{id_token:{"sub":"1"}}`` is a token of these claims.

    Args:
        usual: Claims that every one has, unless the body gives them otherwise (§2: ``aud``).

    Raises:
        ValueError: What stands behind ``{id_token:`` is no JSON object with a ``}`` behind it.
    """
    while (start := body.find(_PLACEHOLDER)) >= 0:
        begin = start + len(_PLACEHOLDER)
        try:
            claims, end = json.JSONDecoder().raw_decode(body, begin)
        except ValueError:
            raise ValueError('{id_token:{…}} must hold the claims as JSON, such as {"sub": "1"}') from None
        if not isinstance(claims, dict) or body[end : end + 1] != "}":
            raise ValueError("{id_token:{…}} must hold one JSON object, and end with two closing braces")
        body = f"{body[:start]}{id_token({**usual, **claims})}{body[end + 1 :]}"
    return body


def _encoded(part: bytes) -> str:
    return urlsafe_b64encode(part).rstrip(b"=").decode()
