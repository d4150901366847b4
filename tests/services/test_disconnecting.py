"""Disconnecting: revoked at the provider where it can be, erased here, and nothing lands afterwards."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from domain.asks import Outcome
from domain.token import ReauthReason, Status
from services.disconnecting import DisconnectOutcome
from storage.tokens.checks import CheckRecord
from tests.services.ending import (
    TABLES,
    activity,
    assert_erased,
    connect_as,
    dead_reason,
    disconnect,
    outbox,
    reconnect,
    slow_refresh,
    user_of,
)
from tests.services.keyed import wire_without_key
from tests.services.test_late_answers import answer_to
from tests.services.world import FORCED, SCHEDULED, Connected, World, line_of

pytestmark = pytest.mark.servers
REVOKED, ERASED_ONLY = DisconnectOutcome.REVOKED, DisconnectOutcome.ERASED_ONLY


@pytest.mark.parametrize("provider_id", ["strict", "gsc"])
def test_an_idle_connection_is_revoked_and_erased(world: World, provider_id: str) -> None:
    """The provider has ended the grant by our call; here only names and the record are left."""
    connected = world.connect(provider_id)

    result = disconnect(world, connected)

    assert (result.outcome, result.reason, result.revoked) == (REVOKED, None, True)
    assert dead_reason(world, connected) == "revoked_by_client"
    assert_erased(world, connected)
    assert outbox(world) == []
    assert world.kinds(connected) == ["imported", "disconnected", "revoked"]
    assert world.alerts() == []
    refreshed = [world.refresh(connected, ask) for ask in (SCHEDULED, FORCED)]
    assert {(item.outcome, item.code) for item in refreshed} == {(Outcome.NOT_FOUND, "disconnected")}
    assert world.presented(connected) == 0
    assert disconnect(world, connected).outcome is DisconnectOutcome.ALREADY
    assert world.kinds(connected) == ["imported", "disconnected", "revoked"]


def test_a_grant_that_is_dead_already_needs_no_revocation(world: World) -> None:
    """The provider knows no living token: done, and said so; its alert ends with the connection."""
    connected = world.connect("gsc")
    world.sim.revoke([connected.grant.grant_id])
    assert world.refresh(connected).outcome is Outcome.NEEDS_REAUTH
    assert world.alert_kinds() == ["needs_reauth"]

    result = disconnect(world, connected)

    assert (result.outcome, result.reason) == (REVOKED, "not_alive")
    assert_erased(world, connected)
    assert world.alerts() == []
    assert activity(world, connected.id, "revoked")[0]["detail"]["was_alive"] is False


def test_a_presentation_under_way_is_waited_for(world: World) -> None:
    """The rotated token is the one that is revoked."""
    connected = world.connect("strict")
    worker, results = slow_refresh(world, connected, 2)

    result = disconnect(world, connected)
    worker.join(30)

    assert results[0].outcome is Outcome.REFRESHED
    assert (result.outcome, result.unresolved) == (REVOKED, False)
    assert world.kinds(connected) == ["imported", "refreshed", "disconnected", "revoked"]
    assert dead_reason(world, connected) == "revoked_by_client"
    assert_erased(world, connected)
    assert world.sim.incidents() == []


def test_a_provider_without_revocation_is_erased_only(world: World) -> None:
    """Nothing is sent, nothing waits, and the result says why."""
    connected = world.connect("bing")

    result = disconnect(world, connected)

    assert (result.outcome, result.reason, result.revoked) == (ERASED_ONLY, "no_revoke_endpoint", False)
    assert_erased(world, connected)
    assert outbox(world) == []
    assert world.alive(connected)
    assert result.as_json()["outcome"] == "erased_only"


def test_one_of_two_connections_of_an_account_is_erased_only(world: World) -> None:
    """Google would end both: the other one goes on living, and the last one is revoked."""
    services = world.wire_gsc_too()
    first = connect_as(world, "gsc", "ann", "site-1", google_user="g-ann")
    grant = world.sim.mint("google", owner=world.owner, user="g-ann")[0]
    second = reconnect(world, grant, "gsc-too", "bob", "site-1", services=services)

    result = disconnect(world, first, services)

    assert (result.outcome, result.reason) == (ERASED_ONLY, "shared_with_sibling")
    assert result.siblings == (second.id,)
    assert_erased(world, first)
    assert outbox(world) == []
    assert activity(world, first.id, "disconnected")[0]["detail"]["siblings"] == [str(second.id)]
    world.update("refresh_due_at = now()", second)
    assert world.refresh(second, services=services).outcome is Outcome.REFRESHED
    last = disconnect(world, second, services)
    assert (last.outcome, last.siblings) == (REVOKED, ())
    assert dead_reason(world, first) == dead_reason(world, second) == "revoked_by_client"


def test_siblings_that_end_at_the_same_moment_do_not_spare_each_other(world: World) -> None:
    """Of each pair exactly one finds nobody living, and revokes."""
    pairs = [[connect_as(world, "gsc", name, f"site-{n}") for name in ("ann", "bob")] for n in range(8)]
    begin = threading.Barrier(16)

    def end(connected: Connected) -> bool:
        begin.wait()
        return disconnect(world, connected).revoked

    with ThreadPoolExecutor(16) as pool:
        revoked = list(pool.map(end, [connected for pair in pairs for connected in pair]))

    assert [sum(both) for both in zip(revoked[::2], revoked[1::2], strict=True)] == [1] * len(pairs)


@pytest.mark.parametrize(
    ("mine", "other", "shared"),
    [
        (("ann", "x"), ("bob", "x"), True),
        (("ann", ""), ("ann", "x"), True),
        (("ann", "x"), ("ann", ""), True),
        (("ann", "x"), ("ann", "y"), False),
        (("ann", ""), ("bob", ""), False),
        (("ann", "x"), ("bob", "y"), False),
        (("ann", "x"), ("bob", ""), False),
    ],
)
def test_who_counts_as_a_sibling(
    world: World, mine: tuple[str, str], other: tuple[str, str], shared: bool
) -> None:
    """The same account, or the same user with nothing that tells his accounts apart."""
    ending = connect_as(world, "gsc", *mine)
    living = connect_as(world, "gsc", *other)

    result = disconnect(world, ending)

    assert result.siblings == ((living.id,) if shared else ())
    assert result.revoked is not shared


@pytest.mark.parametrize(
    ("status", "living"), [("in_doubt", True), ("needs_reauth", True), ("disconnected", False)]
)
def test_a_sibling_is_one_that_may_live(world: World, status: str, living: bool) -> None:
    """Doubtful and refused ones count: a revocation could still end what they hold."""
    ending, other = (connect_as(world, "gsc", name, "x") for name in ("ann", "bob"))
    world.update(
        f"status = '{status}', first_presented_at = now(), refresh_due_at = NULL, check_due_at = NULL", other
    )

    assert disconnect(world, ending).siblings == ((other.id,) if living else ())


def test_a_doubt_is_revoked_by_everything_that_is_known_of_it(world: World) -> None:
    """The refresh token may be spent: the access token and every spare are sent as well."""
    connected = world.connect("strict")
    world.claim(connected)
    world.pass_time(timedelta(seconds=41), connected)
    assert world.refresh(connected).code == "in_doubt"
    row = world.row(connected)
    other = answer_to(world, connected, "sim-at-other", "sim-rt-other")
    world.update("version = version + 1", connected)
    world.services.tokens.land(other)

    result = disconnect(world, connected)

    assert (result.outcome, result.unresolved) == (REVOKED, True)
    sent = [entry["detail"]["token"] for entry in activity(world, connected.id, "revoked")]
    assert sorted(sent) == ["access_token", "refresh_token", "refresh_token"]
    assert_erased(world, connected)
    # What was presented without an answer may be spent, and is never presented again.
    assert row["refresh_digest"] in world.row(connected)["spent_digests"]
    _, rejected = world.import_lines([line_of(connected.grant, user_of(world, connected), "strict")])
    assert "spent" in rejected[0].reason
    assert world.presented(connected) == 0


def test_tokens_that_cannot_be_opened_are_erased_all_the_same(world: World) -> None:
    """The user wants to be rid of them; that nothing was revoked is said."""
    connected = world.connect("strict")

    result = disconnect(world, connected, wire_without_key(world, "k9"))

    assert (result.outcome, result.reason) == (ERASED_ONLY, "unreadable")
    assert_erased(world, connected)
    assert activity(world, connected.id, "disconnected")[0]["detail"]["unreadable"] is True


def test_a_process_without_our_client_leaves_it_to_those_that_have_it(world: World) -> None:
    """Not configured, or not even defined here: erased at once, revoked by a worker."""
    one, two = world.connect("strict"), world.connect("strict")
    bare = world.wire(environment={"EVERGRANT_STRICT_CLIENT_ID": "", "EVERGRANT_STRICT_CLIENT_SECRET": ""})
    world.update("provider_id = 'unheard-of'", two)
    with_other_name = disconnect(world, two)
    result = disconnect(world, one, bare)

    for answered in (result, with_other_name):
        assert (answered.outcome, answered.reason) == (ERASED_ONLY, "revocation_pending")
    world.rows("UPDATE pending_revocations SET next_at = now() RETURNING id")
    world.services.revocations.drain()
    assert dead_reason(world, one) == "revoked_by_client"
    assert [row["connection_id"] for row in outbox(world)] == [two.id]


def test_a_check_under_way_does_not_bring_it_back(world: World) -> None:
    """Its verdict is about a token that is gone."""
    connected = world.connect("wordpress")
    begun = world.services.tokens.begin_check(connected.id)
    assert begun is not None
    token = begun[1]
    disconnect(world, connected)

    dead = CheckRecord(
        connected.id, token.grant_id, token.version, verified=False, check_failures=2, check_due_at=None,
        needs_reauth=ReauthReason.TOKEN_REVOKED,
    )  # fmt: skip
    assert not world.services.tokens.record_check(dead)
    assert world.check(connected).code == "not_found"
    assert world.row(connected)["status"] == Status.DISCONNECTED


def test_who_connects_anew_meanwhile_keeps_his_new_grant(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disconnect waited for a refresh of the grant before, which is no longer there to be ended."""
    connected = world.connect("strict")
    user = user_of(world, connected)
    worker, _ = slow_refresh(world, connected, 3)
    waits, goes_on = threading.Event(), threading.Event()

    def sleep(_: float) -> None:
        waits.set()
        assert goes_on.wait(30)

    monkeypatch.setattr(world.services.disconnection, "_sleep", sleep)
    with ThreadPoolExecutor() as pool:
        ending = pool.submit(disconnect, world, connected)
        assert waits.wait(30)
        anew = reconnect(world, world.sim.mint("strict")[0], "strict", user)
        goes_on.set()
        result = ending.result()
    worker.join(30)

    assert result.outcome is DisconnectOutcome.RECONNECTED
    assert world.row(anew)["status"] == Status.ACTIVE
    assert world.opens(anew)
    assert world.alive(anew)
    assert "disconnected" not in world.kinds(connected)


def test_an_unknown_connection_is_not_found(world: World) -> None:
    """Nothing is written for it."""
    unknown = Connected(world.connect("bing").id, "bing", world.sim.mint("bing")[0])
    world.rows("DELETE FROM connections WHERE id = %s RETURNING id", unknown.id)
    before = world.dump(*TABLES)

    assert disconnect(world, unknown).outcome is DisconnectOutcome.NOT_FOUND

    assert world.dump(*TABLES) == before
