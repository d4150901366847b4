"""What one provider in trouble costs the others.

    python -m benchmarks.isolation [--rounds 1] [--seconds 25] [--p50 0.2 --p99 1.0]

Four providers on endpoints of their own, all with more due than the workers can do. Rounds in which all are
well take turns with rounds in which one of them hangs for 30 s on every call, crawls (10 s, and then it
answers, so that no breaker opens), or answers 429 to all, with and without a Retry-After. Counted are the
refreshes of the other three, from the activity, and twice a second how many threads the bad one holds.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from statistics import mean, median
from typing import Any, Final

import redis

from benchmarks.conditions import conditions
from benchmarks.load import store
from benchmarks.load.deployment import ROOT, Deployment, await_true, opened, stop
from services.crowding import KEY
from workers.supervision.ports import free_port

RESULT: Final = ROOT / "benchmarks" / "results" / "isolation.json"
OTHERS: Final = ("alpha", "beta", "gamma")
BAD: Final = "delta"
#: How it is bad: the options of its endpoint.
TROUBLES: Final = {
    "hangs": ("--latency-ms", "30000"),
    "crawls": ("--latency-ms", "10000"),
    "limits": ("--answer", "429=1", "--retry-after", "30"),
    "limits_silently": ("--answer", "429=1"),
}
BULK: Final = 2
THREADS: Final = 8
#: Tokens of each provider: more than a round refreshes.
_TOKENS: Final = 6000
#: A round is counted from here on: the queues have filled, and pools have connected.
_WARM_SECONDS: Final = 3.0
_LOOK_SECONDS: Final = 0.5
_REFRESHED: Final = (
    "SELECT provider_id, count(*) FROM activity WHERE kind = 'refreshed'"
    " AND at >= to_timestamp(%s) AND at < to_timestamp(%s) GROUP BY provider_id"
)
_HELD: Final = (
    "SELECT count(*) FROM tokens WHERE provider_id = %s AND lease_until > now() AND presented_at IS NOT NULL"
)
_OPEN: Final = "SELECT count(*) FROM provider_holds WHERE provider_id = %s AND held_until > now()"
#: No provider comes first.
_SPREAD: Final = (
    "UPDATE tokens SET refresh_due_at = refresh_due_at - random() * interval '60 seconds' RETURNING 1"
)
_DUE: Final = "SELECT count(*) FROM tokens WHERE provider_id = ANY(%s) AND refresh_due_at < now()"


class Bench:
    """One deployment whose fourth provider changes."""

    def __init__(self, made: Deployment, latency: tuple[str, ...]) -> None:
        self._made = made
        self._latency = latency
        self._port = free_port()
        self._bad = made.endpoint(*latency, port=self._port)[1]
        urls = {other: made.endpoint(*latency)[0] for other in OTHERS}
        made.define({**urls, BAD: f"http://127.0.0.1:{self._port}"}, lifetime=3600)
        made.migrate()
        self._url = made.servers.postgres.url
        self._redis = redis.Redis.from_url(made.servers.redis.url)
        store.fill(self._url, made.keys, [*OTHERS, BAD], 4 * _TOKENS, lifetime=timedelta(hours=1),
                   due_in=timedelta(minutes=50))  # fmt: skip
        made.worker("control", "control", 4)
        for number in range(BULK):
            made.worker(f"bulk-{number}", "refresh,health", THREADS)
        made.beat()

    def round(self, trouble: str | None, seconds: float) -> dict[str, Any]:
        """Measure for so long, from a calm start; `trouble` None: all are well."""
        self._calm()
        self._become(self._latency if trouble is None else TROUBLES[trouble])
        store.make_due(self._url)
        self._made.servers.query(_SPREAD)
        turned_away = self._turned_away()
        time.sleep(_WARM_SECONDS)
        began = time.time()
        looks = []
        while (now := time.time()) < began + seconds:
            looks.append((now - began, self._count(_HELD, BAD), self._count(_OPEN, BAD)))
            time.sleep(_LOOK_SECONDS)
        ended = time.time()
        if self._count(_DUE, list(OTHERS)) == 0:
            raise SystemExit("the others ran out of work: give the benchmark more tokens")
        opened_at = next((at for at, _, held in looks if held), None)
        return {
            "trouble": trouble,
            "others_per_second": self._rate(began, ended),
            "others_per_second_before_the_breaker": None
            if opened_at is None or opened_at < 2.0
            else self._rate(began, began + opened_at),
            "breaker_open_after_seconds": None if opened_at is None else round(opened_at + _WARM_SECONDS, 1),
            "refreshed": self._refreshed(began, ended),
            "turned_away": self._turned_away() - turned_away,
            "threads_of_the_bad_one": [held for _, held, _ in looks],
            "most_threads_of_the_bad_one": max(held for _, held, _ in looks),
            "mean_threads_of_the_bad_one": round(mean(held for _, held, _ in looks), 2),
        }

    def _rate(self, began: float, ended: float) -> float:
        counted = self._refreshed(began, ended)
        return round(sum(counted.get(other, 0) for other in OTHERS) / (ended - began), 1)

    def _refreshed(self, began: float, ended: float) -> dict[str, int]:
        rows = self._made.servers.query(_REFRESHED, began, ended)
        return {str(name): int(str(count)) for name, count in rows}

    def _turned_away(self) -> int:
        """Return how many messages of the bad one have found no thread so far."""
        return int(self._redis.hget(KEY, f"token:{BAD}") or 0)

    def _become(self, options: tuple[str, ...]) -> None:
        stop(self._bad)
        self._bad = self._made.endpoint(*options, port=self._port)[1]

    def _calm(self) -> None:
        """Bring everything back to where a round begins: nothing due, under way, in doubt or held."""
        query = self._made.servers.query
        query("UPDATE tokens SET refresh_due_at = now() + interval '50 minutes' RETURNING 1")
        # What hangs is cut off with its endpoint.
        self._become(self._latency)
        await_true(
            lambda: sum(self._count(_HELD, each) for each in (*OTHERS, BAD)) == 0,
            60.0,
            "calls were under way for a minute",
        )
        query("DELETE FROM provider_holds RETURNING 1")
        query(
            "UPDATE tokens SET refresh_due_at = now() + interval '50 minutes', presented_at = NULL,"
            " first_presented_at = NULL, status = 'active', not_before = NULL RETURNING 1"
        )
        # Longer than a worker's picture of the breakers is kept.
        time.sleep(1.5)

    def _count(self, statement: str, *values: object) -> int:
        return int(str(self._made.servers.query(statement, *values)[0][0]))


def compared(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what the others kept of their throughput, compared with the rounds before and after."""
    found: dict[str, Any] = {}
    for trouble in dict.fromkeys(one["trouble"] for one in rounds if one["trouble"] is not None):
        ratios, before = [], []
        for place, one in enumerate(rounds):
            if one["trouble"] != trouble:
                continue
            beside = [each for each in rounds[max(0, place - 1) : place + 2] if each["trouble"] is None]
            usual = mean(each["others_per_second"] for each in beside)
            ratios.append(one["others_per_second"] / usual)
            if one["others_per_second_before_the_breaker"] is not None:
                before.append(one["others_per_second_before_the_breaker"] / usual)
        own = [one for one in rounds if one["trouble"] == trouble]
        found[trouble] = {
            "others_ratio": round(median(ratios), 3),
            "others_ratio_before_the_breaker": round(median(before), 3) if before else None,
            "most_threads_of_the_bad_one": max(one["most_threads_of_the_bad_one"] for one in own),
            "mean_threads_of_the_bad_one": round(mean(one["mean_threads_of_the_bad_one"] for one in own), 2),
        }
    return found


def main() -> None:
    """Run, write the result, and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=1, help="of each trouble (1)")
    parser.add_argument("--seconds", type=float, default=25.0, help="of one in trouble; others: half (25)")
    parser.add_argument("--p50", default="0.2", help="seconds that an answer takes (0.2)")
    parser.add_argument("--p99", default="1.0")
    parser.add_argument("--only", default="", help="troubles, comma-separated; the result is not written")
    given = parser.parse_args()
    before = conditions()
    troubles = given.only.split(",") if given.only else list(TROUBLES)
    with tempfile.TemporaryDirectory(prefix="evergrant-isolation-") as folder, opened(Path(folder)) as made:
        bench = Bench(made, _latency(float(given.p50), float(given.p99)))
        order = [each for _ in range(given.rounds) for trouble in troubles for each in (None, trouble)]
        rounds = []
        for trouble in (*order, None):
            # The usual needs no time to show; a call that hangs does, and what it comes to then.
            rounds.append(bench.round(trouble, given.seconds if trouble else given.seconds / 2))
            print({k: v for k, v in rounds[-1].items() if k != "threads_of_the_bad_one"}, file=sys.stderr,
                  flush=True)  # fmt: skip
    result = {
        "command": f"python -m benchmarks.isolation --rounds {given.rounds} --seconds {given.seconds:g}"
        f" --p50 {given.p50} --p99 {given.p99}",
        "conditions": {**before, "load_average_at_the_end": conditions()["load_average"]},
        "endpoint_seconds": {"p50": float(given.p50), "p99": float(given.p99)},
        "processes": {"bulk": BULK, "threads": THREADS},
        "rounds": rounds,
        "others_ratio": min(one["others_ratio"] for one in compared(rounds).values()),
        "troubles": compared(rounds),
    }
    if not given.only:
        RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps({name: value for name, value in result.items() if name != "rounds"}, indent=2))


def _latency(p50: float, p99: float) -> tuple[str, ...]:
    """Return the endpoint's options for a log-normal latency, given in seconds."""
    return ("--p50-ms", f"{p50 * 1000:g}", "--p99-ms", f"{p99 * 1000:g}")


if __name__ == "__main__":
    main()
