"""Wiring: completed settings become an engine, a key ring, clients, and the services built on them."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import SecretStr

from providers.catalogue import load as load_catalogue
from providers.client import ProviderClient
from providers.http import Wire
from services.admission import Admission
from services.checks import HealthChecks
from services.housekeeping import Housekeeping
from services.imports import Importer
from services.providers import ProviderDesk
from services.rates import SharedRates
from services.refresh.callers import Callers
from services.refresh.failing import FailedAttempts
from services.refresh.landing import Lander
from services.refresh.presentation import Presentation
from services.refresh.protocol import RefreshProtocol
from services.refresh.recording import Recorder
from services.refresh.recovery import Recovery
from services.restore import RestoreGuard
from services.restore.after import AfterRestore
from services.restore.marks import OutsideMarks
from services.restore.watch import Watch
from services.scheduling import Scheduler
from services.settings import Settings
from storage.alerts import AlertStore
from storage.connections import ConnectionStore
from storage.deployment import DeploymentStore
from storage.engine import Engine, make_engine
from storage.holds import HoldStore
from storage.importing import Importer as BatchWriter
from storage.inspection import database_time
from storage.keys import KeyRing
from storage.migrate import check_schema
from storage.restoring import RestoringStore
from storage.sealing import Sealer
from storage.tokens.store import TokenStore


@dataclass(frozen=True, slots=True)
class Servers:
    """Where the servers are and what opens the tokens, every value known. `repr` shows no secret."""

    database_url: SecretStr
    redis_url: SecretStr
    keys: SecretStr


@dataclass(frozen=True, slots=True)
class Services:
    """Everything a process may need, wired once."""

    settings: Settings
    engine: Engine
    wire: Wire
    desk: ProviderDesk
    tokens: TokenStore
    connections: ConnectionStore
    alerts: AlertStore
    refresh: RefreshProtocol
    checks: HealthChecks
    scheduler: Scheduler
    housekeeping: Housekeeping
    importer: Importer
    guard: RestoreGuard
    watch: Watch
    after_restore: AfterRestore
    outside: OutsideMarks

    def close(self) -> None:
        """Close pools and clients. Called once, after the last task."""
        self.watch.stop()
        self.outside.close()
        self.wire.close()
        self.engine.dispose()


def wire(
    settings: Settings,
    servers: Servers,
    environment: Mapping[str, str],
    *,
    role: str,
    threads: int,
    check: bool = True,
) -> Services:
    """Build the services of one process.

    Args:
        environment: Where the providers' client ids and secrets are.
        role: Names the process in Postgres' and our own lists.
        threads: How many calls it makes at once; the pools are sized by it.
        check: Refuse a database whose schema is not this code's.

    Raises:
        ConfigurationError: A key, URL, definition or the schema is wrong; names it and how to mend it.
        ServiceUnavailable: Postgres does not answer.
    """
    ring = KeyRing.parse(servers.keys)
    catalogue = load_catalogue(settings.providers_file)
    # Two spare connections: the breaker's and the scheduler's short reads never wait for a refresh.
    engine = make_engine(servers.database_url, pool_size=threads + 2, application_name=f"evergrant-{role}")
    if check:
        check_schema(engine)
    sealer = Sealer(ring)
    tokens = TokenStore(engine, sealer)
    connections = ConnectionStore(engine)
    alert_store = AlertStore(engine)
    desk = ProviderDesk(catalogue, environment)
    wire_to_providers = Wire()
    client = ProviderClient(wire_to_providers)
    holds = HoldStore(engine)
    admission = Admission(holds, SharedRates(servers.redis_url), threads=threads)
    # Never the same twice: a doubt may outlive the process that presented, and its id must not come again.
    owner = f"{socket.gethostname()}:{os.getpid()}:{role}:{secrets.token_hex(4)}"
    failures = FailedAttempts(admission, Recorder(tokens, admission))
    outside = OutsideMarks(settings.data_dir, servers.redis_url)
    deployment = DeploymentStore(engine)
    guard = RestoreGuard(deployment, outside, owner=owner)
    presentation = Presentation(tokens, client, admission, Lander(tokens), failures)
    return Services(
        settings=settings,
        engine=engine,
        wire=wire_to_providers,
        desk=desk,
        tokens=tokens,
        connections=connections,
        alerts=alert_store,
        refresh=RefreshProtocol(
            tokens,
            desk,
            admission,
            presentation,
            Recovery(tokens),
            owner=owner,
            callers=Callers(threads),
            guard=guard,
        ),
        checks=HealthChecks(tokens, desk, admission, client),
        scheduler=Scheduler(tokens, desk, admission, guard, queue_seconds=settings.queue_seconds),
        housekeeping=Housekeeping(engine, alert_store, holds, desk),
        importer=Importer(BatchWriter(engine, sealer), desk, clock=lambda: database_time(engine)),
        guard=guard,
        watch=Watch(guard, outside),
        after_restore=AfterRestore(
            deployment, RestoringStore(engine), outside, desk, spool=settings.spool_dir
        ),
        outside=outside,
    )
