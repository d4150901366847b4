"""The doctor's look at the keys: which one seals, who lacks it, and which ones the stored tokens need."""

from __future__ import annotations

from collections.abc import Iterator

from services.keys.rotation import named
from storage.elections import Elections
from storage.engine import Engine
from storage.inspection import key_ids_in_use, openable
from storage.keys import KeyRing, id_of
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
    if agreed.key is None:
        return  # No process has started yet.
    if agreed.key in ring.fingerprints:
        yield ok("sealing key", f"{agreed.key_id} seals")
    else:
        yield fail(
            "sealing key", f"{agreed.key!r} seals, and EVERGRANT_KEYS does not hold it here",
            f"put the key {agreed.key_id!r} into it, as the other processes have it",
        )  # fmt: skip
    if behind := elections.lacking(agreed.key):
        yield fail(
            "sealing key", f"{named(behind)} cannot open what {agreed.key!r} seals",
            f"restart with {agreed.key_id!r} in EVERGRANT_KEYS, as the other processes have it",
        )  # fmt: skip
    first = ring.fingerprints[0]
    if first != agreed.key:
        yield _proposed(elections, first, former=first in agreed.former)


def _proposed(elections: Elections, key: str, *, former: bool) -> Finding:
    found = f"{key!r} is first in EVERGRANT_KEYS and does not seal yet"
    if lacking := elections.lacking(key):
        return warn(
            "proposed key", f"{found}: {named(lacking)} do not hold it",
            f"restart with {id_of(key)!r} in EVERGRANT_KEYS, the same key everywhere",
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
