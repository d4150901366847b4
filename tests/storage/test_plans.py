"""No statement that runs for every token, or on a beat, reads a large table from end to end.

Whatever Postgres knows of the tables: counted, never counted, or counted when they were empty.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from uuid import UUID, uuid4

import psycopg
import pytest
from sqlalchemy import Engine, text

from domain.events import Effect, Meaning, Statement, credential_hash
from domain.token import ReauthReason, Status
from storage.activity import Note, recent
from storage.alerts import AlertSpec, AlertStore
from storage.engine import make_engine
from storage.event_digests import EventDigestStore
from storage.events import Arrived, EventStore
from storage.grant_counts import GrantCounts
from storage.groups import Group
from storage.holds import HoldStore
from storage.importing import Importer, NewConnection
from storage.incidents import IncidentStore
from storage.inspection import providers_in_use
from storage.lives import LifeStore, Wanted
from storage.processes import ProcessStore
from storage.refused import RefusedStore
from storage.revocations import RevocationStore
from storage.tokens.checks import CheckRecord
from storage.tokens.claims import ClaimCondition
from storage.tokens.due import HeldTenants
from storage.tokens.landing import Superseded
from storage.tokens.store import TokenStore
from tests.storage.making import Bench, a_sealer, due_schedule, landing, now, pair
from tests.storage.plans import Planned, planned
from tests.support.servers import create_database, drop_database
from workers.embedded.postgres import EmbeddedPostgres

MARK = timedelta(seconds=30)
HOUR = timedelta(hours=1)
#: What Postgres knows of the tables when it plans.
KNOWN = ("counted", "never counted", "counted when empty")
_FILL = """
    ALTER TABLE tokens SET (autovacuum_enabled = false);
    ALTER TABLE connections SET (autovacuum_enabled = false);
    ALTER TABLE activity SET (autovacuum_enabled = false);
    {before};
    WITH made AS (
        INSERT INTO connections (id, user_id, provider_id, account_id)
        SELECT gen_random_uuid(), 'u' || n, 'p' || n % 4, 'a' || n FROM generate_series(1, 40000) AS n
        RETURNING id, provider_id)
    INSERT INTO tokens (connection_id, provider_id, tenant, grant_id, key_id, access_token,
                        refresh_due_at, check_due_at)
    SELECT id, provider_id, CASE WHEN provider_id = 'p3' THEN 't' || floor(random() * 1000) END,
           gen_random_uuid(), 'k1', decode(repeat('00', 300), 'hex'),
           now() + (random() - 0.01) * interval '1 hour', now() + (random() - 0.01) * interval '1 day'
      FROM made;
    INSERT INTO activity (at, connection_id, provider_id, kind, attempt_id, version)
    SELECT now() - (400000 - n) * interval '1 second', t.connection_id, t.provider_id, 'refreshed',
           gen_random_uuid(), 2
      FROM (SELECT connection_id, provider_id, row_number() OVER () * 10 AS n FROM tokens) AS t ORDER BY n;
    {after}
"""


@pytest.fixture(scope="module", params=KNOWN)
def crowded_url(
    request: pytest.FixtureRequest, postgres_server: EmbeddedPostgres, migrated_template: str
) -> Iterator[str]:
    """The URL of a database with 40,000 tokens at four providers, a hundredth of them due."""
    name = f"test_{secrets.token_hex(6)}"
    url = create_database(postgres_server.url, name, template=migrated_template)
    analyse = "VACUUM (ANALYZE) tokens, connections, activity"
    with psycopg.connect(url, autocommit=True) as connection:
        before = analyse if request.param == "counted when empty" else "SELECT"
        after = analyse if request.param == "counted" else "SELECT"
        for statement in _FILL.format(before=before, after=after).split(";"):
            connection.execute(statement.encode())
    yield url
    drop_database(postgres_server.url, name)


@pytest.fixture
def crowded(crowded_url: str) -> Iterator[Bench]:
    engine = make_engine(crowded_url, pool_size=2, statement_timeout=timedelta(minutes=2))
    sealer = a_sealer()
    yield Bench(engine, sealer, TokenStore(engine, sealer), Importer(engine, sealer))
    engine.dispose()


def unfit(plans: list[Planned]) -> list[tuple[str, bool, list[str]]]:
    """The statements that would read a large table from end to end."""
    return [
        (plan.statement, plan.generic, plan.scans_of_large_tables)
        for plan in plans
        if plan.scans_of_large_tables
    ]


def a_user() -> str:
    return secrets.token_hex(6)


def an_alert(connection_id: UUID) -> AlertSpec:
    return AlertSpec(
        cause=f"test:{connection_id}",
        kind="failing",
        severity="warning",
        title="t",
        help="h",
        provider_id="acme",
        connection_id=connection_id,
    )


def test_marking(crowded: Bench) -> None:
    """Marks of both kinds, with a tenant held back, and taking them back."""
    rooms = dict.fromkeys(("p0", "p1", "p2", "p3"), 100)
    held: HeldTenants = {("p3", "t1"): 0, ("p3", "t2"): 1}
    with planned(crowded.engine) as plans:
        refreshes = crowded.store.mark_due_refreshes(rooms, total=200, mark=MARK, held=held)
        checks = crowded.store.mark_due_checks(rooms, total=200, mark=MARK, held=held)
        crowded.store.unmark([token.connection_id for token in refreshes])
        crowded.store.unmark([token.connection_id for token in checks], "check")

    assert min(len(refreshes), len(checks)) > 50
    assert len(plans) == 8
    assert unfit(plans) == []


def test_claims_of_every_kind(crowded: Bench) -> None:
    """Taken, given back, lapsed and recovered; read and found."""
    made = [crowded.new(a_user()) for _ in range(5)]
    kinds = (ClaimCondition.scheduled(), ClaimCondition.on_demand(HOUR), ClaimCondition.if_version(1),
             ClaimCondition.force())  # fmt: skip
    with planned(crowded.engine) as plans:
        for connection_id, condition in zip(made, kinds, strict=False):
            claimed = crowded.claimed(connection_id, when=condition)
            assert claimed.state.attempt_id is not None
            assert crowded.store.release(connection_id, claimed.state.attempt_id)
        attempt_id = uuid4()
        crowded.claimed(made[4], attempt_id=attempt_id, lease=timedelta(seconds=-1))
        assert crowded.store.mark_lapsed(made[4], attempt_id=attempt_id, recover_at=now())
        crowded.store.put_off_recovery(made[4], until=now() - HOUR)
        assert crowded.store.claim_recovery(
            made[4], seen=attempt_id, attempt_id=uuid4(), owner="o", lease=MARK
        )
        assert crowded.store.read(made[0]) is not None
        assert crowded.store.find("nobody", "acme") is None

    assert unfit(plans) == []


def test_landings_and_failures(crowded: Bench) -> None:
    """What lands, with and without a scope, resolves an alert, comes too late, fails, or is promoted."""
    plain, scoped, failed = (crowded.new(a_user()) for _ in range(3))
    with planned(crowded.engine) as plans:
        first = landing(crowded.claimed(plain))
        crowded.store.land(first)
        crowded.store.land(landing(crowded.claimed(scoped), scope=("write",)))
        broken = crowded.claimed(failed)
        assert crowded.store.record_failure(
            crowded.failure(
                broken, status=Status.NEEDS_REAUTH, reauth_reason=ReauthReason.GRANT_REJECTED,
                refresh_due_at=None, alert=an_alert(failed), refused=True,
            )
        )  # fmt: skip
        crowded.store.land(landing(broken))
        late = landing(broken, "late", attempt_id=uuid4())
        assert isinstance(crowded.store.land(late), Superseded)
        crowded.store.promote_spare(failed, grant_id=late.grant_id, version=2, attempt_id=uuid4())
        with crowded.engine.connect() as connection:
            assert recent(connection, plain, limit=10)

    assert unfit(plans) == []


def test_checks(crowded: Bench) -> None:
    """Read and recorded, with an alert and without."""
    connection_id = crowded.new(a_user())
    with planned(crowded.engine) as plans:
        begun = crowded.store.begin_check(connection_id)
        assert begun is not None
        for alert in (None, an_alert(connection_id)):
            record = CheckRecord(
                connection_id=connection_id, grant_id=begun[1].grant_id, version=1, verified=alert is None,
                check_failures=0, code=None, check_due_at=now() + HOUR, refresh_now=alert is not None,
                needs_reauth=None, note=Note("checked"), alert=alert,
            )  # fmt: skip
            assert crowded.store.record_check(record)

    assert unfit(plans) == []


def test_the_refused_of_a_wave(crowded: Bench) -> None:
    """Who is newly refused is found by the index of the refused, asked by every refusal and every look."""
    incidents, refused = IncidentStore(crowded.engine), RefusedStore(crowded.engine)
    whole = Group("scope", "p0", whole=("p0",))
    of_tenant = Group("scope|t7", "p3", tenanted=("p3",), tenant="t7")
    window, since = timedelta(minutes=10), now() - timedelta(minutes=10)
    with planned(crowded.engine) as plans:
        for group in (whole, of_tenant):
            incidents.standing(group.scope)
            # Fewer than are worth it: the record of presentations is not asked.
            assert incidents.census(group, window=window, worth=1).presented == 0
            refused.sentenced(group, since=since, limit=500)
            refused.waiting(group, since=since, limit=500)

    assert unfit(plans) == []


def test_what_providers_push(crowded: Bench) -> None:
    """Found by account and by hash, the digests written, looked for in parts, and the old ones forgotten."""
    store = EventStore(crowded.engine, crowded.sealer)
    digests = EventDigestStore(crowded.engine, crowded.sealer)
    made = crowded.new(a_user(), account_id=a_user())
    statements = (
        Statement("revoked", Meaning.REVOKED, account_id="a7", at=now()),
        Statement("revoked", Meaning.REVOKED, credential=credential_hash("RT-1")),
    )
    with planned(crowded.engine) as plans:
        digests.write([made])
        digests.look(["acme"], after=UUID(int=0), limit=100)
        for statement in statements:
            arrived = Arrived("p", a_user(), "p3", ("p3", "acme"), (statement,))
            taken = store.take(arrived, lambda *_: Effect.NEEDS_REAUTH, lambda *_: an_alert(made))
            assert len(taken.effects) == 1
        store.forget(kept=HOUR)
        digests.forget([made])

    assert unfit(plans) == []


def test_what_runs_on_a_beat(crowded: Bench) -> None:
    """Housekeeping, the outbox, the register of processes, and looks at incidents while nothing is wrong."""
    engine = crowded.engine
    incidents = IncidentStore(engine)
    with planned(engine) as plans:
        assert providers_in_use(engine) >= {"p0", "p1", "p2", "p3"}
        AlertStore(engine).list(statuses=("open",), kind="not_configured")
        HoldStore(engine).holds()
        RevocationStore(engine, crowded.sealer).waiting()
        RevocationStore(engine, crowded.sealer).take(lease=MARK)
        ProcessStore(engine).all()
        incidents.recently_refused(["p0", "p1"], window=timedelta(minutes=10))
        incidents.list()

    assert unfit(plans) == []
    assert any("tokens" in plan.large_tables for plan in plans)


def test_the_forecast(crowded: Bench) -> None:
    """What may die, how long it lives, and how many grants an account has: by indexes, whatever it finds."""
    lives, counts = LifeStore(crowded.engine), GrantCounts(crowded.engine)
    wanted = [Wanted("p0", timedelta(days=365)), Wanted("p1"), Wanted("p2", timedelta(days=1)), Wanted("p3")]
    with planned(crowded.engine) as plans:
        found = lives.candidates(wanted, ahead=timedelta(days=7))
        lives.lives(found[:5] or [uuid4()])
        counts.near(["p0", "p1"], near=1, accounts=["a1"])

    assert len(plans) == 6
    assert unfit(plans) == []


@pytest.fixture
def empty(migrated_database_url: str) -> Iterator[Bench]:
    """A store of one session, on tables that were counted when they were empty."""
    engine = make_engine(migrated_database_url, pool_size=1)
    with psycopg.connect(migrated_database_url, autocommit=True) as connection:
        connection.execute("VACUUM (ANALYZE) tokens, connections, activity")
    sealer = a_sealer()
    yield Bench(engine, sealer, TokenStore(engine, sealer), Importer(engine, sealer))
    engine.dispose()


def test_plans_from_before_an_import(empty: Bench, migrated_database_url: str) -> None:
    """What a session prepared while the tables were empty does not read them from end to end when full."""
    other = make_engine(migrated_database_url, pool_size=1)

    def act() -> None:
        empty.claim(uuid4())
        empty.store.mark_due_refreshes({"nobody": 5}, total=5, mark=MARK)
        empty.store.unmark([uuid4()])
        empty.store.read(uuid4())

    def read_from_end_to_end(engine: Engine) -> int:
        # Whoever asks has its own counts told first.
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("SELECT pg_stat_force_next_flush()"))
            rows = "SELECT seq_tup_read FROM pg_stat_user_tables WHERE relname IN ('tokens', 'connections')"
            return sum(connection.execute(text(rows)).scalars())

    # Twice as often as the client takes to prepare a statement, and the server to stop planning it.
    for _ in range(20):
        act()
    line = NewConnection("", "acme", pair("1" * 200), due_schedule(), refreshable=True)
    importer = Importer(other, empty.sealer)
    for batch in range(4):
        importer.import_batch([replace(line, user_id=f"u{batch}-{number}") for number in range(1000)])
    before = read_from_end_to_end(other)
    other.dispose()
    for _ in range(20):
        act()

    assert read_from_end_to_end(empty.engine) - before == 0
