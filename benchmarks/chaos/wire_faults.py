"""The faults that a provider makes on the wire, as orders to the simulator. Pure."""

from __future__ import annotations

from random import Random
from typing import Final

#: Provider id → the simulator's dialect.
DIALECTS: Final = {"gsc": "google", "window": "window", "strict": "strict"}

#: Longer than a call's deadline (15 s); shorter than deadline and settling time together (45 s).
_BEYOND_THE_DEADLINE: Final = 18

_ORDERS: Final[dict[str, dict[str, object]]] = {
    "hang_after": {"kind": "hang_after", "seconds": _BEYOND_THE_DEADLINE},
    "hang_before": {"kind": "hang_before", "seconds": _BEYOND_THE_DEADLINE},
    "drop_before": {"kind": "drop_before"},
    "drop_after": {"kind": "drop_after"},
    "rate_limited": {"kind": "status", "status": 429, "retry_after": 5},
    "status_500": {"kind": "status", "status": 500},
    "status_503": {"kind": "status", "status": 503},
    "error_in_200": {"kind": "error_in_200"},
    "invalid_json": {"kind": "invalid_json"},
    "truncated_body": {"kind": "truncated_body"},
    "wrong_content_type": {"kind": "wrong_content_type"},
    "slow_drip": {"kind": "slow_drip", "bytes_per_second": 20},
    "redirect": {"kind": "redirect"},
}
#: Those that cost a grant where a rotated token cannot be asked for again: few of them there.
COSTLY: Final = frozenset(
    {"hang_after", "hang_before", "drop_after", "invalid_json", "truncated_body", "slow_drip"}
)
#: Those that stop a whole provider at their first stroke.
HOLDING: Final = frozenset({"rate_limited", "redirect"})

KINDS: Final = tuple(_ORDERS)


def orders(kind: str, dice: Random, *, sparing: bool) -> list[dict[str, object]]:
    """Return what is to be queued at the simulator: a few strokes at each provider, one where it is costly.

    Args:
        sparing: In a small campaign: cost the strict provider's few grants little, or their deaths would be
            a wave.
    """
    made = []
    for provider, dialect in DIALECTS.items():
        if kind in HOLDING and provider != "window":
            # One provider at a time is enough: the others show that they do not suffer with it.
            continue
        if sparing and provider == "strict" and kind in COSTLY and kind != "drop_after":
            continue
        most = 1 if kind in HOLDING or (kind in COSTLY and provider == "strict") else 3
        count = dice.randint(1, most)
        made.append(
            {
                **_ORDERS[kind],
                "dialect": dialect,
                "count": count,
                "probability": round(dice.uniform(0.3, 1.0), 2),
                "seed": dice.getrandbits(31),
            }
        )
    return made


def one_stroke(kind: str, dice: Random) -> dict[str, object]:
    """Return an order that strikes the next request, where it costs no grant, and is a sure one."""
    return {**_ORDERS[kind], "dialect": DIALECTS["window"], "count": 1, "probability": 1.0,
            "seed": dice.getrandbits(31)}  # fmt: skip
