"""Waves of refusals: how tests make them, let time pass over them, and look at what became of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

import psycopg

from domain.token import Status
from services.refresh.result import RefreshResult
from services.wiring import Services
from tests.services.world import SCHEDULED, Connected, World, line_of

#: Longer than the time by which a wave's end is judged, shorter than the one over which it is counted.
QUIET: Final = timedelta(minutes=3)
SHOPS: Final = """
[providers.shops]
display_name = "Shops"
grant = "refresh_token"
token_url = "{token}/strict/token"
rotation = "single_use"
replay_window = 0
tenant_field = "shop"
[providers.shops.check]
url = "{url}/strict/userinfo"
"""
SHOPS_APP: Final = {
    "EVERGRANT_SHOPS_CLIENT_ID": "sim-strict-client",
    "EVERGRANT_SHOPS_CLIENT_SECRET": "sim-strict-secret",
}


def refuse(world: World, *, dialect: str = "google", **order: object) -> None:
    """Have the provider refuse living grants from now on."""
    world.sim.fault("invalid_grant", dialect=dialect, owner=world.owner, **{"count": None, **order})


def revoke(world: World, *connected: Connected) -> None:
    """Have these users leave."""
    world.sim.revoke([item.grant.grant_id for item in connected])


def ask(world: World, many: Sequence[Connected], services: Services | None = None) -> list[RefreshResult]:
    """Refresh each when it is due by its own backoff: time passes for the row until then."""
    results = []
    for item in many:
        row = world.row(item)
        if row["refresh_due_at"] is not None and row["refresh_due_at"] > row["now"]:
            world.pass_time(row["refresh_due_at"] - row["now"] + timedelta(seconds=1), item)
        results.append(
            (services or world.services).refresh.refresh(
                item.id, SCHEDULED, provider_id=item.provider_id, tenant=row["tenant"]
            )
        )
    return results


def let_pass(world: World, duration: timedelta) -> None:
    """Let time pass for everything that a wave is judged by."""
    with psycopg.connect(world.database_url) as connection:
        connection.execute("UPDATE activity SET at = at - %s", (duration,))
        connection.execute("UPDATE tokens SET refused_at = refused_at - %s", (duration,))
        connection.execute(
            "UPDATE verdict_holds SET opened_at = opened_at - %s, ended_at = ended_at - %s",
            (duration, duration),
        )


def waves(world: World) -> list[dict[str, Any]]:
    """Every verdict hold, the first one first."""
    return world.rows("SELECT * FROM verdict_holds ORDER BY opened_at")


def endings(world: World) -> list[str | None]:
    """How each ended; None: it is open."""
    return [row["ended_as"] for row in waves(world)]


def statuses(world: World, many: Sequence[Connected]) -> list[str]:
    return [world.row(item)["status"] for item in many]


def dead(world: World, many: Sequence[Connected]) -> list[Connected]:
    return [item for item in many if world.row(item)["status"] == Status.NEEDS_REAUTH]


def shops(world: World, token_url: str | None = None) -> str:
    """The TOML of a provider with tenants."""
    url = world.simulator.base_url
    return SHOPS.format(url=url, token=token_url or url)


def with_shops(world: World) -> Services:
    """Services that know a provider with tenants; the world's own from now on."""
    world.services = world.wire(more=shops(world), environment=SHOPS_APP)
    return world.services


def open_shops(world: World, shop: str | None, count: int, **order: object) -> list[Connected]:
    """Connections of one tenant, due."""
    grants = world.sim.mint("strict", count, owner=world.owner, **order)
    made = []
    for grant in grants:
        user = f"{shop}-{grant.grant_id}"
        metadata: dict[str, object] = {} if shop is None else {"shop": shop}
        report, rejected = world.import_lines([{**line_of(grant, user, "shops"), "metadata": metadata}])
        assert report.outcomes == {"created": 1}, rejected
        found = world.services.tokens.find(user, "shops", "")
        assert found is not None
        made.append(Connected(found, "shops", grant))
    world.update("refresh_due_at = now() - interval '1 second'", *made)
    return made
