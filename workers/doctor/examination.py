"""The whole examination, in the order in which one thing needs the other."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping

from domain.errors import ConfigurationError, EvergrantError
from providers.catalogue import load as load_catalogue
from services import settings as service_settings
from services.providers import ProviderDesk
from services.settings import Settings
from services.wiring import Servers
from storage.keys import KeyRing
from workers.celery_app import make_app
from workers.deployment import flower_basic_auth, resolve
from workers.doctor.finding import Finding, Severity, fail, ok, warn
from workers.doctor.postgres import examine_postgres
from workers.doctor.processes import callable_by_workers, examine_beat, examine_workers
from workers.doctor.redis import examine_redis
from workers.doctor.staging import examine_staging

__all__ = ["Finding", "Severity", "examine"]


def examine(environment: Mapping[str, str]) -> Iterator[Finding]:
    """Look at every setting, server, key, schema version, provider and process."""
    try:
        settings = service_settings.load()
    except ConfigurationError as error:
        yield fail("settings", str(error), "mend the variables that are named")
        return
    yield ok("settings", "are well-formed")
    here = yield from _callable_here(settings, environment)
    try:
        servers = resolve(settings)
    except EvergrantError as error:
        if here is not None:
            yield _providers(here, frozenset())
        yield fail("deployment", str(error), "see there")
        return
    ring = yield from _ring(servers)
    yield from _flower(settings)
    app = make_app(settings, servers)
    redis = list(examine_redis(servers.redis_url))
    # Workers answer through Redis; without it, asking them would only be waiting.
    broker_answers = all(finding.severity is not Severity.FAIL for finding in redis)
    at_workers = callable_by_workers(app) if broker_answers else frozenset()
    if here is not None:
        yield _providers(here, at_workers)
    yield from examine_postgres(settings, servers, ring, here=here or frozenset(), at_workers=at_workers)
    yield from redis
    yield from examine_staging(settings, servers)
    if broker_answers:
        yield from examine_workers(app)
    yield from examine_beat(settings)


def _callable_here(
    settings: Settings, environment: Mapping[str, str]
) -> Generator[Finding, None, frozenset[str] | None]:
    """Yield what is wrong; return the providers that can be called from here, or None if that is unknown."""
    try:
        desk = ProviderDesk(load_catalogue(settings.providers_file), environment)
    except ConfigurationError as error:
        yield fail("providers", str(error), "mend the definition or variable that is named")
        return None
    return frozenset(ready.definition.id for ready in desk.callable_providers())


def _providers(here: frozenset[str], at_workers: frozenset[str]) -> Finding:
    """Return who can call which. Only the workers have to: `evergrant up` gives them what this lacks."""
    if here:
        return ok("providers", f"configured in this environment: {', '.join(sorted(here))}")
    if at_workers:
        return ok("providers", f"configured at the workers, not here: {', '.join(sorted(at_workers))}")
    return warn(
        "providers", "none is configured in this environment",
        "set EVERGRANT_<PROVIDER>_CLIENT_ID and _CLIENT_SECRET; `evergrant providers list` shows the ids",
    )  # fmt: skip


def _ring(servers: Servers) -> Generator[Finding, None, KeyRing | None]:
    """Yield what is found; return the key ring, or None where it is wrong."""
    try:
        ring = KeyRing.parse(servers.keys)
    except ConfigurationError as error:
        yield fail("keys", str(error), "mend EVERGRANT_KEYS")
        return None
    yield ok("keys", f"{', '.join(ring.ids)} open")
    return ring


def _flower(settings: Settings) -> Iterator[Finding]:
    try:
        flower_basic_auth(settings)
    except ConfigurationError as error:
        yield warn("flower", str(error), "needed where Flower runs")
    else:
        yield ok("flower", "is served with authentication")
