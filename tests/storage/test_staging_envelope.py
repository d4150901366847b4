"""The form of a staged answer: nothing of it is lost, and it opens at its own place alone."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import SecretStr

from domain.errors import KeyMissing, SealBroken
from storage.activity import Note
from storage.keys import KeyRing
from storage.sealing import Sealer
from storage.staging.envelope import Envelope, seal_answer
from storage.tokens.landing import Landing
from tests.storage.making import a_sealer
from tests.storage.staged import ACCESS, FIELDS, OWNER, REFRESH, an_answer, answers

SEALER = a_sealer()
OLD = "old:" + base64.b64encode(b"o" * 32).decode()
NEW = "new:" + base64.b64encode(b"n" * 32).decode()


def sealer_of(*keys: str) -> Sealer:
    return Sealer(KeyRing.parse(SecretStr(",".join(keys))))


def stored() -> dict[str, Any]:
    """What the file of an answer says."""
    shown: dict[str, Any] = json.loads(seal_answer(an_answer(), OWNER, SEALER).encode())
    return shown


@given(answer=answers)
def test_every_field_comes_back(answer: Landing) -> None:
    """What was staged is what lands; the activity line alone says beside it that it had been staged."""
    assert set(FIELDS) == {field.name for field in fields(Landing)}

    envelope = Envelope.decode(seal_answer(answer, OWNER, SEALER).encode())

    told = Note(answer.note.kind, answer.note.code, {**answer.note.detail, "staged": True})
    assert envelope.open(SEALER) == replace(answer, note=told)
    assert (envelope.connection_id, envelope.attempt_id) == (answer.connection_id, answer.attempt_id)
    assert envelope.owner == OWNER


def test_nothing_of_a_token_is_in_the_clear() -> None:
    """Neither the bytes nor the `repr` hold a token, in any of the usual codings."""
    envelope = seal_answer(an_answer(), OWNER, SEALER)

    for secret in (ACCESS, REFRESH):
        for form in (secret, json.dumps(secret), base64.b64encode(secret.encode()).decode(), "very-secret"):
            for content in (envelope.encode(), base64.b64decode(json.loads(envelope.encode())["answer"])):
                assert form.encode() not in content
            assert form not in repr(envelope)


@pytest.mark.parametrize("changed", ["connection_id", "attempt_id"])
def test_it_opens_for_its_own_connection_and_attempt_alone(changed: str) -> None:
    """Whoever can write the spool cannot put one user's token into another's row."""
    envelope = replace(seal_answer(an_answer(), OWNER, SEALER), **{changed: uuid4()})  # type: ignore[arg-type]  # one of two ids

    with pytest.raises(SealBroken, match="does not open"):
        envelope.open(SEALER)


@given(content=st.binary())
@example(b"[" * 100_000)
@example(b"null")
@example(b'{"format": 1}')
def test_foreign_content_is_refused(content: bytes) -> None:
    """Whatever lies there, it is said to be broken, and nothing else goes wrong."""
    with pytest.raises(SealBroken):
        Envelope.decode(content)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


@given(name=st.sampled_from(["format", "connection_id", "attempt_id", "answer"]), value=_json)
@example("connection_id", 5)
@example("answer", "ü")
def test_a_damaged_field_is_refused(name: str, value: object) -> None:
    """A value of any other kind in any field is damage that is named as such."""
    shown = stored() | {name: value}
    if name == "format" and value == 1:
        return
    try:
        envelope = Envelope.decode(json.dumps(shown).encode())
    except SealBroken:
        return
    with pytest.raises(SealBroken):
        envelope.open(SEALER)


@given(data=st.data())
def test_a_truncated_or_flipped_file_never_opens(data: st.DataObject) -> None:
    """Half a file, or one with a changed byte, is refused, or says the same as before."""
    answer = an_answer()
    content = seal_answer(answer, OWNER, SEALER).encode()
    place = data.draw(st.integers(0, len(content) - 1))
    flip = data.draw(st.integers(0, 255))
    damaged = content[:place] + (bytes((content[place] ^ flip,)) + content[place + 1 :] if flip else b"")
    try:
        opened = Envelope.decode(damaged).open(SEALER)
    except (SealBroken, KeyMissing):
        return
    assert opened.credentials == answer.credentials
    assert opened.connection_id == answer.connection_id


@pytest.mark.parametrize(
    "change", [lambda plain: {}, lambda plain: [plain], lambda plain: plain | {"note": 1}]
)
def test_a_sealed_form_of_a_later_version_is_refused(change: Callable[[Any], object]) -> None:
    """Sealed by us and shaped by somebody else: kept, not guessed at."""
    envelope = seal_answer(an_answer(), OWNER, SEALER)
    place = envelope._place
    plain = SEALER.open(envelope.blob, place)
    shaped = type(plain)(json.dumps(change(json.loads(plain.get_secret_value()))))

    with pytest.raises(SealBroken, match="not in a form"):
        replace(envelope, blob=SEALER.seal(shaped, place)).open(SEALER)


def test_a_missing_key_is_named() -> None:
    """Without its key an answer is not broken: the key is missing, and its id is told."""
    envelope = seal_answer(an_answer(), OWNER, SEALER)

    with pytest.raises(KeyMissing, match="k1"):
        envelope.open(a_sealer("k2"))
    assert envelope.key_id == "k1"


def test_resealing_changes_the_key_and_nothing_else() -> None:
    """Under the new key the same answer opens, without the old one."""
    old = seal_answer(an_answer(), OWNER, sealer_of(OLD))
    both = sealer_of(NEW, OLD)

    resealed = old.resealed(both)

    assert (old.key_id, resealed.key_id) == ("old", "new")
    assert resealed.open(sealer_of(NEW)) == old.open(both)
