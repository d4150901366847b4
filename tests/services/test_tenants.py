"""Tenants of a provider: the trouble of one is no other's, and the scheduler steps over who is held back."""

from __future__ import annotations

from datetime import timedelta

import pytest

from domain.asks import Outcome
from domain.token import Status
from services.scheduling import Work
from tests.services.test_scheduling import tick
from tests.services.waves import (
    SHOPS_APP,
    ask,
    dead,
    endings,
    open_shops,
    refuse,
    revoke,
    shops,
    statuses,
    waves,
    with_shops,
)
from tests.services.world import DEMANDED, Connected, World, line_of
from tests.support.waiting import eventually

pytestmark = pytest.mark.servers


def tenant_of(world: World, connected: Connected) -> str | None:
    tenant: str | None = world.row(connected)["tenant"]
    return tenant


def refresh(world: World, connected: Connected) -> str | None:
    """Refresh as a bulk message asks for it; return the code."""
    return ask(world, [connected])[0].code


def hold_back(world: World, shop: str | None) -> Connected:
    """Have one tenant's breaker opened."""
    (victim,) = open_shops(world, shop, 1)
    world.sim.fault("status", dialect="strict", status=429, retry_after=300, grant_id=victim.grant.grant_id)
    assert refresh(world, victim) == "rate_limited"
    return victim


def test_the_wave_of_one_tenant_holds_that_tenant_alone(world: World) -> None:
    """Everybody at shop A is refused: held. One at shop B, one of no shop: dead at once."""
    with_shops(world)
    at_a, at_b, at_none = (open_shops(world, shop, 6) for shop in ("a.example", "b.example", None))
    for item in at_a:
        refuse(world, dialect="strict", grant_id=item.grant.grant_id)
    revoke(world, at_b[0], at_none[0])

    ask(world, at_a)
    results = ask(world, [*at_b, *at_none])

    assert [result.outcome for result in results].count(Outcome.NEEDS_REAUTH) == 2
    assert (dead(world, at_a), dead(world, at_b), dead(world, at_none)) == ([], at_b[:1], at_none[:1])
    (wave,) = waves(world)
    assert (wave["tenant"], wave["presented"], wave["refused"]) == ("a.example", 5, 5)
    (alert,) = [alert for alert in world.alerts() if alert["kind"] == "verdict_hold"]
    assert "Shops (tenant a.example)" in alert["title"]
    assert world.services.rulings.confirm(wave["id"]) == 6
    assert (len(dead(world, at_a)), len(dead(world, at_b)), len(dead(world, at_none))) == (6, 1, 1)


def test_refusals_of_several_tenants_are_no_wave_of_any(world: World) -> None:
    """Two refused at each of three shops are no five anywhere."""
    with_shops(world)
    many = [item for shop in ("a", "b", "c") for item in open_shops(world, shop, 2)]
    revoke(world, *many)

    ask(world, many)
    world.services.incidents.watch()

    assert (dead(world, many), endings(world)) == (many, [])


def test_counts_of_tenants_are_not_kept_for_ever(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was counted of one shop is let go of when another one is counted after it has grown old."""
    incidents = with_shops(world).incidents
    now = 100.0
    monkeypatch.setattr(incidents, "_clock", lambda: now)
    for shop in ("a", "b"):
        many = open_shops(world, shop, 5)
        revoke(world, *many)
        ask(world, many)
        now += 10

    assert len(waves(world)) == 2
    assert len(incidents._counted) == 1


def test_a_tenant_that_is_held_back_is_not_published_and_the_others_are(world: World) -> None:
    """Neither to bulk queues nor to callers; when its time has come, one message: the probe."""
    with_shops(world)
    held = hold_back(world, "a")
    more = open_shops(world, "a", 3)
    others = [*open_shops(world, "b", 2), *open_shops(world, None, 1)]

    published = tick(world)

    assert sorted(published.ids) == sorted(item.id for item in others)
    assert {token.tenant for token in published.published} == {"b", None}
    assert world.refresh(more[0], DEMANDED).code == "rate_limited"
    assert [refresh(world, item) for item in others] == [None] * 3
    world.pass_hold()
    world.services.refresh._admission.breakers._read_at = float("-inf")
    (probe,) = tick(world).published
    assert (probe.tenant, probe.connection_id in {item.id for item in (held, *more)}) == ("a", True)
    world.update("refresh_enqueued_until = NULL", *more)
    assert refresh(world, more[0]) is None
    assert world.holds() == []
    eventually(lambda: len(tick(world).ids) >= 2, seconds=5)


def test_grants_of_no_tenant_have_trouble_of_their_own(world: World) -> None:
    """A breaker without a tenant holds back those without one, and no shop."""
    with_shops(world)
    hold_back(world, None)
    (other,) = open_shops(world, None, 1)
    (at_a,) = open_shops(world, "a", 1)

    assert tick(world).ids == [at_a.id]
    assert refresh(world, other) == "rate_limited"
    assert refresh(world, at_a) is None


def test_checks_of_a_tenant_are_held_back_alone(world: World) -> None:
    """The checks' breaker has the same scope: who is held is not published, and its refreshes go on."""
    with_shops(world)
    (at_a, at_b) = (*open_shops(world, "a", 1), *open_shops(world, "b", 1))
    world.update("check_due_at = now() - interval '1 second'", at_a, at_b)
    world.sim.fault("status", dialect="strict", endpoint="check", status=429, retry_after=300)
    assert world.check(at_a).outcome == "rate_limited"
    world.update("check_due_at = now() - interval '1 second'", at_a)

    assert tick(world, Work.HEALTH).ids == [at_b.id]
    assert refresh(world, at_a) is None


def test_without_the_key_rows_may_say_what_they_like(world: World) -> None:
    """A tenant that a row remembers counts only where the definition tells tenants apart."""
    many = world.connect_many("gsc", 2)
    world.update("tenant = 'left over'", *many)
    world.sim.fault("status", dialect="google", status=429, retry_after=300)
    assert refresh(world, many[0]) == "rate_limited"

    assert refresh(world, many[1]) == "rate_limited"
    assert [hold["scope"].count("|") for hold in world.holds()] == [1]
    assert tick(world).ids == []


def test_a_tenant_is_filled_at_import_and_follows_the_metadata(world: World) -> None:
    """Created, kept with other metadata, replaced: the row says what the metadata says; nonsense is named."""
    with_shops(world)
    (connected,) = open_shops(world, "a", 1)
    user = world.rows("SELECT user_id FROM connections")[0]["user_id"]
    line = line_of(connected.grant, user, "shops")

    def import_with(shop: object, *, replace: bool = False) -> tuple[str | None, list[str]]:
        _, rejected = world.import_lines([{**line, "metadata": {"shop": shop}}], replace=replace)
        return tenant_of(world, connected), [each.reason for each in rejected]

    assert tenant_of(world, connected) == "a"
    assert import_with("b") == ("b", [])
    assert import_with(17, replace=True) == ("17", [])
    assert import_with(None) == (None, [])
    for nonsense in ("", " ", "a\u0007b", "x" * 256, True, 1.5, ["a"]):
        tenant, reasons = import_with(nonsense)
        assert tenant is None
        assert len(reasons) == 1
        assert "metadata.shop" in reasons[0]
        assert "tenant" in reasons[0]


def test_a_breaker_of_a_tenant_that_is_gone_is_closed(world: World) -> None:
    """Nobody will ever probe it; while a connection of the tenant is there, it stays."""
    with_shops(world)
    victim = hold_back(world, "a")
    open_shops(world, "b", 1)
    world.services.housekeeping.run()
    assert len(world.holds()) == 1

    world.update(
        "status = 'needs_reauth', reauth_reason = 'x', refresh_due_at = NULL, check_due_at = NULL", victim
    )
    world.services.housekeeping.run()

    assert world.holds() == []


def test_definitions_that_share_an_app_share_their_breaker(world: World) -> None:
    """The app's trouble at one endpoint is found out once: the other definition's calls wait too."""
    world.services = world.wire_gsc_too()
    first, second = world.connect("gsc"), world.connect("gsc", as_provider="gsc-too")
    world.sim.configure("google", client_secret="another-secret")

    assert [refresh(world, item) for item in (first, second)] == ["invalid_client", "client_misconfigured"]

    assert world.presented(second) == 0
    assert tick(world).ids == []
    assert (len(world.holds()), world.alert_kinds()) == (1, ["provider_client_misconfigured"])
    world.sim.configure("google", client_secret="sim-google-secret")
    world.pass_hold()
    eventually(lambda: refresh(world, second) is None, seconds=5)
    assert world.alerts() == []
    assert world.row(first)["status"] == Status.ACTIVE


def test_a_held_tenants_backlog_does_not_take_its_providers_room(world: World) -> None:
    """However long the held tenant's tokens have been due, the others' are found behind them."""
    with_shops(world)
    hold_back(world, "a")
    backlog = open_shops(world, "a", 30)
    world.update("refresh_due_at = now() - interval '1 hour'", *backlog)
    (at_b,) = open_shops(world, "b", 1)

    due = world.services.tokens.mark_due_refreshes(
        {"shops": 1}, total=1, mark=timedelta(seconds=30), held={("shops", "a"): 0}
    )

    assert [token.connection_id for token in due] == [at_b.id]


def test_what_stops_every_tenant_is_one_incident(world: World, closed_url: str) -> None:
    """A dead endpoint is found out by several tenants together: one breaker, one alert, nobody is published;
    the first success of any of them ends it for all."""
    with_shops(world)
    many = [item for shop in ("a", "b", "c", "d", None) for item in open_shops(world, shop, 1)]
    alive, dead_end = world.services, world.wire(more=shops(world, closed_url), environment=SHOPS_APP)
    codes = [ask(world, [item], dead_end)[0].code for item in (*many, *many)]

    assert codes[:5] == ["connect_failed"] * 5
    assert set(codes[5:]) == {"unreachable"}
    (hold,) = world.holds()
    assert hold["scope"].endswith("/strict/token (all tenants)")
    (alert,) = world.alerts()
    assert "Shops (all tenants) does not answer" in alert["title"]
    assert tick(world, services=dead_end).ids == []
    alive.housekeeping.run()
    assert world.holds() == [], "nobody calls that endpoint there"
    assert world.alerts() == []


def test_a_wrong_secret_of_all_tenants_ends_by_one_probe(world: World) -> None:
    """Three tenants are refused as a client: from then on all wait, and one success lets all go on."""
    with_shops(world)
    many = [item for shop in "abcde" for item in open_shops(world, shop, 1)]
    world.sim.configure("strict", client_secret="another-secret")

    codes = [refresh(world, item) for item in many]

    assert codes == ["invalid_client"] * 3 + ["client_misconfigured"] * 2
    assert world.alert_kinds() == ["provider_client_misconfigured"] * 3
    assert len(world.holds()) == 3
    assert statuses(world, many) == [Status.ACTIVE] * 5
    world.pass_hold()
    eventually(lambda: refresh(world, many[3]) == "invalid_client", seconds=5)
    assert refresh(world, many[4]) == "client_misconfigured"
    world.sim.configure("strict", client_secret="sim-strict-secret")
    world.pass_hold()
    eventually(lambda: refresh(world, many[4]) is None, seconds=5)

    assert not any("all tenants" in hold["scope"] for hold in world.holds())
    eventually(lambda: all(refresh(world, item) is None for item in many[:4]), seconds=10)
    assert (world.holds(), world.alerts()) == ([], [])


def test_one_tenants_trouble_among_many_that_succeed_stays_its_own(world: World) -> None:
    """Three tenants have removed our app, one after the other, while the others go on: nobody else waits."""
    with_shops(world)
    gone = [item for shop in "abc" for item in open_shops(world, shop, 1)]
    well = [item for shop in "xyz" for item in open_shops(world, shop, 1)]
    for number, item in enumerate(gone):
        world.sim.fault("invalid_client", dialect="strict", grant_id=item.grant.grant_id)
        assert refresh(world, item) == "invalid_client"
        assert refresh(world, well[number]) is None

    assert len(world.holds()) == 3
    assert not any("all tenants" in hold["scope"] for hold in world.holds())
