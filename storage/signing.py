"""Texts that leave us and come back: signed, so that what comes back is what we wrote.

HMAC-SHA256 under a key derived from one of the ring's (HKDF, RFC 5869), and named, so that what was signed
before a change of keys is still known after it, for as long as the ring holds the former key.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from domain.errors import KeyMissing
from storage.keys import KeyRing
from storage.sealing_key import SealingKey

#: Longer than anything we sign; what is longer is refused before a byte of it is worked on.
LONGEST: Final = 6000


class Signer:
    """Signs for one purpose: what was signed for another is not known to it. Thread-safe."""

    def __init__(self, ring: KeyRing, sealing: SealingKey, purpose: str) -> None:
        """Take the keys.

        Args:
            sealing: Names the key that signs; every key of the ring is known.
            purpose: Two purposes have keys of their own.
        """
        self._ring = ring
        self._sealing = sealing
        self._info = f"evergrant/sign/1/{purpose}".encode()

    def __repr__(self) -> str:
        return f"Signer({self._info.decode()!r})"

    def sign(self, text: bytes) -> str:
        """Return `key.text.mac`, each part readable in a URL as it is."""
        signed = f"{self._sealing.id}.{_encoded(text)}"
        return f"{signed}.{_encoded(self._mac(self._sealing.id, signed))}"

    def verify(self, token: str) -> bytes | None:
        """Return what was signed; None for what this ring did not sign for this purpose. Constant time."""
        if len(token) > LONGEST or not token.isascii():
            return None
        signed, _, given = token.rpartition(".")
        key_id, _, encoded = signed.partition(".")
        try:
            expected = self._mac(key_id, signed)
        except KeyMissing:
            return None
        # Compared as text: two spellings of the same bytes would be two tokens.
        if not hmac.compare_digest(_encoded(expected), given):
            return None
        try:
            return base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
        except (binascii.Error, ValueError):
            return None

    def _mac(self, key_id: str, signed: str) -> bytes:
        key = HKDF(SHA256(), 32, salt=None, info=self._info).derive(self._ring.key(key_id))
        return hmac.digest(key, signed.encode("ascii"), "sha256")


def _encoded(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode("ascii")
