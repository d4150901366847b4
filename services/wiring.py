"""Wiring: completed settings become an engine, a key ring, clients, and the services built on them."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from pydantic import SecretStr

from domain.errors import EvergrantError
from providers.catalogue import load as load_catalogue
from providers.client import ProviderClient
from providers.events.keys import KeySets
from providers.http import Wire
from services.admission import Admission
from services.breakers import Breakers
from services.capacity import CapacityWatch
from services.checks import HealthChecks
from services.connecting.connecting import Connecting, assemble
from services.crowding import Crowding
from services.disconnecting import Disconnection
from services.events import EventDigests, EventReceiver
from services.forecast import Forecast
from services.housekeeping import Housekeeping
from services.imports import Importer
from services.incidents import Incidents
from services.keys.election import KeyElection
from services.providers import ProviderDesk
from services.rates import SharedRates
from services.refresh.callers import Callers
from services.refresh.failing import FailedAttempts
from services.refresh.flights import Flights
from services.refresh.landing import Lander
from services.refresh.leftovers import Leftovers
from services.refresh.presentation import Presentation
from services.refresh.protocol import RefreshProtocol
from services.refresh.recording import Recorder
from services.refresh.recovery import Recovery
from services.refresh.slow_commits import SlowCommits
from services.refresh.staging import Staging
from services.refresh.sweeping import Sweeper
from services.restore import RestoreGuard
from services.restore.after import AfterRestore
from services.restore.marks import OutsideMarks
from services.restore.watch import Watch
from services.revocations import Revocations
from services.rulings import Rulings
from services.scheduling import Scheduler
from services.settings import Settings
from services.slots import Slots
from services.staged import StagedWatch
from storage.alerts import AlertStore
from storage.connecting import ConnectStore
from storage.connections import ConnectionStore
from storage.deployment import DeploymentStore
from storage.disconnecting import DisconnectStore
from storage.elections import Elections
from storage.engine import Engine, make_engine
from storage.event_digests import EventDigestStore
from storage.events import EventStore
from storage.flows import FlowStore
from storage.grant_counts import GrantCounts
from storage.holds import HoldStore
from storage.importing import Importer as BatchWriter
from storage.incidents import IncidentStore
from storage.inspection import database_time
from storage.keys import KeyRing
from storage.leftovers import LeftoverStore
from storage.lives import LifeStore
from storage.load import LoadStore
from storage.migrate import check_schema
from storage.processes import ProcessStore
from storage.refused import RefusedStore
from storage.restoring import RestoringStore
from storage.revocations import RevocationStore
from storage.sealing import Sealer
from storage.sealing_key import SealingKey
from storage.signing import Signer
from storage.staging.shelf import Shelf
from storage.staging.spool import Spool
from storage.tokens.store import TokenStore


@dataclass(frozen=True, slots=True)
class Servers:
    """Where the servers are and what opens the tokens, every value known. `repr` shows no secret."""

    database_url: SecretStr
    redis_url: SecretStr
    keys: SecretStr


@dataclass(frozen=True, slots=True)
class Services:
    """Everything a process may need, wired once.

    Attributes:
        owner: Names this process in leases and in the register.
        ring: The keys that it holds.
        election: Joined once; a process that registers joins again after that, and looks every few seconds.
    """

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
    processes: ProcessStore
    flights: Flights
    slow_commits: SlowCommits
    sweeper: Sweeper
    incidents: Incidents
    rulings: Rulings
    housekeeping: Housekeeping
    capacity: CapacityWatch
    forecast: Forecast
    importer: Importer
    owner: str
    ring: KeyRing
    election: KeyElection
    disconnection: Disconnection
    revocations: Revocations
    leftovers: Leftovers
    guard: RestoreGuard
    watch: Watch
    after_restore: AfterRestore
    outside: OutsideMarks
    crowding: Crowding
    connecting: Connecting
    redis_url: SecretStr
    events: EventReceiver
    event_digests: EventDigests

    def close(self) -> None:
        """Close pools and clients. Called once, after the last task."""
        self.slow_commits.close()
        self.watch.stop()
        self.sweeper.close()
        self.outside.close()
        self.crowding.close()
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
        ConfigurationError: A key, URL, definition or the schema is wrong, or the key is missing that all
            processes seal with; names it and how to mend it.
        ServiceUnavailable: Postgres does not answer.
    """
    ring = KeyRing.parse(servers.keys)
    catalogue = load_catalogue(settings.providers_file)
    # Two spare connections: the breaker's and the scheduler's short reads never wait for a refresh.
    engine = make_engine(servers.database_url, pool_size=threads + 2, application_name=f"evergrant-{role}")
    # Never the same twice: a doubt may outlive the process that presented, and its id must not come again.
    host = socket.gethostname()
    owner = f"{host}:{os.getpid()}:{role}:{secrets.token_hex(4)}"
    sealing = SealingKey(ring.sealing_id)
    election = KeyElection(Elections(engine), ring, sealing, process_id=owner)
    if check:
        try:
            check_schema(engine)
            election.join()
        except EvergrantError:
            engine.dispose()
            raise
    sealer = Sealer(ring, sealing)
    tokens = TokenStore(engine, sealer)
    connections = ConnectionStore(engine)
    alert_store = AlertStore(engine)
    desk = ProviderDesk(catalogue, environment)
    wire_to_providers = Wire(internal_hosts=settings.internal_host_names)
    client = ProviderClient(wire_to_providers)
    holds = HoldStore(engine)
    admission = Admission(Breakers(holds), SharedRates(servers.redis_url), Slots(threads))
    crowding = Crowding(servers.redis_url)
    outside = OutsideMarks(settings.data_dir, servers.redis_url)
    deployment = DeploymentStore(engine)
    guard = RestoreGuard(deployment, outside, owner=owner)
    flights = Flights()
    spool, shelf = Spool(settings.spool_dir), Shelf(servers.redis_url)
    staging = Staging(spool, shelf, sealer, owner=owner, distrusted=lambda: guard.closed)
    incident_store, refused = IncidentStore(engine), RefusedStore(engine)
    incidents = Incidents(incident_store, refused, desk)
    failures = FailedAttempts(admission, Recorder(tokens, admission), incidents)
    leftovers = Leftovers(LeftoverStore(engine, sealer), tokens, desk, guard)
    slow_commits = SlowCommits(staging, flights)
    lander = Lander(leftovers.land, staging, flights, slow_commits)
    event_store, event_digests = (
        EventStore(engine, sealer),
        EventDigests(EventDigestStore(engine, sealer), desk),
    )
    presentation = Presentation(tokens, client, admission, lander, failures, event_digests)
    processes = ProcessStore(engine)
    recovery = Recovery(tokens, processes, staging, leftovers.land, incidents)
    outbox = RevocationStore(engine, sealer)
    revocations = Revocations(outbox, desk, admission, client)
    flows = FlowStore(engine, sealer)
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
            recovery,
            flights,
            owner=owner,
            callers=Callers(threads),
            crowding=crowding,
            guard=guard,
        ),
        checks=HealthChecks(tokens, desk, admission, client, crowding),
        scheduler=Scheduler(tokens, desk, admission, guard, crowding, queue_seconds=settings.queue_seconds),
        processes=processes,
        flights=flights,
        slow_commits=slow_commits,
        sweeper=Sweeper(
            staging, flights, processes, alert_store, leftovers.land, ring, election, role=role, host=host
        ),
        housekeeping=Housekeeping(
            engine,
            alert_store,
            holds,
            outbox,
            desk,
            StagedWatch(processes, alert_store),
            flows,
            event_store,
            event_digests,
        ),
        capacity=CapacityWatch(LoadStore(engine), alert_store, desk, admission, guard),
        forecast=Forecast(
            LifeStore(engine),
            GrantCounts(engine),
            alert_store,
            desk,
            ahead=timedelta(days=settings.forecast_days),
        ),
        incidents=incidents,
        rulings=Rulings(incident_store, refused, holds, incidents, desk),
        importer=Importer(
            BatchWriter(engine, sealer), desk, event_digests, clock=lambda: database_time(engine)
        ),
        owner=owner,
        ring=ring,
        election=election,
        disconnection=Disconnection(tokens, DisconnectStore(engine, sealer), desk, revocations),
        revocations=revocations,
        leftovers=leftovers,
        guard=guard,
        watch=Watch(guard, outside),
        after_restore=AfterRestore(deployment, RestoringStore(engine), outside, desk, spool=spool),
        outside=outside,
        crowding=crowding,
        connecting=assemble(
            desk,
            Signer(ring, sealing, "connect-link"),
            flows,
            ConnectStore(engine, sealer),
            connections,
            tokens,
            client,
            admission,
            alert_store,
            event_digests,
            clock=lambda: database_time(engine),
        ),
        redis_url=servers.redis_url,
        events=EventReceiver(event_store, desk, KeySets(wire_to_providers)),
        event_digests=event_digests,
    )
