"""What a long run's looks say about growth."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.load.footprint import Footprint, key_forms
from benchmarks.load.growth import Sample, judged, slope

HELD = Footprint(
    rss=100.0, uss=80.0, threads=12, files=10, sockets=20, sessions=9, sessions_uss=30.0, redis_used=4.0,
    redis_keys=8, redis_clients=12, spool=4,
)  # fmt: skip


def run(**grown: float) -> list[Sample]:
    """Look a hundred times at a worker of 1,000 tasks; what is named grows by so much from first to last."""
    return [
        Sample(
            seconds=number,
            done=number * 10,
            beat_age=number % 5,
            held=replace(
                HELD, **{name: getattr(HELD, name) + more * number / 100 for name, more in grown.items()}
            ),
        )
        for number in range(101)
    ]


def verdict(samples: list[Sample], keys: list[dict[str, int]] | None = None) -> dict[str, bool]:
    kept: dict[str, bool] = judged(samples, 1000, keys=keys or [{}] * 9)["kept"]
    return kept


def test_a_worker_that_stays_as_it_is_keeps_everything() -> None:
    """Equal looks all along are no growth."""
    assert all(verdict(run()).values())


@pytest.mark.parametrize(("grown", "kept"), [(7.0, True), (8.0, False)])
def test_memory_may_grow_by_a_twentieth(grown: float, kept: bool) -> None:
    """From the first quarter's end to the middle of the last one: 65 hundredths of what it grows in all."""
    assert verdict(run(rss=grown)) == {
        "resident_memory": kept, "redis_memory": True, "nothing_leaked": True, "event_loop": True
    }  # fmt: skip


def test_a_socket_that_is_never_given_back_is_a_leak() -> None:
    """Ten more over the run are told; as many that come and go are not."""
    assert not verdict(run(sockets=10))["nothing_leaked"]

    waving = [
        replace(one, held=replace(one.held, sockets=20 + 10 * (place % 2))) for place, one in enumerate(run())
    ]
    assert verdict(waving)["nothing_leaked"]


def test_a_key_of_a_new_form_is_a_leak() -> None:
    """A form that has more keys at the end than at the first quarter's."""
    assert verdict(run(), [{"refresh": 1}] * 9)["nothing_leaked"]
    assert not verdict(run(), [{"refresh": 1}] * 8 + [{"refresh": 1, "left:<uuid>": 3}])["nothing_leaked"]


def test_a_loop_that_stops_beating_is_told() -> None:
    """Thirty seconds without a sign of life are too long."""
    stuck = [replace(one, beat_age=31.0) if one.done == 500 else one for one in run()]
    assert not verdict(stuck)["event_loop"]


def test_a_run_that_was_too_short_is_not_judged() -> None:
    """Without a look at both quarters there is nothing to compare."""
    with pytest.raises(SystemExit):
        verdict(run()[:50])


def test_keys_are_counted_by_form() -> None:
    """Ids and numbers are what differs between keys of one form."""
    names = ["refresh", "evergrant:staged:0b51c1ad-1f0c-4d6e-8d4e-5a6a3a3c5f10", "rates/7/60", "rates/8/60"]
    assert key_forms(names) == {"evergrant:staged:<uuid>": 1, "rates/<n>/<n>": 2, "refresh": 1}


def test_the_slope_is_that_of_the_line() -> None:
    """Two more a step is a slope of two; one point has none."""
    assert slope([(0, 1), (1, 3), (2, 5)]) == 2
    assert slope([(0, 1)]) == 0
