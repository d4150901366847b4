"""What a judge may ask for afterwards: every presentation and every grant, in one answer each."""

from __future__ import annotations

import secrets

import httpx2

from simulator.process import SimulatorProcess
from tests.simulator.speaking import provider


def test_every_presentation_is_told_with_its_grant_and_fault(simulator: SimulatorProcess) -> None:
    """A bulk answer names grant, generation and result of each presentation, and what the wire did to it."""
    owner = secrets.token_hex(4)
    with provider(simulator, "strict") as speaker:
        calm, struck = speaker.mint(owner=owner), speaker.mint(owner=owner)
        speaker.mint(owner="somebody else")
        simulator.client.fault("invalid_json", grant_id=struck.grant_id)
        successor = speaker.refresh(calm).json()["refresh_token"]
        speaker.refresh(calm, successor)
        speaker.refresh(struck)

    told = simulator.client.presentations(owner=owner)

    assert [
        (row["grant_id"], row["generation"], row["result"], row["answered"], row["fault"]) for row in told
    ] == [
        (calm.grant_id, 0, "refreshed", True, None),
        (calm.grant_id, 1, "refreshed", True, None),
        (struck.grant_id, 0, "refreshed", True, "invalid_json"),
    ]
    assert all(row["started_at"] <= row["ended_at"] and not row["concurrent"] for row in told)


def test_a_call_that_was_cut_is_told_as_unanswered(simulator: SimulatorProcess) -> None:
    """The provider acted and nobody heard: refreshed, not answered, with the fault that cut it."""
    owner = secrets.token_hex(4)
    with provider(simulator, "window") as speaker:
        grant = speaker.mint(owner=owner)
        simulator.client.fault("drop_after", grant_id=grant.grant_id)
        try:
            speaker.refresh(grant)
        except httpx2.TransportError as error:
            cut = error
    told = simulator.client.presentations(owner=owner)

    assert isinstance(cut, httpx2.TransportError)
    assert [(row["result"], row["answered"], row["fault"]) for row in told] == [
        ("refreshed", False, "drop_after")
    ]


def test_more_rows_than_one_piece_arrive_whole(simulator: SimulatorProcess) -> None:
    """A stream of several pieces holds each grant once."""
    owner = secrets.token_hex(4)
    grants = simulator.client.mint("google", 1201, owner=owner)
    simulator.client.revoke([grants[7].grant_id])

    lives = simulator.client.lives(owner=owner)

    assert [row["grant_id"] for row in lives] == [grant.grant_id for grant in grants]
    assert [row["dead_reason"] for row in lives if not row["alive"]] == ["revoked"]
    assert "history" not in lives[0]
    assert simulator.client.presentations(owner=owner) == []


def test_a_fault_can_be_taken_back_by_its_id(simulator: SimulatorProcess) -> None:
    """The named faults are dropped, the others wait on, and one that has struck is not counted."""
    client = simulator.client
    first, second, third = (client.fault("drop_before", dialect="strict")["fault_id"] for _ in range(3))

    assert client.clear_faults(second, third, 999_999) == 2
    assert [fault["fault_id"] for fault in client.faults()] == [first]
    assert client.clear_faults(second) == 0
    assert client.clear_faults() == 1
