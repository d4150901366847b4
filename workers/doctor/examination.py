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
    here = yield from _providers(settings, environment)
    try:
        servers = resolve(settings)
    except EvergrantError as error:
        yield fail("deployment", str(error), "see there")
        return
    ring = yield from _ring(servers)
    yield from _flower(settings)
    app = make_app(settings, servers)
    redis = list(examine_redis(servers.redis_url))
    # Workers answer through Redis; without it, asking them would only be waiting.
    broker_answers = all(finding.severity is not Severity.FAIL for finding in redis)
    at_workers = callable_by_workers(app) if broker_answers else frozenset()
    yield from examine_postgres(settings, servers, ring, here=here, at_workers=at_workers)
    yield from redis
    yield from examine_staging(settings, servers)
    if broker_answers:
        yield from examine_workers(app)
    yield from examine_beat(settings)


def _providers(
    settings: Settings, environment: Mapping[str, str]
) -> Generator[Finding, None, frozenset[str]]:
    """Yield what is found; return the providers that can be called."""
    try:
        desk = ProviderDesk(load_catalogue(settings.providers_file), environment)
    except ConfigurationError as error:
        yield fail("providers", str(error), "mend the definition or variable that is named")
        return frozenset()
    ids = frozenset(ready.definition.id for ready in desk.callable_providers())
    if ids:
        yield ok("providers", f"configured in this environment: {', '.join(sorted(ids))}")
    else:
        yield warn(
            "providers", "none is configured in this environment",
            "set EVERGRANT_<PROVIDER>_CLIENT_ID and _CLIENT_SECRET; `evergrant providers list` shows the ids",
        )  # fmt: skip
    return ids


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
