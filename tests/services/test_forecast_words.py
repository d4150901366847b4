"""What people read of grants that die: true at any hour, and of lives of any length."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest

from domain.lifetimes import End, EndOf, Life
from domain.token import ConnectionRef
from services import alerts
from storage.lives import Lived
from tests.domain.build import NOW

DAY = timedelta(days=1)


def lived() -> Lived:
    return Lived(ConnectionRef(uuid4(), "ada", "acme", ""), Life(NOW), None)


@pytest.mark.parametrize(
    ("life", "said"),
    [
        (timedelta(seconds=20), "1 minute "),
        (timedelta(minutes=30), "30 minutes "),
        (timedelta(hours=2), "2 hours "),
        (timedelta(days=1), "24 hours "),
        (timedelta(days=1825), "1,825 days "),
    ],
)
def test_a_life_is_told_in_a_unit_that_fits(life: timedelta, said: str) -> None:
    spec = alerts.will_die(lived(), End(NOW + life, EndOf.REFRESH_TOKEN, life), "Acme", now=NOW)

    assert f"refresh tokens live {said}from their issue" in spec.help


def test_an_access_token_that_is_over_is_not_called_one_that_is_tried() -> None:
    """Nothing refreshes it, and nobody can do anything before an instant that is past."""
    spec = alerts.will_die(lived(), End(NOW - DAY, EndOf.NOT_REFRESHABLE, DAY), "Acme", now=NOW)

    assert spec.title.startswith("The Acme access token of user ada ended on ")
    assert "tried as usual" not in spec.help
    assert "before that" not in spec.help
    assert "Ask the user to connect Acme again. Where" in spec.help


def test_many_of_whom_some_are_overdue_have_the_next_day_in_the_title() -> None:
    """A title that says "will" names no day that is past; where all are past it says so."""
    ends = [End(NOW + DAY * days, EndOf.GRANT, 365 * DAY) for days in (-2, -1, 3, 4)]
    dying = [(lived(), end) for end in ends]

    some = alerts.many_will_die(dying, "Acme", now=NOW, exact=True)
    all_over = alerts.many_will_die(dying[:2], "Acme", now=NOW, exact=True)

    assert some.title == f"4 Acme grants will die from {NOW + 3 * DAY:%Y-%m-%d at %H:%M} UTC on"
    assert "2 of them should have ended already" in some.help
    assert all_over.title == f"2 Acme grants should have ended by {NOW - DAY:%Y-%m-%d at %H:%M} UTC"
    assert "before that" not in all_over.help


@pytest.mark.parametrize(
    ("failures", "said"),
    [(0, "nobody refreshes it although it is due"), (3, "refreshing it does not succeed")],
)
def test_a_refresh_that_nobody_tries_is_not_said_to_fail(failures: int, said: str) -> None:
    idle = Lived(ConnectionRef(uuid4(), "ada", "acme", ""), Life(NOW, failures=failures), None)

    spec = alerts.will_die(idle, End(NOW + DAY, EndOf.IDLE, 60 * DAY, renewed=True), "Acme", now=NOW)

    assert f"Acme ends a grant that is not refreshed for 60 days, and {said}. The date moves" in spec.help
