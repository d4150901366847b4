"""Sealing, read as a list of threats."""

from __future__ import annotations

import base64
from collections.abc import Callable
from uuid import uuid4

import pytest
from pydantic import SecretStr

from domain.errors import ConfigurationError, KeyMissing, SealBroken
from storage.keys import KeyRing, generate, id_of
from storage.sealing import DIGEST_BYTES, RowRef, Sealer
from tests.storage.making import a_sealer

SECRET = SecretStr("RT-very-secret-ü")
ROW = RowRef("tokens", "refresh_token", uuid4())
KEY = base64.b64encode(b"k" * 32).decode()
OTHER_KEY = base64.b64encode(b"o" * 32).decode()


def test_what_was_sealed_opens_where_it_belongs() -> None:
    """Sealing and opening at the same place gives the value back."""
    sealer = a_sealer()

    assert sealer.open(sealer.seal(SECRET, ROW), ROW) == SECRET


def test_the_same_value_never_seals_twice_alike() -> None:
    """Every blob has a nonce of its own, so equal tokens cannot be recognised."""
    sealer = a_sealer()

    assert sealer.seal(SECRET, ROW) != sealer.seal(SECRET, ROW)


@pytest.mark.parametrize(
    "moved",
    [
        RowRef("tokens", "refresh_token", uuid4()),
        RowRef("tokens", "access_token", ROW.connection_id),
        RowRef("spare_tokens", "refresh_token", ROW.connection_id),
        RowRef("tokens", "refresh_token", ROW.connection_id, uuid4()),
    ],
    ids=["another row", "another column", "another table", "another part"],
)
def test_a_moved_blob_does_not_open(moved: RowRef) -> None:
    """Whoever can write the database cannot put one user's token into another's row."""
    sealer = a_sealer()

    with pytest.raises(SealBroken, match="does not open"):
        sealer.open(sealer.seal(SECRET, ROW), moved)


def flipped(place: int) -> Callable[[bytes], bytes]:
    return lambda blob: blob[:place] + bytes((blob[place] ^ 1,)) + blob[place + 1 :]


@pytest.mark.parametrize(
    "damage",
    [
        lambda blob: b"",
        lambda blob: blob[:1],
        lambda blob: blob[:10],
        lambda blob: blob[:-1],
        lambda blob: blob + b"\0",
        lambda blob: b"RT-in-the-clear",
        lambda blob: bytes((1, 2, 200, 200)) + b"\0" * 40,
        flipped(0),
        flipped(1),
        flipped(5),
        flipped(20),
        flipped(29),
    ],
)
def test_a_damaged_blob_does_not_open(damage: Callable[[bytes], bytes]) -> None:
    """Truncated, prolonged, flipped or plain bytes are refused, and named by their place only."""
    sealer = a_sealer()

    with pytest.raises(SealBroken) as raised:
        sealer.open(damage(sealer.seal(SECRET, ROW)), ROW)

    assert "very-secret" not in str(raised.value)


def test_a_renamed_key_does_not_open_another_keys_blob() -> None:
    """The key id in the header is authenticated: rewriting it is noticed even if that key exists."""
    sealer = Sealer(KeyRing.parse(SecretStr(f"k1:{KEY},k2:{OTHER_KEY}")))
    blob = sealer.seal(SECRET, ROW)

    with pytest.raises(SealBroken, match="does not open"):
        sealer.open(blob.replace(b"k1", b"k2", 1), ROW)


def test_an_older_key_still_opens_and_a_missing_one_is_named() -> None:
    """The first key seals and all open; without the key that sealed it, its id is in the error."""
    old, new = generate("old"), generate("new")
    blob = Sealer(KeyRing.parse(SecretStr(old))).seal(SECRET, ROW)
    both = Sealer(KeyRing.parse(SecretStr(f"{new},{old}")))

    assert both.open(blob, ROW) == SECRET
    assert both.key_id == "new"
    with pytest.raises(KeyMissing, match=r"'old'.*EVERGRANT_KEYS"):
        Sealer(KeyRing.parse(SecretStr(new))).open(blob, ROW)


def test_nothing_shows_a_key_or_a_value() -> None:
    """Ring and sealer show ids only, also in formatted errors."""
    ring = KeyRing.parse(SecretStr(f"k1:{KEY}"))

    assert repr(ring) == "KeyRing(ids=('k1',))"
    assert KEY not in f"{ring} {Sealer(ring)!r} {vars(Sealer(ring))}"


def test_a_fingerprint_names_a_key_and_not_its_id_alone() -> None:
    """Two keys of one id differ in it, the same key always has the same, and it holds no part of the key."""
    one, again, other = (
        KeyRing.parse(SecretStr(f"k1:{key}")).fingerprints[0] for key in (KEY, KEY, OTHER_KEY)
    )

    assert one == again != other
    assert id_of(one) == id_of(other) == "k1"
    assert (b"k" * 4).hex() not in one


def test_digests_recognise_a_token_of_a_connection_alone() -> None:
    """A digest is the same for token and connection, and tells nothing across connections or keys."""
    one, other = uuid4(), uuid4()
    old, new = generate("old"), generate("new")
    before = Sealer(KeyRing.parse(SecretStr(old)))
    after = Sealer(KeyRing.parse(SecretStr(f"{new},{old}")))

    digest = before.digest(SECRET, one)

    assert len(digest) == DIGEST_BYTES
    assert digest in after.digests(SECRET, one)
    assert digest != after.digest(SECRET, one)
    assert digest not in after.digests(SECRET, other)
    assert digest not in after.digests(SecretStr("another"), one)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (None, "EVERGRANT_KEYS: not set"),
        ("", "EVERGRANT_KEYS: empty"),
        ("  ", "EVERGRANT_KEYS: empty"),
        (f"k1:{KEY},", "entry 2 is empty"),
        (KEY, "entry 1 has no colon"),
        (f"k1:{KEY},{OTHER_KEY}", "entry 2 has no colon"),
        (f":{KEY}", "the id of entry 1 is malformed"),
        (f"k 1:{KEY}", "the id of entry 1 is malformed"),
        (f"{'k' * 33}:{KEY}", "the id of entry 1 is malformed"),
        (f"k1:{KEY},k1:{OTHER_KEY}", "entry 2 repeats the id 'k1'"),
        (f"k1:{KEY},k2:{KEY}", "entry 2 \\(id 'k2'\\) holds the same key as entry 1"),
        ("k1:!!!secret!!!", "entry 1 \\(id 'k1'\\) is not base64"),
        (f"k1:{KEY[:-1]}", "entry 1 \\(id 'k1'\\) is not base64"),
        ("k1:c2hvcnQ=", "entry 1 \\(id 'k1'\\) holds 5 bytes instead of 32"),
        (f"k1:{KEY}ü", "entry 1 \\(id 'k1'\\) is not base64"),
    ],
)
def test_a_malformed_ring_is_named_and_never_quoted(value: str | None, says: str) -> None:
    """The error names variable, position and mend, and holds no part of a key."""
    with pytest.raises(ConfigurationError, match=says) as raised:
        KeyRing.parse(None if value is None else SecretStr(value))

    message = str(raised.value)
    assert message.startswith("EVERGRANT_KEYS: ")
    assert all(secret not in message for secret in (KEY, OTHER_KEY, KEY[:-2], "secret"))
    assert raised.value.__cause__ is None


def test_a_ring_may_have_spaces_and_many_keys() -> None:
    """Entries are trimmed; the first one seals."""
    ring = KeyRing.parse(SecretStr(f" new_2-A:{KEY} , old:{OTHER_KEY}\n"))

    assert (ring.ids, ring.sealing_id) == (("new_2-A", "old"), "new_2-A")
    assert ring.key("old") == b"o" * 32


def test_generated_rings_are_fresh_and_parse() -> None:
    """Every generated ring holds one key, with an id of its own: two rings make one of two keys."""
    first, second = generate(), generate()

    assert len(KeyRing.parse(SecretStr(first)).ids) == 1
    assert len(KeyRing.parse(SecretStr(f"{first},{second}")).ids) == 2
