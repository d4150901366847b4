"""Who calls: for now whoever has the admin key. Compared in constant time, by digest."""

from __future__ import annotations

import hashlib
import hmac
from typing import Annotated

from fastapi import Depends, Request
from pydantic import SecretStr

from api.problems import Problem


class Keys:
    """The API keys of a deployment. `repr` shows none."""

    def __init__(self, admin: SecretStr | None) -> None:
        """Take the keys.

        Args:
            admin: May do everything; None: nobody may.
        """
        self._admin = None if admin is None else _digest(admin.get_secret_value())

    def known(self, key: str) -> bool:
        """Say whether this is a key of ours."""
        # Digests are of one length, so that nothing can be learned from how long comparing takes.
        return self._admin is not None and hmac.compare_digest(_digest(key), self._admin)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


async def with_key(request: Request) -> None:
    """Let a request pass that carries a key (RFC 6750 §2.1).

    Raises:
        Problem: 401, with a challenge.
    """
    keys: Keys = request.app.state.keys
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not keys.known(key.strip()):
        raise Problem(
            401,
            "key_required",
            "Send an API key: 'Authorization: Bearer <key>'.",
            headers={"WWW-Authenticate": 'Bearer realm="evergrant"'},
        )


#: What every route needs that is not made for browsers.
WithKey = Annotated[None, Depends(with_key)]
