"""Lifetimes and instants as providers write them: in other units, absolute, by the answer's own clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.token import Answer
from providers.answer_times import instant, left_until, lifetime
from providers.definition import ProviderDefinition
from providers.judgement import judge_token
from providers.vocabulary import LifetimeUnit
from tests.providers.making import acme, answer

DATE = "Tue, 01 Jan 2030 00:00:00 GMT"
NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
#: An hour after midnight, when the answer says that it was written.
ONE = 1893459600


def judged(definition: ProviderDefinition, date: str | None = DATE, /, **said: Any) -> Answer:
    headers = {} if date is None else {"date": date}
    return judge_token(definition, answer(200, {"access_token": "AT", **said}, **headers), now=NOON)


DATED = {
    "answer_names": {"expires_at": ["expires_at", "expiry"], "refresh_expires_at": ["data.refresh_until"]}
}


@pytest.mark.parametrize(
    "written",
    [ONE, str(ONE), float(ONE), ONE * 1000, str(ONE * 1000), "2030-01-01T01:00:00Z", "2030-01-01T01:00:00",
     "2030-01-01T02:00:00+01:00", "2030-01-01 01:00:00.000+00:00", " 2030-01-01T01:00:00Z "],
)  # fmt: skip
def test_an_absolute_end_becomes_a_lifetime_by_the_answers_own_date(written: object) -> None:
    """Seconds, milliseconds or ISO 8601 with an offset or in UTC; our clock, at noon, plays no part."""
    assert judged(acme(**DATED), expiry=written).expires_in == HOUR


def test_without_a_date_the_callers_clock_counts() -> None:
    assert judged(acme(**DATED), None, expires_at="2030-01-01T13:00:00Z").expires_in == HOUR
    undated = judge_token(acme(**DATED), answer(200, {"access_token": "AT", "expires_at": ONE}))
    assert undated.expires_in is None, "no clock, no lifetime"


def test_a_relative_lifetime_needs_no_clock_and_comes_first() -> None:
    assert judged(acme(**DATED), expires_in=60, expires_at=ONE).expires_in == timedelta(minutes=1)
    assert judged(acme(**DATED), data={"refresh_until": ONE}).refresh_expires_in == HOUR


def test_an_absolute_end_that_no_definition_names_is_not_looked_at() -> None:
    assert judged(acme(), expires_at=ONE).expires_in is None


@pytest.mark.parametrize(
    "written",
    [None, "", "soon", True, [], {}, 0, -5, 1, "1e9", 10**400, "9" * 400, 1e308, "2030-13-01T00:00:00Z",
     "2029-01-01T00:00:00Z", "2099-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00",
     "9999-12-31T23:59:59-14:00"],
)  # fmt: skip
def test_an_end_that_makes_no_sense_is_unknown_and_costs_no_token(written: object) -> None:
    found = judged(acme(**DATED), expires_at=written, refresh_token="RT")

    assert found.expires_in is None
    assert found.refresh_token is not None


@pytest.mark.parametrize(
    ("unit", "written", "expected"),
    [
        ("seconds", 3600, HOUR),
        ("milliseconds", 3_600_000, HOUR),
        ("milliseconds", "3600000", HOUR),
        ("minutes", 60, HOUR),
        ("milliseconds", 999, None),
        ("minutes", 10**9, None),
        ("milliseconds", 10**400, None),
    ],
)
def test_a_unit_is_counted_out(unit: str, written: object, expected: timedelta | None) -> None:
    found = judged(acme(lifetime_unit=unit), expires_in=written, refresh_expires_in=written)

    assert (found.expires_in, found.refresh_expires_in) == (expected, expected)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


@settings(deadline=None)
@given(
    value=JSON | st.datetimes().map(str) | st.integers(-(10**20), 10**20), unit=st.sampled_from(LifetimeUnit)
)
def test_nothing_that_is_written_breaks_the_reading(value: object, unit: LifetimeUnit) -> None:
    """Whatever a provider writes is a plausible time or none."""
    found = lifetime(value, unit)
    assert found is None or timedelta(seconds=1) <= found <= timedelta(days=3660)
    moment = instant(value)
    assert moment is None or moment.tzinfo is UTC
    left = left_until(value, {"date": DATE}, None)
    assert left is None or timedelta(seconds=1) <= left <= timedelta(days=3660)
