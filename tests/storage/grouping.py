"""What tests of groups are made of: callers that end up in one, and a store without any."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import psycopg
import pytest

from benchmarks.statements import Alone
from storage.combining import Combiner
from storage.direct import Direct
from storage.tokens.claims import Claimed
from storage.tokens.landing import Landing, LandResult
from storage.tokens.store import TokenStore
from tests.storage.making import Bench
from tests.support.waiting import eventually

Result = TypeVar("Result")


def alone(bench: Bench) -> TokenStore:
    """The bench's store, without groups."""
    return TokenStore(bench.engine, bench.sealer, Alone(bench.engine))


@contextmanager
def gathered(combiner: Combiner[Any, Any]) -> Iterator[Callable[[Sequence[Callable[[], Result]]], Any]]:
    """Yields what makes calls from threads of their own, which go into one group of the combiner's."""
    before: Any = object()
    combiner._leaders[before] = math.inf

    with ThreadPoolExecutor(16) as pool:

        def together(calls: Sequence[Callable[[], Result]]) -> list[Future[Result]]:
            futures = [pool.submit(call) for call in calls]
            eventually(lambda: len(combiner._waiting) == len(calls), what="all have come")
            combiner._leave(before)
            return futures

        yield together


def claimed_together(bench: Bench, *claims: Callable[[], Claimed | None]) -> list[Claimed | None]:
    """What each of the claims brought, made in one group."""
    with gathered(bench.store._groups._claims) as together:
        return [future.result(60) for future in together(claims)]


def landed_together(bench: Bench, *landings: Landing) -> list[LandResult | BaseException]:
    """What each of the landings came to, made in one group."""
    with gathered(bench.store._groups._landings) as together:
        futures = together([partial(bench.store.land, each) for each in landings])
        return [future.exception(60) or future.result(60) for future in futures]


@contextmanager
def blocked_activity(url: str) -> Iterator[psycopg.Connection]:
    """Nothing can be recorded, so every landing waits inside of Postgres, while the block runs."""
    with psycopg.connect(url) as connection:
        connection.execute("LOCK TABLE activity IN EXCLUSIVE MODE")
        yield connection


def backends(url: str) -> list[int]:
    """Those of ours that wait for a lock."""
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
            " AND application_name = 'test' AND wait_event_type = 'Lock'"
        )
        return [row[0] for row in rows]


@contextmanager
def unconfirmed_commits() -> Iterator[None]:
    """Let the connection die each time when the server has executed, and in autocommit committed."""
    run = Direct.run

    def cut(self: Direct, connection: psycopg.Connection, parameters: dict[str, object]) -> None:
        run(self, connection, parameters)
        connection.close()
        raise psycopg.OperationalError("the connection is lost")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Direct, "run", cut)
        yield
