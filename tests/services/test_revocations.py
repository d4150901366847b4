"""The outbox of revocations: tried at once, then by any process until it is done or a day has passed."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import psycopg
import pytest

from domain.token import Status
from services.disconnecting import DisconnectOutcome
from services.revocations import GIVE_UP_AFTER, Fate, Revocations
from services.wiring import Services
from tests.services.ending import (
    activity,
    assert_erased,
    connect_as,
    dead_reason,
    disconnect,
    outbox,
    pass_outbox_time,
    reconnect,
    user_of,
)
from tests.services.keyed import wire_without_key
from tests.services.world import Connected, World
from tests.support.waiting import eventually

pytestmark = pytest.mark.servers
HOUR = timedelta(hours=1)


def revocations_at(world: World, dialect: str) -> int:
    return int(world.sim.report()["dialects"][dialect]["revocations"])


def left_to_the_outbox(world: World, connected: Connected, **fault: object) -> None:
    """Disconnect while the revocation endpoint does not work."""
    order = fault if "kind" in fault else {"kind": "status", "status": 503, **fault}
    world.sim.fault(str(order.pop("kind")), endpoint="revoke", dialect=connected.grant.dialect, **order)
    result = disconnect(world, connected)
    assert (result.outcome, result.reason) == (DisconnectOutcome.ERASED_ONLY, "revocation_pending")
    assert_erased(world, connected)
    assert len(outbox(world)) == 1


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "status": 503},
        {"kind": "status", "status": 500},
        {"kind": "status", "status": 429, "retry_after": 1},
        {"kind": "drop_before"},
        {"kind": "drop_after"},
        {"kind": "status", "status": 400, "error": "invalid_request"},
    ],
    ids=lambda fault: " ".join(map(str, fault.values())),
)
def test_a_revocation_that_fails_is_made_when_it_can_be(world: World, fault: dict[str, object]) -> None:
    """The endpoint was down and is up again: another process empties the outbox."""
    connected = world.connect("strict")
    left_to_the_outbox(world, connected, **fault)
    other = world.wire()
    assert other.revocations.drain() == 0, "its time has not come"
    pass_outbox_time(world, HOUR)
    world.pass_hold()

    assert other.revocations.drain() == 1

    assert dead_reason(world, connected) == "revoked_by_client"
    assert outbox(world) == []
    assert world.kinds(connected) == ["imported", "disconnected", "revoked"]
    assert world.alerts() == []


def test_a_revocation_waits_longer_each_time(world: World) -> None:
    """Backoff, and no second attempt before its time."""
    connected = world.connect("strict")
    left_to_the_outbox(world, connected, count=None)
    waits = []
    for attempts in (1, 2, 3):
        row = world.rows("SELECT attempts, next_at - now() AS wait FROM pending_revocations")[0]
        assert row["attempts"] == attempts
        waits.append(row["wait"].total_seconds())
        assert world.services.revocations.drain() == 0
        pass_outbox_time(world, HOUR)
        world.services.revocations.drain()

    assert 10 <= waits[0] <= 30 <= waits[1] <= 60 <= waits[2] <= 120
    assert world.alive(connected)


def test_after_a_day_a_person_is_told(world: World) -> None:
    """Given up: the token is erased, and the alert says that the grant may live and where to remove it."""
    connected = world.connect("gsc")
    left_to_the_outbox(world, connected, count=None)
    pass_outbox_time(world, GIVE_UP_AFTER - timedelta(minutes=1))
    world.services.revocations.drain()
    assert len(outbox(world)) == 1
    assert world.alerts() == []
    pass_outbox_time(world, 2 * HOUR)

    assert world.services.revocations.drain() == 1

    assert outbox(world) == []
    (alert,) = world.alerts()
    assert (alert["kind"], alert["severity"]) == ("not_revoked", "warning")
    assert "may still live" in alert["help"]
    assert "https://myaccount.google.com/connections" in alert["help"]
    assert activity(world, connected.id, "revocation_failed")[0]["code"] == "unavailable"
    assert world.services.revocations.drain() == 0
    assert world.alive(connected)
    # He connects again: what the alert was about is over.
    reconnect(world, world.sim.mint("google")[0], "gsc", user_of(world, connected))
    assert world.alerts() == []


def test_a_wrong_client_holds_the_revocations_back(world: World) -> None:
    """The breaker of this scope alone opens, tells once, and closes when the client is right again."""
    first, second = world.connect("strict"), world.connect("strict")
    world.sim.configure("strict", client_secret="another")
    for connected in (first, second):
        assert disconnect(world, connected).reason == "revocation_pending"
    scope = f"sim-strict-client|{world.simulator.base_url}/strict/revoke|revoke"
    assert [hold["scope"] for hold in world.holds()] == [scope]
    assert world.alert_kinds() == ["provider_client_misconfigured"]
    (alert,) = world.alerts()
    assert "(revocations)" in alert["title"]
    assert alert["severity"] == "warning"
    world.services.housekeeping.run()
    assert len(world.holds()) == 1, "something waits for it"
    world.sim.restore_settings()
    world.pass_hold()

    def drained() -> bool:
        # This process' picture of the breakers is a second old, and puts them off once more.
        pass_outbox_time(world, timedelta(minutes=1))
        world.services.revocations.drain()
        return outbox(world) == []

    eventually(drained, seconds=10)

    assert dead_reason(world, first) == dead_reason(world, second) == "revoked_by_client"
    assert world.holds() == []
    assert world.alerts() == []


def test_a_hold_that_lasts_a_day_is_given_up_too(world: World) -> None:
    """A breaker that stays open must not keep the token for ever."""
    connected = world.connect("strict")
    world.sim.configure("strict", client_secret="another")
    assert disconnect(world, connected).reason == "revocation_pending"
    pass_outbox_time(world, GIVE_UP_AFTER)

    world.wire().revocations.drain()

    assert outbox(world) == []
    assert "not_revoked" in world.alert_kinds()


def test_a_token_that_opens_nowhere_is_given_up_after_a_day(world: World) -> None:
    """A key that is missing may come back until then."""
    connected = world.connect("strict")
    left_to_the_outbox(world, connected)
    blind = wire_without_key(world, "k9")
    for duration in (HOUR, GIVE_UP_AFTER):
        pass_outbox_time(world, duration)
        assert len(outbox(world)) == 1
        blind.revocations.drain()

    assert outbox(world) == []
    assert activity(world, connected.id, "revocation_failed")[0]["code"] == "unreadable"


def test_two_drains_make_one_revocation(world: World) -> None:
    """Side by side, in two processes: each row is taken once."""
    many = world.connect_many("strict", 12)
    world.sim.fault("status", endpoint="revoke", dialect="strict", status=400, error="odd", count=None)
    for connected in many:
        assert disconnect(world, connected).reason == "revocation_pending"
    world.sim.clear_faults()
    pass_outbox_time(world, HOUR)
    before = revocations_at(world, "strict")
    begin = threading.Barrier(4)

    def drain(services: Services) -> int:
        begin.wait()
        return services.revocations.drain()

    with ThreadPoolExecutor() as pool:
        done = list(pool.map(drain, [world.services, *(world.wire() for _ in range(3))]))

    assert sum(done) == len(many), done
    assert revocations_at(world, "strict") - before == len(many)
    assert all(len(activity(world, item.id, "revoked")) == 1 for item in many)


def test_a_process_killed_after_the_mark_leaves_it_to_the_others(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mark and the outbox row are one commit; the row is nobody's for a moment, and then anybody's."""
    connected = world.connect("strict")
    dying = world.wire()
    with monkeypatch.context() as patched:
        patched.setattr(Revocations, "attempt", killed)
        with pytest.raises(KeyboardInterrupt):
            disconnect(world, connected, dying)
    assert_erased(world, connected)
    (row,) = outbox(world)
    assert (row["attempts"], row["why"], row["token_kind"]) == (0, "disconnected", "refresh_token")
    assert world.services.revocations.drain() == 0
    pass_outbox_time(world, timedelta(seconds=31))

    assert world.services.revocations.drain() == 1

    assert dead_reason(world, connected) == "revoked_by_client"


def killed(*_: object, **__: object) -> Fate:
    raise KeyboardInterrupt


def test_a_reconnect_cancels_what_would_end_it(world: World) -> None:
    """The revocation of the grant before is dropped, because Google would end the new one with it."""
    connected = connect_as(world, "gsc", "ann", google_user="g-ann")
    left_to_the_outbox(world, connected)
    anew = reconnect(world, world.sim.mint("google", user="g-ann")[0], "gsc", "ann")
    assert anew.id == connected.id
    assert world.row(anew)["status"] == Status.ACTIVE
    pass_outbox_time(world, HOUR)

    assert world.services.revocations.drain() == 1

    assert outbox(world) == []
    assert world.alive(anew)
    (line,) = activity(world, connected.id, "revocation_dropped")
    assert line == {"code": "shared_with_sibling", "detail": {"siblings": [str(connected.id)]}}
    assert world.opens(anew)


def test_what_a_provider_does_not_take_back_any_more_is_erased(world: World) -> None:
    """The definition has lost its revoke_url since."""
    connected = world.connect("strict")
    left_to_the_outbox(world, connected)
    with psycopg.connect(world.database_url) as connection:
        connection.execute("UPDATE pending_revocations SET provider_id = 'bing'")
    pass_outbox_time(world, HOUR)

    assert world.services.revocations.drain() == 1

    assert outbox(world) == []
    assert activity(world, connected.id, "revocation_dropped")[0]["code"] == "no_revoke_endpoint"


def test_a_dead_provider_keeps_nobody_elses_waiting(world: World) -> None:
    """One failure, and its others are left alone for the rest of the run."""
    google = world.connect("gsc")
    left_to_the_outbox(world, google)
    # Too few for the breaker.
    strict = world.connect_many("strict", 3)
    world.sim.fault("status", endpoint="revoke", dialect="strict", status=503, count=None)
    for connected in strict:
        disconnect(world, connected)
    before = revocations_at(world, "strict")
    pass_outbox_time(world, HOUR)

    assert world.services.revocations.drain() == 1

    assert dead_reason(world, google) == "revoked_by_client"
    assert revocations_at(world, "strict") - before <= 1


def test_a_token_that_is_the_trouble_itself_keeps_no_other_waiting(world: World) -> None:
    """The provider is well, and refuses one token for a reason of its own."""
    first, second = world.connect_many("strict", 2)
    left_to_the_outbox(world, first)
    world.sim.fault("status", endpoint="revoke", dialect="strict", status=503)
    disconnect(world, second)
    pass_outbox_time(world, HOUR)
    world.sim.fault("status", endpoint="revoke", dialect="strict", status=400, error="odd")

    assert world.services.revocations.drain() == 1

    assert {dead_reason(world, item) for item in (first, second)} == {None, "revoked_by_client"}


def test_a_restored_backup_revokes_nothing_by_itself(world: World) -> None:
    """What waits in it may be long done, and the grant given anew to the database that went on."""
    connected = world.connect("strict")
    left_to_the_outbox(world, connected)
    pass_outbox_time(world, HOUR)
    world.rows("UPDATE deployment SET guarded_since = now() RETURNING 1")
    assert world.services.revocations.drain() == 0
    assert world.alive(connected)

    world.rows("UPDATE deployment SET guarded_since = NULL RETURNING 1")

    assert world.services.revocations.drain() == 1
