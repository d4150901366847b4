"""What a worker says before it presents: enough to judge it afterwards, and nothing secret."""

from __future__ import annotations

from structlog.testing import capture_logs

from tests.services.world import LEASE, World


def test_a_presentation_is_announced_with_its_attempt_and_its_lease(world: World) -> None:
    """One event before the send: whose token, by which attempt, and how long the lease still runs."""
    connected = world.connect("strict")

    with capture_logs() as said:
        world.refresh(connected)

    (announced,) = [event for event in said if event["event"] == "presenting"]
    assert said.index(announced) < [event["event"] for event in said].index("token_refreshed")
    assert announced["connection_id"] == str(connected.id)
    assert announced["attempt_id"] == str(world.row(connected)["committed_attempt_id"])
    # Counted from before the claim, so never more than the lease.
    assert LEASE.total_seconds() * 1000 - 5_000 < announced["lease_left_ms"] <= LEASE.total_seconds() * 1000
    assert announced["log_level"] == "debug"
    assert "sim-" not in str(announced)


def test_nothing_is_announced_of_a_token_that_needs_nothing(world: World) -> None:
    """A fresh token is not presented, and nobody says that it is."""
    connected = world.connect("strict")
    world.refresh(connected)

    with capture_logs() as said:
        world.refresh(connected)

    assert [event for event in said if event["event"] == "presenting"] == []
