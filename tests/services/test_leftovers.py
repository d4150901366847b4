"""Answers that come after a disconnect or a reconnect: never stored, and revoked where that harms nobody."""

from __future__ import annotations

from datetime import timedelta

import pytest
from pydantic import SecretStr

from domain.asks import Outcome
from domain.errors import ServiceUnavailable
from domain.token import Credentials, Status
from services.disconnecting import DisconnectOutcome
from storage.leftovers import LeftoverStore
from storage.tokens.landing import Gone, Landing
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
from tests.services.test_late_answers import answer_to
from tests.services.world import Connected, World, line_of

pytestmark = pytest.mark.servers
MINUTE = timedelta(minutes=1)


def assert_nothing_of_it_is_readable(world: World) -> None:
    text = world.dump(*TABLES)
    for piece in ("sim-at-", "sim-rt-"):
        assert piece not in text
        assert piece.encode().hex() not in text


@pytest.fixture
def impatient(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disconnect whose patience is over before a provider has answered."""
    passed = [0.0]
    monkeypatch.setattr(world.services.disconnection, "_clock", lambda: passed[0])
    monkeypatch.setattr(
        world.services.disconnection, "_sleep", lambda _: passed.__setitem__(0, passed[0] + 1)
    )  # fmt: skip


def test_an_answer_after_the_disconnect_is_revoked_and_never_stored(world: World) -> None:
    """The worker was frozen past its lease; what it brings ends at the provider, by its own token."""
    connected = world.connect("strict")
    worker, results = slow_refresh(world, connected, 3)
    world.pass_time(timedelta(seconds=41), connected)
    # What is known at the time of the disconnect does not help: as at a provider that forgets spent tokens.
    world.sim.fault("drop_before", endpoint="revoke", dialect="strict", count=2)
    result = disconnect(world, connected)
    assert (result.outcome, result.unresolved) == (DisconnectOutcome.ERASED_ONLY, True)
    world.rows("DELETE FROM pending_revocations RETURNING id")
    worker.join(30)

    assert (results[0].outcome, results[0].code) == (Outcome.NOT_FOUND, "disconnected")
    assert_erased(world, connected)
    assert world.alive(connected)
    (row,) = outbox(world)
    assert (row["why"], row["token_kind"], row["attempts"]) == ("late_answer", "refresh_token", 0)
    assert_nothing_of_it_is_readable(world)
    assert world.services.revocations.drain() == 1
    assert dead_reason(world, connected) == "revoked_by_client"
    assert outbox(world) == []
    assert world.kinds(connected) == ["imported", "disconnected", "answer_dropped", "revoked"]
    assert_nothing_of_it_is_readable(world)


@pytest.mark.usefixtures("impatient")
def test_a_presentation_that_takes_too_long_does_not_hold_the_disconnect_up(world: World) -> None:
    """The row is marked under a live lease, and the answer finds it so."""
    connected = world.connect("strict")
    worker, results = slow_refresh(world, connected, 3)

    result = disconnect(world, connected)

    assert worker.is_alive()
    assert (result.outcome, result.unresolved) == (DisconnectOutcome.REVOKED, True)
    assert_erased(world, connected)
    worker.join(30)
    assert results[0].outcome is Outcome.NOT_FOUND
    assert [row["why"] for row in outbox(world)] == ["late_answer"]
    world.services.revocations.drain()
    assert outbox(world) == []
    assert_erased(world, connected)


@pytest.mark.usefixtures("impatient")
def test_a_late_answer_without_a_refresh_token_brings_its_access_token(world: World) -> None:
    """The refresh token stayed and was revoked with the disconnect; the provider says that all is dead."""
    world.sim.configure("google", send_refresh_token=False)
    connected = world.connect("gsc")
    worker, _ = slow_refresh(world, connected, 3)
    disconnect(world, connected)
    worker.join(30)

    (row,) = outbox(world)
    assert row["token_kind"] == "access_token"
    world.services.revocations.drain()
    assert [line["detail"]["was_alive"] for line in activity(world, connected.id, "revoked")][-1] is False


@pytest.mark.usefixtures("impatient")
def test_a_late_answer_at_a_provider_without_revocation_is_dropped(world: World) -> None:
    """Nothing is kept of it, and the record says why."""
    connected = world.connect("bing")
    worker, _ = slow_refresh(world, connected, 2)
    disconnect(world, connected)
    worker.join(30)

    assert outbox(world) == []
    assert_erased(world, connected)
    assert activity(world, connected.id, "answer_dropped")[0]["code"] == "no_revoke_endpoint"


def test_an_answer_of_the_grant_before_a_reconnect_is_dropped(world: World) -> None:
    """Revoking it would end the new grant with it: both stay alive at Google, and the record says why."""
    connected = connect_as(world, "gsc", "ann", google_user="g-ann")
    world.update("refresh_due_at = now()", connected)
    worker, results = slow_refresh(world, connected, 2)
    anew = reconnect(world, world.sim.mint("google", user="g-ann")[0], "gsc", "ann")
    worker.join(30)

    assert results[0].outcome is Outcome.FRESH
    assert world.opens(anew)
    assert outbox(world) == []
    assert world.rows("SELECT * FROM spare_tokens") == []
    (line,) = activity(world, connected.id, "answer_dropped")
    assert line["code"] == "shared_with_sibling"
    assert line["detail"]["found"] == "other_grant"
    assert world.alive(connected)
    assert world.alive(anew)


def test_an_answer_after_reconnect_and_disconnect_is_revoked(world: World) -> None:
    """Nobody lives on the account any more: the grant before the last one ends as well."""
    connected = world.connect("strict")
    worker, _ = slow_refresh(world, connected, 3)
    anew = reconnect(world, world.sim.mint("strict")[0], "strict", user_of(world, connected))
    assert disconnect(world, anew).outcome is DisconnectOutcome.REVOKED
    assert dead_reason(world, connected) is None
    worker.join(30)

    assert activity(world, connected.id, "answer_dropped")[0]["detail"]["found"] == "other_grant"
    world.services.revocations.drain()
    assert dead_reason(world, connected) == "revoked_by_client"
    assert_erased(world, anew)


def test_an_answer_of_a_connection_that_is_gone_is_dropped(world: World) -> None:
    """Nobody knows any more whose it was."""
    connected = world.connect("strict")
    worker, results = slow_refresh(world, connected, 2)
    world.rows("DELETE FROM connections WHERE id = %s RETURNING id", connected.id)
    worker.join(30)

    assert results[0].outcome is Outcome.NOT_FOUND
    assert outbox(world) == []


def landing_for(world: World, connected: Connected) -> Landing:
    return answer_to(world, connected, "sim-at-late", "sim-rt-late")


def test_the_same_answer_handed_over_twice_is_one_revocation(world: World) -> None:
    """Whoever lands a staged answer may be killed and do it again."""
    connected = world.connect("strict")
    landing = landing_for(world, connected)
    disconnect(world, connected)

    for _ in range(2):
        gone = world.services.tokens.land(landing)
        assert gone == Gone("disconnected")
        world.services.leftovers.gone(landing, gone)

    assert len(outbox(world)) == 1


def test_an_answer_waits_for_postgres(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Away for a moment: it is written afterwards. Away for long: whoever handed it over is told."""
    connected = world.connect("strict")
    landing = landing_for(world, connected)
    disconnect(world, connected)
    leave = LeftoverStore.leave
    failures = iter([ServiceUnavailable("away")])

    def flaky(self: LeftoverStore, *arguments: object, **named: object) -> object:
        for failure in failures:
            raise failure
        return leave(self, *arguments, **named)  # type: ignore[arg-type]  # passed on as they came

    monkeypatch.setattr(LeftoverStore, "leave", flaky)
    with pytest.raises(ServiceUnavailable):
        world.services.leftovers.land(landing)
    assert outbox(world) == []

    world.services.leftovers.land(landing)

    assert len(outbox(world)) == 1


def test_a_disconnected_connection_can_be_connected_again(world: World) -> None:
    """A new generation of the grant, which is refreshed as if nothing had been."""
    connected = world.connect("strict")
    before = world.row(connected)
    disconnect(world, connected)

    anew = reconnect(world, world.sim.mint("strict")[0], "strict", user_of(world, connected))

    row = world.row(anew)
    assert anew.id == connected.id
    assert (row["status"], row["version"]) == (Status.ACTIVE, before["version"] + 2)
    assert row["grant_id"] != before["grant_id"]
    world.update("refresh_due_at = now()", anew)
    assert world.refresh(anew).outcome is Outcome.REFRESHED
    assert world.opens(anew)
    assert outbox(world) == []


@pytest.mark.parametrize(("provider_id", "refused"), [("strict", True), ("gsc", False)])
def test_a_token_that_was_replaced_while_presented_is_presented_no_more(
    world: World, provider_id: str, refused: bool
) -> None:
    """An old file brings it again: refused where the presentation may have spent it."""
    connected = world.connect(provider_id)
    user = user_of(world, connected)
    worker, _ = slow_refresh(world, connected, 2)
    reconnect(world, world.sim.mint(connected.grant.dialect)[0], provider_id, user)
    worker.join(30)
    before = world.presented(connected)

    _, rejected = world.import_lines([line_of(connected.grant, user, provider_id)], replace=True)

    assert [("spent" in line.reason) for line in rejected] == ([True] if refused else [])
    if refused:
        world.update("refresh_due_at = now()", connected)
        assert world.refresh(connected).outcome is Outcome.REFRESHED
        assert world.presented(connected) == before
        assert world.sim.incidents() == []


def test_what_is_queued_is_the_refresh_token_alone(world: World) -> None:
    """It takes the access token with it; and the same answer makes the same row."""
    connected = world.connect("strict")
    landing = landing_for(world, connected)
    assert landing.credentials == Credentials(SecretStr("sim-at-late"), SecretStr("sim-rt-late"))
    disconnect(world, connected)
    world.services.leftovers.gone(landing, Gone("disconnected"))

    (row,) = outbox(world)
    pending = world.services.revocations._store.take(lease=MINUTE)
    assert pending is not None
    assert world.services.revocations._store.open(pending).get_secret_value() == "sim-rt-late"
    assert (row["grant_id"], row["token_kind"]) == (landing.grant_id, "refresh_token")
