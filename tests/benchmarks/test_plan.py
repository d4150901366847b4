"""The schedule of a campaign."""

from __future__ import annotations

from random import Random

import pytest

from benchmarks.chaos import wire_faults
from benchmarks.chaos.competing import Competing
from benchmarks.chaos.plan import FULL, SHORT, Dose, schedule, stretched
from benchmarks.chaos.strikes import Strikes
from simulator.faults import KINDS, FaultQueue


@pytest.mark.parametrize("dose", [FULL, SHORT])
def test_the_seed_repeats_the_schedule(dose: Dose) -> None:
    """The same seed draws the same faults at the same times, another one others."""
    assert schedule(dose, 7) == schedule(dose, 7)
    assert schedule(dose, 7) != schedule(dose, 8)


@pytest.mark.parametrize("dose", [FULL, SHORT])
def test_every_fault_is_made_as_often_as_the_dose_says(dose: Dose) -> None:
    """Counts are kept, times lie within the campaign, and somebody knows how to make each kind."""
    strikes = schedule(dose, 1)
    for kind, count in dose.counts.items():
        made = [strike for strike in strikes if strike.kind == kind]
        assert len(made) == count
        known = kind in wire_faults.KINDS or kind == "disk_full"
        assert known or hasattr(Strikes, kind) or hasattr(Competing, kind), kind
    assert all(0 <= strike.at <= dose.seconds for strike in strikes)
    assert [strike.at for strike in strikes] == sorted(strike.at for strike in strikes)


def test_the_full_campaign_kills_more_than_two_hundred_times() -> None:
    """Servers, workers, beats, and the supervisor with at least five children."""
    counts = FULL.counts
    single = ("kill_worker", "kill_postgres", "kill_redis", "kill_beat", "disk_full")
    assert sum(counts[kind] for kind in single) + 5 * counts["kill_supervisor"] >= 200


def test_minutes_stretch_a_campaign_and_keep_its_pace() -> None:
    """Twice the time has twice the faults."""
    twice = stretched(FULL, 2 * FULL.seconds / 60)
    assert twice.seconds == 2 * FULL.seconds
    assert twice.counts == {kind: 2 * count for kind, count in FULL.counts.items()}


@pytest.mark.parametrize("kind", wire_faults.KINDS)
def test_the_simulator_takes_every_order(kind: str) -> None:
    """Each fault on the wire is one that the simulator knows, with parameters that fit."""
    queue = FaultQueue()
    for order in wire_faults.orders(kind, Random(1), sparing=False):
        assert queue.add(order, {"google", "window", "strict"}).kind in KINDS


def test_a_small_campaign_spares_the_strict_provider() -> None:
    """Of the faults that cost a grant there, one kind alone strikes it."""
    costing = {
        kind
        for kind in wire_faults.COSTLY
        for order in wire_faults.orders(kind, Random(1), sparing=True)
        if order["dialect"] == "strict"
    }
    assert costing == {"drop_after"}


@pytest.mark.parametrize("kind", wire_faults.KINDS)
def test_one_more_stroke_costs_no_grant(kind: str) -> None:
    """Where no request met a fault, one sure stroke waits on, at the provider whose spent tokens serve for a
    while."""
    order = wire_faults.one_stroke(kind, Random(1))

    assert (order["dialect"], order["count"], order["probability"]) == ("window", 1, 1.0)
    assert FaultQueue().add(order, {"window"}).kind in KINDS
