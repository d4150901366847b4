"""The key ring that seals tokens, as `EVERGRANT_KEYS` spells it."""

from __future__ import annotations

import base64
import binascii
import hmac
import re
import secrets
from dataclasses import dataclass, field
from typing import Final, Self

from pydantic import SecretStr

from domain.errors import ConfigurationError, KeyMissing

VARIABLE: Final = "EVERGRANT_KEYS"
KEY_BYTES: Final = 32
#: Between id and digest of a fingerprint; no id holds it.
_MARK: Final = ":"
_ID = re.compile(r"[A-Za-z0-9_-]{1,32}")
_FORM = "`id:base64-of-32-bytes`, comma-separated, the first one seals"
_MEND = "`openssl rand -base64 32` makes a key"


def _wrong(what: str, mend: str) -> ConfigurationError:
    return ConfigurationError(f"{VARIABLE}: {what}; {mend}")


def _parse_entry(entry: str, place: str) -> tuple[str, bytes]:
    """Return id and key of one entry. Errors name its place and never quote it: it may be a bare key."""
    key_id, colon, encoded = entry.partition(":")
    if not colon:
        raise _wrong(f"{place} has no colon", f"write {_FORM}")
    if _ID.fullmatch(key_id) is None:
        raise _wrong(
            f"the id of {place} is malformed", "use 1 to 32 letters, digits, '-' or '_' before the colon"
        )
    try:
        key = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        # `from None`: the decoder's message may quote a part of what it was given.
        raise _wrong(f"{place} (id {key_id!r}) is not base64 after the colon", _MEND) from None
    if len(key) != KEY_BYTES:
        raise _wrong(f"{place} (id {key_id!r}) holds {len(key)} bytes instead of {KEY_BYTES}", _MEND)
    return key_id, key


@dataclass(frozen=True, slots=True)
class KeyRing:
    """The keys that open, and the one among them that is to seal. `repr` shows ids only.

    Attributes:
        ids: Of all keys, in the order of the setting; the first one is to seal, once everybody holds it.
    """

    ids: tuple[str, ...]
    _keys: dict[str, bytes] = field(repr=False)

    @classmethod
    def parse(cls, text: SecretStr | None) -> Self:
        """Read the ring from the text of `EVERGRANT_KEYS`; None means that the variable is not set.

        Raises:
            ConfigurationError: Naming the variable, the entry's position (from 1) and id, and the mend.
        """
        if text is None:
            raise _wrong("not set", f"set it to {_FORM}; {_MEND}")
        if not text.get_secret_value().strip():
            raise _wrong("empty", f"set it to {_FORM}; {_MEND}")
        keys: dict[str, bytes] = {}
        places: dict[bytes, int] = {}
        for position, raw in enumerate(text.get_secret_value().split(","), start=1):
            place = f"entry {position}"
            if not raw.strip():
                raise _wrong(f"{place} is empty", "remove the stray comma")
            key_id, key = _parse_entry(raw.strip(), place)
            if key_id in keys:
                raise _wrong(f"{place} repeats the id {key_id!r}", "give every key an id of its own")
            if key in places:
                raise _wrong(
                    f"{place} (id {key_id!r}) holds the same key as entry {places[key]}", "remove one of them"
                )
            keys[key_id], places[key] = key, position
        return cls(tuple(keys), keys)

    @property
    def sealing_id(self) -> str:
        """The id of the key that is to seal."""
        return self.ids[0]

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """The keys' names that tell two keys of the same id apart, in the order of `ids`.

        Made of the id and 64 bits of a digest, from which nobody learns anything about a random key.
        """
        return tuple(self.fingerprint(key_id) for key_id in self.ids)

    def fingerprint(self, key_id: str) -> str:
        """Return one key's name among `fingerprints`.

        Raises:
            KeyMissing: The ring does not hold it.
        """
        digest = hmac.digest(self.key(key_id), b"evergrant/fingerprint/1/", "sha256")
        return f"{key_id}{_MARK}{digest[:8].hex()}"

    def key(self, key_id: str) -> bytes:
        """Return the raw key.

        Raises:
            KeyMissing: The ring does not hold it.
        """
        try:
            return self._keys[key_id]
        except KeyError:
            raise KeyMissing(key_id) from None


def id_of(fingerprint: str) -> str:
    """Return the key's id in its fingerprint."""
    return fingerprint.partition(_MARK)[0]


def generate(key_id: str | None = None) -> str:
    """Return a fresh ring of one random key, in the form that `KeyRing.parse` reads.

    Args:
        key_id: None makes one up, so that two rings can be put together: ids in a ring are unique.
    """
    name = key_id or f"k{secrets.token_hex(3)}"
    return f"{name}:{base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode('ascii')}"
