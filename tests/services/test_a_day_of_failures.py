"""A connection that fails all day is presented as its backoff says, whoever asks and however often."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from typing import Final

import pytest

from domain.backoff import backoff
from tests.services.world import DEMANDED, FORCED, HOUR, SCHEDULED, Connected, World

DAY: Final = timedelta(days=1)
STEP: Final = timedelta(minutes=6)


def shortest_waits(lifetime: timedelta) -> int:
    """How many presentations fit into a day if the dice are as unlucky as they may be."""
    presentations, passed = 1, timedelta()
    while (passed := passed + backoff(presentations, lifetime=lifetime, jitter=0.0)) < DAY:
        presentations += 1
    return presentations


def asked_all_day(world: World, connected: Connected) -> list[timedelta]:
    """Ask every few minutes in every way; give the times of day at which it was presented."""
    presented: list[timedelta] = []
    now, known = timedelta(), 0
    while now < DAY:
        # The breaker must not be what saves the provider: the connection's own backoff must.
        world.pass_hold()
        for ask in (SCHEDULED, FORCED, DEMANDED):
            world.refresh(connected, ask)
        world.check(connected)
        world.refresh(connected, FORCED)
        presented += [now] * (world.presented(connected) - known)
        known = len(presented)
        world.pass_time(STEP, connected)
        now += STEP
    return presented


@pytest.mark.parametrize(
    "failure",
    [
        {"kind": "status", "status": 400, "error": "invalid_request"},
        {"kind": "status", "status": 503},
        {"kind": "drop_before"},
    ],
    ids=["invalid_request", "unavailable", "cut"],
)
def test_presentations_never_exceed_what_the_backoff_says(world: World, failure: dict[str, object]) -> None:
    """Asked for 960 times in a day, it is presented some dozens of times, each after its wait."""
    connected = world.connect("gsc", lifetime=HOUR.total_seconds())
    order = {"grant_id": connected.grant.grant_id, "count": None}
    world.sim.fault(
        str(failure["kind"]), **{name: failure[name] for name in failure if name != "kind"}, **order
    )
    # A check that is refused brings a refresh forward; it must not bring it before its backoff.
    world.sim.fault("status", endpoint="check", status=401, **order)

    presented = asked_all_day(world, connected)

    assert 20 < len(presented) <= shortest_waits(HOUR)
    for failures, (earlier, later) in enumerate(pairwise(presented), start=1):
        # Time moves in steps here: what is due within a step is presented at its beginning or its end.
        least = backoff(failures, lifetime=HOUR, jitter=0.0)
        assert later - earlier >= least - STEP, f"after failure {failures}"
    assert world.row(connected)["status"] in ("active", "in_doubt")
