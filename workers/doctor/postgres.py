"""The doctor's look at Postgres, its schema, and what its rows need."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from domain.errors import ConfigurationError, ServiceUnavailable
from providers.app_credentials import variable_names
from services.restore.marks import OutsideMarks
from services.settings import Settings
from services.wiring import Servers
from storage.engine import Engine, make_engine
from storage.inspection import connections_by_provider, server_version
from storage.keys import KeyRing
from storage.migrate import check_schema
from storage.processes import ProcessStore
from workers.doctor.finding import Finding, fail, ok, warn
from workers.doctor.keys import examine_keys
from workers.doctor.restore import examine_restore
from workers.doctor.staging import examine_processes

LEAST_VERSION: Final = 14


def examine_postgres(
    settings: Settings,
    servers: Servers,
    ring: KeyRing | None,
    *,
    here: frozenset[str],
    at_workers: frozenset[str],
) -> Iterator[Finding]:
    """Look at reachability, version, schema, keys, providers in use, and signs of a restore.

    Args:
        ring: None where the key ring itself is wrong; its own finding says so.
        here: The providers that this environment could call.
        at_workers: The providers that running workers can call; empty where none answers.
    """
    try:
        engine = make_engine(servers.database_url, pool_size=1, application_name="evergrant-doctor")
    except ConfigurationError as error:
        yield fail("postgres", str(error), "mend EVERGRANT_DATABASE_URL")
        return
    try:
        yield from _server(engine)
        check_schema(engine)
        yield ok("schema", "is this version's")
        if ring is not None:
            yield from examine_keys(engine, ring)
        yield from _providers(engine, here, at_workers)
        yield from examine_processes(engine)
        yield from _restore(engine, settings, servers)
    except ServiceUnavailable as error:
        yield fail("postgres", str(error), "start Postgres, or check EVERGRANT_DATABASE_URL")
    except ConfigurationError as error:
        yield fail("schema", str(error), "see there")
    finally:
        engine.dispose()


def _restore(engine: Engine, settings: Settings, servers: Servers) -> Iterator[Finding]:
    try:
        outside = OutsideMarks(settings.data_dir, servers.redis_url)
    except ValueError:
        return  # Redis' own finding says what is wrong with the URL.
    try:
        yield from examine_restore(engine, outside)
    finally:
        outside.close()


def _server(engine: Engine) -> Iterator[Finding]:
    version = server_version(engine)
    if version < LEAST_VERSION:
        yield fail("postgres", f"is version {version}", f"use Postgres {LEAST_VERSION} or newer")
    else:
        yield ok("postgres", f"answers, version {version}")


def _providers(engine: Engine, here: frozenset[str], at_workers: frozenset[str]) -> Iterator[Finding]:
    unheard = not at_workers and _workers_live(engine)
    for provider_id, count in sorted(connections_by_provider(engine).items()):
        # What the workers can do is what counts; without any, this environment stands in for them.
        if provider_id in (at_workers or here):
            whose = "the workers" if at_workers else "this environment"
            yield ok("provider", f"{provider_id}: {count} connections, configured at {whose}")
            continue
        if unheard:
            yield warn(
                "provider", f"{provider_id}: {count} connections; not configured in this environment, and no "
                "worker answered that could have been asked",
                "look again when Redis and the workers answer",
            )  # fmt: skip
            continue
        client_id, _ = variable_names(provider_id)
        yield fail(
            "provider", f"{provider_id}: {count} connections wait, because it is not configured",
            f"set {client_id} and _CLIENT_SECRET, or define it in EVERGRANT_PROVIDERS_FILE",
        )  # fmt: skip


def _workers_live(engine: Engine) -> bool:
    """Say whether workers report to Postgres, whatever Redis lets through to them."""
    return any(process.living for process in ProcessStore(engine).all())
