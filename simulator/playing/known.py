"""The made-up values of one exchange: who the client is, what it presents, what it gets."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field
from typing import Final, Self

_REFERENCE: Final = re.compile(r"\{([a-z_]+)\}")


@dataclass(frozen=True, slots=True)
class Known:
    """Made-up values, none of which opens anything; tokens begin with ``sim-`` as all of the simulator's do.

    Attributes:
        access_token: What the client holds and presents.
        new_access_token: What answers hand out; so a client that goes on with the old one is seen.
    """

    client_id: str
    client_secret: str = field(repr=False)
    redirect_uri: str
    code: str = field(repr=False)
    code_verifier: str = field(repr=False)
    device_code: str = field(repr=False)
    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    new_access_token: str = field(repr=False)
    new_refresh_token: str = field(repr=False)

    @classmethod
    def made_up(cls) -> Self:
        """Draw values anew: letters and digits in turn, so that no provider's word is a piece of one."""

        def draw(prefix: str) -> str:
            return prefix + "".join(
                secrets.choice("jkqvwxz") + secrets.choice("0123456789") for _ in range(12)
            )

        return cls(
            client_id=draw("sim-id-"),
            client_secret=draw("sim-cs-"),
            redirect_uri="https://evergrant.example/oauth/callback",
            code=draw("sim-code-"),
            # RFC 7636 §4.1: 43 characters at least.
            code_verifier=draw("sim-verifier-0000000000"),
            device_code=draw("sim-device-"),
            access_token=draw("sim-at-"),
            refresh_token=draw("sim-rt-"),
            new_access_token=draw("sim-at-"),
            new_refresh_token=draw("sim-rt-"),
        )

    def fill(self, text: str) -> str:
        """Return a request's text with its references filled in."""
        return _REFERENCE.sub(lambda match: str(getattr(self, match.group(1))), text)

    def presented(self, name: str) -> str | None:
        """Return what a parameter of a standard's name must carry; None: that is not known."""
        return str(getattr(self, name)) if name in _PRESENTED else None


#: RFC 6749 §4.1.3, §6 and §2.3.1, RFC 7636 §4.5, RFC 8628 §3.4.
_PRESENTED: Final = frozenset(
    {"client_id", "client_secret", "redirect_uri", "code", "code_verifier", "device_code", "refresh_token"}
)
