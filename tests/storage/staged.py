"""Answers for the tests of staging: one with everything in it, and the strategy of all of them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from hypothesis import strategies as st
from pydantic import SecretStr

from domain.schedule import Schedule
from domain.token import Credentials
from storage.activity import Note
from storage.tokens.landing import Landing

ACCESS, REFRESH = "AT-very-secret-ü", "RT-very-secret-ü"
OWNER = "host:1:worker:abcd"
NOON = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)


def an_answer(**changes: Any) -> Landing:
    """An answer whose every field is set, and worth noticing when it is lost."""
    known: dict[str, Any] = {
        "connection_id": uuid4(),
        "grant_id": uuid4(),
        "presented_version": 7,
        "attempt_id": uuid4(),
        "credentials": Credentials(SecretStr(ACCESS), SecretStr(REFRESH)),
        "schedule": Schedule(NOON, NOON, NOON, NOON),
        "keep_refresh": False,
        "scope": ("read", "write"),
        "refresh_expires_at": NOON,
        "note": Note("refreshed", None, {"late_seconds": 1.5}),
    }
    return Landing(**{**known, **changes})


_text = st.text(st.characters(exclude_categories=["Cs"]))
_instant = st.datetimes(timezones=st.just(UTC))
_maybe_instant = st.none() | _instant
#: A field that is added to `Landing` is missing here, and then the strategy says so.
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "connection_id": st.uuids(),
    "grant_id": st.uuids(),
    "presented_version": st.integers(1, 2**62),
    "attempt_id": st.uuids(),
    "credentials": st.builds(
        Credentials, st.builds(SecretStr, _text), st.none() | st.builds(SecretStr, _text)
    ),
    "schedule": st.builds(Schedule, _instant, _maybe_instant, _maybe_instant, _maybe_instant),
    "keep_refresh": st.booleans(),
    "scope": st.none() | st.lists(_text).map(tuple),
    "refresh_expires_at": _maybe_instant,
    "note": st.builds(
        Note,
        _text,
        st.none() | _text,
        st.dictionaries(_text, st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False)),
    ),
}
answers = st.builds(Landing, **FIELDS)
