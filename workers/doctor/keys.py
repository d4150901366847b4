"""The doctor's look at the keys: which one seals, who lacks it, and which ones the stored tokens need."""

from __future__ import annotations

from collections.abc import Iterator

from services.keys.rotation import named
from storage.elections import Elections
from storage.engine import Engine
from storage.inspection import key_ids_in_use, openable
from storage.keys import KeyRing
from storage.sealing import Sealer
from workers.doctor.finding import Finding, fail, ok, warn


def examine_keys(engine: Engine, ring: KeyRing) -> Iterator[Finding]:
    """Compare the ring with what the processes agreed on, and with what is stored.

    Raises:
        ServiceUnavailable: Postgres does not answer.
    """
    yield from _agreed(Elections(engine), ring)
    yield from _needed(engine, ring)


def _agreed(elections: Elections, ring: KeyRing) -> Iterator[Finding]:
    agreed = elections.read()
    if agreed.key_id is None:
        return  # No process has started yet.
    if agreed.key_id in ring.ids:
        yield ok("sealing key", f"{agreed.key_id} seals")
    else:
        yield fail(
            "sealing key", f"{agreed.key_id!r} seals, and EVERGRANT_KEYS does not hold it here",
            f"add the key {agreed.key_id!r}, as the other processes have it",
        )  # fmt: skip
    if behind := elections.lacking(agreed.key_id):
        yield fail(
            "sealing key", f"{named(behind)} cannot open what {agreed.key_id!r} seals",
            f"restart with {agreed.key_id!r} in EVERGRANT_KEYS",
        )  # fmt: skip
    if ring.sealing_id != agreed.key_id:
        yield _proposed(elections, ring.sealing_id, former=ring.sealing_id in agreed.former)


def _proposed(elections: Elections, key_id: str, *, former: bool) -> Finding:
    found = f"{key_id!r} is first in EVERGRANT_KEYS and does not seal yet"
    if lacking := elections.lacking(key_id):
        return warn(
            "proposed key", f"{found}: {named(lacking)} do not hold it",
            f"restart with {key_id!r} in EVERGRANT_KEYS",
        )  # fmt: skip
    if former:
        return warn(
            "proposed key", f"{found}: it was replaced once",
            "put the key that seals first, or let this one seal again by `evergrant keys rotate`",
        )  # fmt: skip
    return warn(
        "proposed key", f"{found}: nobody has elected it",
        "a worker that has it first does so within seconds; so does `evergrant keys rotate`",
    )  # fmt: skip


def _needed(engine: Engine, ring: KeyRing) -> Iterator[Finding]:
    for key_id, count in sorted(key_ids_in_use(engine).items()):
        if key_id in ring.ids and not openable(engine, Sealer(ring), key_id):
            yield fail(
                "key", f"{count} tokens are sealed with another key of the id {key_id!r}",
                f"put the key back that was {key_id!r} when they were sealed",
            )  # fmt: skip
        elif key_id in ring.ids:
            yield ok("key", f"{key_id} opens {count} tokens")
        else:
            yield fail(
                "key", f"{count} tokens are sealed with {key_id!r}, which is not in EVERGRANT_KEYS",
                f"put the key {key_id!r} back",
            )  # fmt: skip
