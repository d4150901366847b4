"""Consents: what is created, what takes an old grant's place, and what becomes of answers to that one."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from pydantic import SecretStr

from domain.token import Credentials, Status
from storage.alerts import SCOPE_SHORTFALL, AlertSpec, AlertStore
from storage.connecting import Connected, ConnectStore, Consent, Unstorable
from storage.flows import FlowStore, NewFlow
from storage.importing import NewConnection
from storage.keys import KeyRing, generate
from storage.resealing import table_resealers
from storage.sealing import Sealer
from storage.tokens.landing import Gone, Superseded
from tests.storage.making import Bench, fresh_schedule, landing, pair
from tests.storage.test_landing import alert_about

NEW = NewConnection("user-1", "acme", pair("new"), fresh_schedule(), refreshable=True, account_id="alice")
CONSENT = Consent(NEW, names=("alice",), nameless=False, needs_refresh_token=True, detail={"asked": ["read"]})


def store(bench: Bench, **changes: object) -> Connected:
    new = replace(NEW, **changes)  # type: ignore[arg-type]  # fields of one dataclass
    consent = replace(CONSENT, new=new, names=(new.account_id,))
    return ConnectStore(bench.engine, bench.sealer).store(consent)


def test_a_first_consent_creates_the_connection(bench: Bench) -> None:
    """Its grant can be presented when it is due."""
    connected = store(bench)

    assert connected.before is None
    assert bench.kinds(connected.connection_id) == ["connected"]
    bench.set(connected.connection_id, "refresh_due_at = now()")
    assert bench.store.open(bench.claimed(connected.connection_id)) == pair("new")


def test_many_first_consents_at_once_make_one_connection(bench: Bench) -> None:
    """Whoever finds it created in between replaces its grant."""
    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(lambda number: store(bench, credentials=pair(str(number))), range(8)))

    assert len({connected.connection_id for connected in done}) == 1
    assert sorted(bench.kinds(done[0].connection_id)) == ["connected"] + ["reconnected"] * 7


def test_an_answer_to_the_old_grant_lands_nowhere(bench: Bench) -> None:
    """A presentation under way when the consent is stored finds another grant; the old token counts as
    spent."""
    connection_id = bench.new(account_id="alice")
    claimed = bench.claimed(connection_id)
    connected = store(bench)

    assert connected == Connected(connection_id, Status.ACTIVE)
    assert bench.store.land(landing(claimed)) == Gone("other_grant")
    spent = bench.column(connection_id, "spent_digests")
    assert bench.sealer.digest(SecretStr("RT-1"), connection_id) in spent
    bench.set(connection_id, "refresh_due_at = now()")
    assert bench.store.open(bench.claimed(connection_id)) == pair("new")


def test_an_answer_to_a_token_that_stayed_the_same_is_kept(bench: Bench) -> None:
    """Some providers hand out the refresh token that a user has already: the grant goes on, and what is on
    its way for it is kept as a spare instead of being lost."""
    connection_id = bench.new(account_id="alice")
    claimed = bench.claimed(connection_id)
    same = Credentials(SecretStr("AT-new"), SecretStr("RT-1"))
    store(bench, credentials=same)

    assert bench.column(connection_id, "grant_id") == claimed.state.grant_id
    assert isinstance(bench.store.land(landing(claimed)), Superseded)
    assert bench.value("SELECT count(*) FROM spare_tokens") == 1
    assert bench.column(connection_id, "spent_digests") == []


def test_a_token_that_was_taken_for_spent_is_alive_again(bench: Bench) -> None:
    """The provider has just handed it out."""
    connection_id = bench.new(account_id="alice")
    bench.claimed(connection_id)
    store(bench)
    spent = bench.sealer.digest(SecretStr("RT-1"), connection_id)
    assert spent in bench.column(connection_id, "spent_digests")
    store(bench, credentials=Credentials(SecretStr("AT-3"), SecretStr("RT-1")))

    assert spent not in bench.column(connection_id, "spent_digests")


def test_a_working_token_does_not_resolve_what_a_person_left_out(bench: Bench) -> None:
    """A refresh that lands resolves its connection's alerts and leaves the one about scopes open; another
    consent resolves that one too."""

    def shortfall(connection_id: UUID) -> AlertSpec:
        return replace(alert_about(connection_id), cause="scopes", kind=SCOPE_SHORTFALL)

    connected = ConnectStore(bench.engine, bench.sealer).store(replace(CONSENT, alerts=(shortfall,)))
    store_alerts = AlertStore(bench.engine)
    store_alerts.open(alert_about(connected.connection_id))
    bench.set(connected.connection_id, "refresh_due_at = now(), alerted = true")
    bench.store.land(landing(bench.claimed(connected.connection_id)))

    assert [alert.kind for alert in store_alerts.list(statuses=("open",))] == [SCOPE_SHORTFALL]
    store(bench)
    assert store_alerts.list(statuses=("open",)) == []


def test_a_consent_that_cannot_be_stored_changes_nothing(bench: Bench) -> None:
    """Postgres has no NUL."""
    with pytest.raises(Unstorable):
        store(bench, metadata={"label": "a\x00b"})
    assert bench.value("SELECT count(*) FROM connections") == 0


def test_callers_who_name_no_account_find_the_only_one(bench: Bench) -> None:
    """The one without a name first; one that has ended only where there is no other; of several none."""

    def found() -> UUID | None:
        return bench.store.find("user-1", "acme")

    assert found() is None
    alice = store(bench).connection_id
    assert found() == alice
    bob = store(bench, account_id="bob").connection_id
    assert found() is None
    assert bench.store.find("user-1", "acme", "bob") == bob
    ended = "status = 'disconnected', refresh_due_at = NULL, check_due_at = NULL"
    bench.set(alice, ended)
    assert found() == bob
    bench.set(bob, ended)
    assert found() is None
    nameless = bench.new()
    assert found() == nameless


def test_a_flow_is_taken_by_one(bench: Bench) -> None:
    """Of many who come with the same state at once, one gets it; its verifier opens for nobody else's row."""
    flows = FlowStore(bench.engine, bench.sealer)
    flow = NewFlow(
        uuid4(), "acme", "user-1", None, ("read",), {}, timedelta(minutes=10), secret=SecretStr("v")
    )
    flows.begin_code(flow, state_hash=b"s" * 32, browser_hash=b"b" * 32)
    with ThreadPoolExecutor(8) as pool:
        taken = [found for found in pool.map(lambda _: flows.take(b"s" * 32), range(8)) if found is not None]

    assert [found.id for found in taken] == [flow.id]
    opened = flows.open(taken[0])
    assert opened is not None
    assert opened.get_secret_value() == "v"
    assert (taken[0].expired, taken[0].scopes) == (False, ("read",))


def test_a_flow_survives_a_change_of_keys(bench: Bench) -> None:
    """What it keeps sealed is sealed anew, so that the former key can be taken out while people are away."""
    both = Sealer(KeyRing.parse(SecretStr(f"{generate('old')},{generate('new')}")))
    flows = FlowStore(bench.engine, both)
    flow = NewFlow(
        uuid4(), "acme", "user-1", None, (), {}, timedelta(minutes=10), secret=SecretStr("verifier")
    )
    flows.begin_code(flow, state_hash=b"s" * 32, browser_hash=b"b" * 32)
    resealers = {resealer.name: resealer for resealer in table_resealers(bench.engine, both)}

    assert resealers["flows"].keys() == {"old": 1}
    assert resealers["flows"].reseal("new", lambda _: None).resealed == 1
    assert resealers["flows"].keys() == {"new": 1}
    taken = flows.take(b"s" * 32)
    assert taken is not None
    opened = flows.open(taken)
    assert opened is not None
    assert opened.get_secret_value() == "verifier"


def test_flows_that_nobody_finished_are_erased(bench: Bench) -> None:
    """An hour after they expired, so that somebody who is late is told so."""
    flows = FlowStore(bench.engine, bench.sealer)
    for number in range(3):
        flow = NewFlow(uuid4(), "acme", "user-1", None, (), {}, timedelta(minutes=10 * number - 65))
        flows.begin_code(flow, state_hash=bytes([number]) * 32, browser_hash=b"b" * 32)

    assert flows.clean() == 1
    late = flows.take(b"\x01" * 32)
    assert late is not None
    assert late.expired
