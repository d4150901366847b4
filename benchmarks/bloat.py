"""Do the tables and indexes keep their size while tokens are refreshed over and over.

    python -m benchmarks.bloat [--tokens 10000] [--cycles 50] [--threads 4]

Each cycle refreshes every token once by the store's own statements: marked as the scheduler marks, claimed
and landed by several threads. A cycle takes seconds instead of an hour, so autovacuum looks every second
instead of every minute; everything else of it is as the schema says. Commits do not wait for the disk, which
has no part in what is measured.
"""

from __future__ import annotations

import argparse
import json
import random
import secrets
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, LiteralString
from uuid import UUID, uuid4

import psycopg
from psycopg import sql
from pydantic import SecretStr

from benchmarks.conditions import conditions
from benchmarks.load import store
from benchmarks.load.deployment import ROOT, Deployment, opened
from domain.schedule import Schedule
from domain.token import Credentials
from services.scheduling import BATCH, MARK
from storage.engine import make_engine
from storage.keys import KeyRing
from storage.schema import SPENT_KEPT
from storage.sealing import Sealer
from storage.tokens.claims import ClaimCondition
from storage.tokens.landing import Landed, Landing
from storage.tokens.store import TokenStore

RESULT: Final = ROOT / "benchmarks" / "results" / "bloat.json"
PROVIDERS: Final = ("p0", "p1", "p2", "p3")
#: Sizes have settled by then; from then on they should stay.
SETTLED: Final = 10
#: What counts as flat.
MOST_GROWTH: Final = 1.05
_HOUR: Final = timedelta(hours=1)
_LEASE: Final = timedelta(seconds=40)
#: Ticks of one cycle. An hour has 3,600.
_PARTS: Final = 100
_SETTINGS: Final = "autovacuum_naptime = 1s\n"
_SIZES: Final = """
    SELECT c.relname, pg_relation_size(c.oid)
      FROM pg_class c
     WHERE c.oid = 'tokens'::regclass OR c.oid = (SELECT reltoastrelid FROM pg_class WHERE relname = 'tokens')
        OR c.oid IN (SELECT indexrelid FROM pg_index WHERE indrelid = 'tokens'::regclass)
"""
_COUNTS: Final = """
    SELECT n_tup_upd, n_tup_hot_upd, n_dead_tup, autovacuum_count
      FROM pg_stat_user_tables WHERE relname = 'tokens'
"""
_ACTIVITY: Final = "SELECT count(*), pg_total_relation_size('activity') FROM activity"
_LOG: Final = "SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn"
_ROW: Final = "SELECT round(avg(pg_column_size(t.*))) FROM tokens t"


def main() -> None:
    """Run, write the result, and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, default=10_000)
    parser.add_argument("--cycles", type=int, default=50)
    parser.add_argument("--threads", type=int, default=4, help="that claim and land (4)")
    given = parser.parse_args()
    before = conditions()
    with tempfile.TemporaryDirectory(prefix="evergrant-bloat-") as name:
        folder = Path(name)
        with opened(folder, postgres_settings=_SETTINGS) as made:
            result = _run(made, given.tokens, given.cycles, given.threads)
    result = {
        "command": f"python -m benchmarks.bloat --tokens {given.tokens} --cycles {given.cycles}"
        f" --threads {given.threads}",
        "conditions": {**before, "load_average_at_the_end": conditions()["load_average"]},
        **result,
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps({name: value for name, value in result.items() if name != "cycles"}, indent=2))


def _run(made: Deployment, tokens: int, cycles: int, threads: int) -> dict[str, Any]:
    made.define(dict.fromkeys(PROVIDERS, "http://127.0.0.1:9"), lifetime=3600)
    made.migrate()
    url = made.servers.postgres.url
    with psycopg.connect(url, autocommit=True) as connection:
        database = sql.Identifier(connection.info.dbname)
        connection.execute(sql.SQL("ALTER DATABASE {} SET synchronous_commit = off").format(database))
    past = timedelta(minutes=-1)
    store.fill(url, made.keys, list(PROVIDERS), tokens, lifetime=_HOUR, due_in=past, spent=SPENT_KEPT)
    engine = make_engine(url, pool_size=threads + 1)
    looked = []
    with psycopg.connect(url, autocommit=True) as look, ThreadPoolExecutor(threads) as pool:
        looked.append(_look(look, 0, 0.0))
        refresher = Refresher(TokenStore(engine, Sealer(KeyRing.parse(SecretStr(made.keys)))), pool)
        for number in range(1, cycles + 1):
            seconds = refresher.cycle(tokens)
            looked.append(_look(look, number, seconds))
            print(looked[-1], file=sys.stderr, flush=True)
        row_bytes = _number(look, _ROW)
        lines = look.execute(_ACTIVITY).fetchone()
    engine.dispose()
    return {
        "tokens": tokens,
        "autovacuum_naptime_seconds": 1,
        "spent_digests_of_a_token": SPENT_KEPT,
        "bytes_of_a_row": row_bytes,
        # Mark, claim, landing and activity; vacuums and whole pages after checkpoints included.
        "log_bytes_of_a_refresh": round(
            (looked[-1]["log_position"] - looked[0]["log_position"]) / (tokens * cycles)
        ),
        "activity_bytes_of_a_line": round(int(str(lines[1])) / int(str(lines[0]))) if lines else None,
        **judged(looked),
        "cycles": looked,
    }


class Refresher:
    """Marks, claims and lands all tokens, one cycle after the other."""

    def __init__(self, tokens: TokenStore, pool: ThreadPoolExecutor) -> None:
        self._tokens = tokens
        self._pool = pool
        self._seconds = 0.0

    def cycle(self, many: int) -> float:
        """Refresh so many; returns how long it took, in seconds.

        Raises:
            SystemExit: Fewer were due.
        """
        began, left = time.monotonic(), many
        # A tick marks a small part of the fleet: of a large part many share a page, without room for all.
        batch = max(1, min(BATCH, many // _PARTS))
        while left:
            rooms = dict.fromkeys(PROVIDERS, batch)
            marked = self._tokens.mark_due_refreshes(rooms, total=min(batch, left), mark=MARK)
            if not marked:
                raise SystemExit(f"{left} tokens of a cycle are not due")
            list(self._pool.map(self._refresh, [token.connection_id for token in marked]))
            left -= len(marked)
        self._seconds = time.monotonic() - began
        return self._seconds

    def _refresh(self, connection_id: UUID) -> None:
        attempt_id = uuid4()
        claimed = self._tokens.claim(
            connection_id, attempt_id=attempt_id, owner="bench", lease=_LEASE, when=ClaimCondition.scheduled()
        )
        if claimed is None:
            raise SystemExit("a marked token could not be claimed")
        # Due at once, behind all that have not had their turn, but for the tenth of a life by which the
        # schedule's own jitter spreads them.
        jitter = random.random() * self._seconds / 10  # noqa: S311 - no secret
        due_at = claimed.now - timedelta(seconds=jitter)
        landed = self._tokens.land(
            Landing(
                connection_id=connection_id,
                grant_id=claimed.state.grant_id,
                presented_version=claimed.state.version,
                attempt_id=attempt_id,
                credentials=Credentials(
                    SecretStr(f"{store.ACCESS}{secrets.token_hex(6)}"),
                    SecretStr(f"{store.REFRESH}{secrets.token_hex(6)}"),
                ),
                schedule=Schedule(claimed.now, claimed.now + _HOUR, due_at, claimed.now + 24 * _HOUR),
            )
        )
        if not isinstance(landed, Landed):
            raise SystemExit(f"an answer did not land: {landed}")


def _look(connection: psycopg.Connection[tuple[object, ...]], cycle: int, seconds: float) -> dict[str, Any]:
    # Counters of other sessions arrive within a second of their last transaction.
    connection.execute("SELECT pg_stat_clear_snapshot()")
    updates, in_place, dead, vacuums = (int(str(v)) for v in connection.execute(_COUNTS).fetchone() or ())
    return {
        "cycle": cycle,
        "seconds": round(seconds, 1),
        "bytes": {str(name): int(str(size)) for name, size in connection.execute(_SIZES)},
        "updates": updates,
        "updates_in_place": in_place,
        "dead": dead,
        "autovacuums": vacuums,
        "log_position": _number(connection, _LOG),
    }


def _number(connection: psycopg.Connection[tuple[object, ...]], query: LiteralString) -> int:
    row = connection.execute(query).fetchone()
    return int(str(row[0])) if row else 0


def judged(looked: list[dict[str, Any]]) -> dict[str, Any]:
    """Compare the sizes at the end with those once they had settled, and tell how many updates were in place.

    Args:
        looked: One look after each cycle, the first one before them all.
    """
    settled, middle, end = looked[min(SETTLED, len(looked) - 1)], looked[len(looked) // 2], looked[-1]
    whole_growth = round(sum(end["bytes"].values()) / sum(settled["bytes"].values()), 3)
    lately = _growth(middle, end)
    updates = end["updates"] - looked[0]["updates"]
    in_place = end["updates_in_place"] - looked[0]["updates_in_place"]
    return {
        "settled_after_cycle": settled["cycle"],
        "growth_since": _growth(settled, end),
        "whole_growth_since": whole_growth,
        "growth_in_the_second_half": lately,
        # Mark and claim are two updates of three; a landing moves the token in the index and is none.
        "share_of_updates_in_place": round(in_place / updates, 4) if updates else None,
        "greatest_share_possible": round(2 / 3, 4),
        "autovacuums": end["autovacuums"],
        # An index of sixty pages grows by a tenth with six. So: all together since they settled, and none of
        # them still growing.
        "kept": whole_growth <= MOST_GROWTH
        and all(ratio is None or ratio <= MOST_GROWTH for ratio in lately.values()),
    }


def _growth(before: dict[str, Any], after: dict[str, Any]) -> dict[str, float | None]:
    """Return the growth of each relation; None of one that was empty."""
    return {
        name: round(size / before["bytes"][name], 3) if before["bytes"][name] else None
        for name, size in after["bytes"].items()
    }


if __name__ == "__main__":
    main()
