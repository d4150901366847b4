"""Tokens that say whose they are: which grant, which generation, until when, signed by a key of the process.

A simulator of many grants would have to remember every spent refresh token for ever to recognise its reuse.
Instead each token is its facts plus a keyed hash over them, so that nothing needs remembering and
nobody without the key can make one up. The key is random per journal (or per process, without a journal).
"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass
from hashlib import blake2s

# Google's real refresh tokens begin with "1//": slashes tell a client that forgets to encode its form.
_LEADS = {"google": "1//"}


@dataclass(frozen=True, slots=True)
class RefreshTokenFacts:
    """What a genuine refresh token says: whose it is and the how-manieth of its grant, counted from 0."""

    dialect: str
    number: int
    generation: int


@dataclass(frozen=True, slots=True)
class AccessTokenFacts:
    """What a genuine access token says. `expires_ms` is Unix time in milliseconds; 0 means never."""

    dialect: str
    number: int
    generation: int
    serial: int
    expires_ms: int


def new_key() -> str:
    """Return a fresh key for `TokenSmith`, as hexadecimal digits."""
    return secrets.token_hex(32)


class TokenSmith:
    """Makes and reads the simulator's tokens and the ids derived from grants."""

    def __init__(self, key: str) -> None:
        self._key = bytes.fromhex(key)

    def refresh_token(self, dialect: str, number: int, generation: int) -> str:
        """Return the refresh token of that generation; the same arguments give the same token."""
        return self._signed(f"sim-rt-{dialect}-{_LEADS.get(dialect, '')}{number}.{generation}")

    def access_token(self, facts: AccessTokenFacts) -> str:
        """Return the access token that says `facts`."""
        return self._signed(
            f"sim-at-{facts.dialect}-{facts.number}.{facts.generation}.{facts.serial}.{facts.expires_ms}"
        )

    def instance_id(self, dialect: str, number: int) -> str:
        """Return the grant's instance id in the shape of a UUID, as Wix gives to each installed app."""
        head = f"{number:08x}"
        tail = self._mac(f"instance-{dialect}-{head}")
        return f"{head}-{tail[:4]}-4{tail[4:7]}-8{tail[7:10]}-{tail[10:22]}"

    def read_instance_id(self, dialect: str, instance_id: str) -> int | None:
        """Return the number of the grant with that instance id, or None if the id is not ours."""
        try:
            number = int(instance_id[:8], 16)
        except ValueError:
            return None
        return number if hmac.compare_digest(self.instance_id(dialect, number), _ascii(instance_id)) else None

    def read_refresh_token(self, token: str) -> RefreshTokenFacts | None:
        """Return what the token says, or None if it is not a refresh token made with this key."""
        parts = self._verified(token, "sim-rt-")
        if parts is None:
            return None
        dialect, numbers = parts
        number, generation = numbers
        return RefreshTokenFacts(dialect, number, generation)

    def read_access_token(self, token: str) -> AccessTokenFacts | None:
        """Return what the token says, or None if it is not an access token made with this key."""
        parts = self._verified(token, "sim-at-")
        if parts is None:
            return None
        dialect, numbers = parts
        number, generation, serial, expires_ms = numbers
        return AccessTokenFacts(dialect, number, generation, serial, expires_ms)

    def _signed(self, head: str) -> str:
        return f"{head}.{self._mac(head)}"

    def _mac(self, text: str) -> str:
        return blake2s(text.encode(), key=self._key, digest_size=16).hexdigest()

    def _verified(self, token: str, prefix: str) -> tuple[str, list[int]] | None:
        """Return dialect and numbers of a token whose hash is right; only we can have made such a one."""
        head, _, mac = token.rpartition(".")
        if not head.startswith(prefix) or not hmac.compare_digest(self._mac(head), _ascii(mac)):
            return None
        dialect, _, body = head.removeprefix(prefix).rpartition("-")
        return dialect, [int(part) for part in body.rpartition("/")[2].split(".")]


def _ascii(text: str) -> str:
    """Return `text` if it is ASCII, else nothing: `compare_digest` refuses other strings."""
    return text if text.isascii() else ""
