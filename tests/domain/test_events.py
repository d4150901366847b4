"""What a provider's statement means for a connection."""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.events import (
    CLOCKS_APART,
    LATEST_DELIVERY,
    Effect,
    Held,
    Meaning,
    Statement,
    as_credential_hash,
    credential_hash,
    effect_of,
)
from domain.token import ReauthReason, Status

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
LONG_AGO = NOW - timedelta(days=30)
ENDING = (Meaning.REVOKED, Meaning.DISABLED)
DISABLED = str(ReauthReason.ACCOUNT_DISABLED)
ASKED = (Meaning.VERIFY, Meaning.CHALLENGE)


def said(meaning: Meaning, at: datetime | None = NOW, credential: str | None = None) -> Statement:
    return Statement("kind", meaning, account_id="a", credential=credential, at=at)


def held(
    status: Status = Status.ACTIVE,
    connected_at: datetime = LONG_AGO,
    *,
    reason: str | None = None,
    presenting: bool = False,
    enabled_since: bool = False,
) -> Held:
    return Held(status, reason, connected_at, presenting, enabled_since)


def effect(statement: Statement, of: Held) -> Effect:
    return effect_of(statement, of, received_at=NOW)


@pytest.mark.parametrize("meaning", ENDING)
@pytest.mark.parametrize("status", [Status.ACTIVE, Status.IN_DOUBT])
def test_a_grant_from_before_it_needs_a_person(meaning: Meaning, status: Status) -> None:
    """A living grant that was given long before is the one that is meant."""
    assert effect(said(meaning), held(status)) is Effect.NEEDS_REAUTH


@pytest.mark.parametrize("meaning", ENDING)
@pytest.mark.parametrize(
    ("connected", "expected"),
    [
        (-CLOCKS_APART - timedelta(seconds=1), Effect.NEEDS_REAUTH),
        (-CLOCKS_APART, Effect.NEEDS_REAUTH),
        (-CLOCKS_APART + timedelta(seconds=1), Effect.LOOK),
        (timedelta(0), Effect.LOOK),
        (CLOCKS_APART, Effect.LOOK),
        (CLOCKS_APART + timedelta(seconds=1), Effect.NOTHING),
    ],
)
def test_when_the_grant_was_given_tells_whether_it_is_meant(
    meaning: Meaning, connected: timedelta, expected: Effect
) -> None:
    """Before, about the same time, after: ended, asked about, not concerned."""
    assert effect(said(meaning), held(connected_at=NOW + connected)) is expected


@pytest.mark.parametrize("meaning", ENDING)
def test_without_a_time_a_young_grant_is_asked_about(meaning: Meaning) -> None:
    """A statement that names no time may have been on its way for as long as providers try."""
    statement = said(meaning, at=None)
    young, old = NOW - LATEST_DELIVERY, NOW - LATEST_DELIVERY - timedelta(seconds=1)
    assert effect(statement, held(connected_at=young)) is Effect.LOOK
    assert effect(statement, held(connected_at=old)) is Effect.NEEDS_REAUTH


def test_a_credential_is_meant_whenever_it_was_given() -> None:
    """The very token that was named needs no comparing of times."""
    statement = said(Meaning.REVOKED, at=LONG_AGO, credential="hash")
    assert effect(statement, held(connected_at=NOW)) is Effect.NEEDS_REAUTH


@pytest.mark.parametrize("credential", [None, "hash"])
def test_a_presentation_under_way_is_left_to_its_own_end(credential: str | None) -> None:
    """Nobody writes over a row whose token is being presented; it is looked at after."""
    assert effect(said(Meaning.REVOKED, credential=credential), held(presenting=True)) is Effect.LOOK


def test_a_disabling_from_before_an_enabling_is_asked_about() -> None:
    """… and a revocation is not taken back by it."""
    assert effect(said(Meaning.DISABLED), held(enabled_since=True)) is Effect.LOOK
    assert effect(said(Meaning.REVOKED), held(enabled_since=True)) is Effect.NEEDS_REAUTH


def test_enabling_ends_disabling_and_nothing_else() -> None:
    """Only those that need a person because their account was disabled are tried again."""
    dead = Status.NEEDS_REAUTH
    assert effect(said(Meaning.ENABLED), held(dead, reason=DISABLED)) is Effect.TRY_AGAIN
    for other in (held(dead, reason="grant_rejected"), held(), held(Status.IN_DOUBT)):
        assert effect(said(Meaning.ENABLED), other) is Effect.NOTHING


@given(
    meaning=st.sampled_from(Meaning),
    status=st.sampled_from(Status),
    reason=st.sampled_from([None, "grant_rejected", DISABLED]),
    connected=st.timedeltas(timedelta(days=-4000), timedelta(days=4000)),
    at=st.none() | st.timedeltas(timedelta(days=-4000), timedelta(days=4000)),
    presenting=st.booleans(),
    credential=st.sampled_from([None, "hash"]),
)
def test_what_never_happens(
    meaning: Meaning,
    status: Status,
    reason: str | None,
    connected: timedelta,
    at: timedelta | None,
    presenting: bool,
    credential: str | None,
) -> None:
    """Nothing touches what is disconnected, a question changes nothing, a later grant is not ended."""
    statement = said(meaning, None if at is None else NOW + at, credential)
    found = effect(statement, held(status, NOW + connected, reason=reason, presenting=presenting))

    if status is Status.DISCONNECTED or meaning in ASKED:
        assert found is Effect.NOTHING
    if found is Effect.NEEDS_REAUTH:
        assert meaning in ENDING
        assert not presenting
        assert status in (Status.ACTIVE, Status.IN_DOUBT)
        assert credential is not None or at is None or connected <= at
    if found is Effect.TRY_AGAIN:
        assert (meaning, status, reason) == (Meaning.ENABLED, Status.NEEDS_REAUTH, DISABLED)


def test_a_hash_is_one_in_every_spelling() -> None:
    """Base64 with padding, without, and of URLs name the same token."""
    for token in (f"1//0{n}-token" for n in range(40)):
        inner = hashlib.sha512(token.encode()).digest()
        twice = hashlib.sha512(inner).digest()
        for spell in (base64.b64encode, base64.urlsafe_b64encode):
            written = spell(twice).decode()
            assert as_credential_hash(written) == credential_hash(token)
            assert as_credential_hash(written.rstrip("=")) == credential_hash(token)
