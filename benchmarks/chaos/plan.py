"""What a campaign does and when: drawn from one seed before anything is started. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from random import Random
from typing import Final

PROVIDERS: Final = ("gsc", "window", "strict")

#: A stopped worker is continued when its lease (40 s from the claim) has run out.
STOP_SECONDS: Final = (42.0, 56.0)


@dataclass(frozen=True)
class Dose:
    """How much of everything.

    Attributes:
        connections: So many grants at each provider.
        lifetime: Of access tokens, least and most seconds.
        replay_window: Of the provider with a window, seconds.
        latency_ms: How long a provider takes before it acts, as p50 and p99.
        seconds: How long faults are made.
        quiet_seconds: The most that recovery may take afterwards.
        counts: How often each kind of fault.
        freeze_redis: Seconds.
        postgres_away: Least and most seconds between a kill of Postgres and its next start.
        measured: Refreshes whose windows are measured in a process without faults.
        margin: Faults that cost the provider's health nothing more begin before the last so many seconds.
    """

    name: str
    connections: Mapping[str, int]
    lifetime: tuple[int, int]
    replay_window: int
    latency_ms: tuple[float, float]
    seconds: float
    quiet_seconds: float
    counts: Mapping[str, int]
    freeze_redis: float
    postgres_away: tuple[float, float]
    measured: int
    bulk_workers: int
    threads: int
    margin: float = 5.0


@dataclass(frozen=True)
class Strike:
    """One fault of the schedule.

    Attributes:
        at: Seconds after the first.
        dice: Its own seed: what it draws when it strikes does not depend on the others.
    """

    at: float
    kind: str
    dice: int
    options: Mapping[str, object] = field(default_factory=dict)


FULL: Final = Dose(
    name="full",
    connections={"gsc": 400, "window": 340, "strict": 200},
    lifetime=(60, 120),
    replay_window=240,
    latency_ms=(60, 400),
    seconds=960,
    quiet_seconds=420,
    counts={
        "kill_worker": 112,
        "kill_supervisor": 6,
        "terminate_worker": 8,
        "stop_worker": 8,
        "kill_postgres": 24,
        "kill_postgres_and_worker": 8,
        "cut_sessions": 20,
        "kill_redis": 34,
        "freeze_redis": 2,
        "flush_redis": 6,
        "cut_redis_clients": 8,
        "kill_beat": 24,
        "double_beat": 3,
        "no_beat": 2,
        "disk_full": 4,
        "hang_after": 6,
        "hang_before": 6,
        "drop_before": 8,
        "drop_after": 6,
        "rate_limited": 3,
        "status_500": 6,
        "status_503": 6,
        "error_in_200": 5,
        "invalid_json": 4,
        "truncated_body": 4,
        "wrong_content_type": 4,
        "slow_drip": 4,
        "redirect": 2,
        "revoke": 8,
        "reconnect": 8,
        "import_spent": 6,
        "disconnect": 6,
        "rotate_keys": 1,
        "force": 24,
    },
    freeze_redis=60,
    postgres_away=(1, 30),
    measured=1500,
    bulk_workers=3,
    threads=8,
)

SHORT: Final = Dose(
    name="short",
    connections={"gsc": 100, "window": 90, "strict": 70},
    lifetime=(40, 60),
    replay_window=240,
    latency_ms=(60, 300),
    seconds=50,
    quiet_seconds=110,
    counts={
        "kill_worker": 6,
        "kill_supervisor": 1,
        "terminate_worker": 1,
        "stop_worker": 1,
        "kill_postgres": 1,
        "kill_postgres_and_worker": 1,
        "cut_sessions": 2,
        "kill_redis": 2,
        "freeze_redis": 1,
        "flush_redis": 1,
        "cut_redis_clients": 1,
        "kill_beat": 2,
        "double_beat": 1,
        "disk_full": 1,
        "hang_after": 1,
        "drop_before": 1,
        "drop_after": 1,
        "rate_limited": 1,
        "status_500": 1,
        "status_503": 1,
        "error_in_200": 1,
        "invalid_json": 1,
        "truncated_body": 1,
        "wrong_content_type": 1,
        "slow_drip": 1,
        "revoke": 1,
        "reconnect": 1,
        "import_spent": 1,
        "disconnect": 1,
        "rotate_keys": 1,
        "force": 3,
    },
    freeze_redis=8,
    postgres_away=(1, 6),
    measured=200,
    bulk_workers=2,
    threads=6,
)

#: These begin early, because they last, or because what they do must be found out before the end.
_EARLY: Final = frozenset(
    {"stop_worker", "no_beat", "freeze_redis", "disk_full", "rotate_keys", "hang_after", "hang_before"}
)


def stretched(dose: Dose, minutes: float) -> Dose:
    """Return the dose for so many minutes of faults in all, with as many faults a minute."""
    times = minutes * 60 / dose.seconds
    counts = {kind: max(1, round(count * times)) for kind, count in dose.counts.items()}
    return replace(dose, seconds=minutes * 60, counts=counts)


def schedule(dose: Dose, seed: int) -> list[Strike]:
    """Draw the schedule: every kind spread over the whole time, and so mixed with all the others."""
    dice = Random(seed)  # noqa: S311 - a schedule of faults, no secret
    strikes = []
    for kind, count in dose.counts.items():
        length = dose.seconds * (0.45 if kind in _EARLY and count <= 2 else 1.0) - dose.margin
        for number in range(count):
            at = length * (number + dice.random()) / count
            strikes.append(Strike(round(at, 2), kind, dice.getrandbits(32), _options(kind, dose, dice)))
    return sorted(strikes, key=lambda strike: (strike.at, strike.kind))


def _options(kind: str, dose: Dose, dice: Random) -> dict[str, object]:
    low, high = dose.postgres_away
    match kind:
        case "kill_postgres_and_worker":
            return {"away": round(dice.uniform(3, 8), 1)}
        case "kill_postgres" | "disk_full":
            # Mostly short, sometimes as long as it may be: a whole run of long outages would refresh nothing.
            return {"away": round(low + (high - low) * dice.random() ** 3, 1)}
        case "kill_redis":
            return {"away": round(0.2 + 5 * dice.random() ** 2, 1)}
        case "stop_worker":
            return {"seconds": round(dice.uniform(*STOP_SECONDS), 1)}
        case "freeze_redis":
            return {"seconds": dose.freeze_redis}
        case "no_beat" | "double_beat":
            return {"seconds": round(dice.uniform(15, 30), 1)}
        case _:
            return {}
