"""One module per provider: how its endpoints are spoken. `build` makes them all."""

from __future__ import annotations

from simulator.dialects.base import Dialect, Endpoint
from simulator.dialects.bing import Bing
from simulator.dialects.generic import Generic
from simulator.dialects.google import Google
from simulator.dialects.wix import WixApp, WixFamily, WixHeadless, WixLegacy
from simulator.dialects.wordpress import WordPress
from simulator.memory import DialectState
from simulator.settings import DialectSettings, Span
from simulator.world import World

# path → method → endpoint
Routes = dict[str, dict[str, Endpoint]]


def fresh_states() -> dict[str, DialectState]:
    """Return every dialect with its documented settings and no grants."""
    hour = Span(3600, 3600)
    rows: list[tuple[str, str, dict[str, object]]] = [
        (
            "google",
            "https://www.googleapis.com/auth/webmasters.readonly",
            {"lifetime": hour, "send_refresh_token": False},
        ),
        ("bing", "webmaster.read", {"lifetime": Span(3599, 3599)}),
        ("wordpress", "", {"lifetime": None}),
        ("wix", "", {"lifetime": Span(14_400, 14_400)}),
        ("wix-app", "", {"lifetime": Span(14_400, 14_400)}),
        ("wix-legacy", "", {"lifetime": Span(300, 300)}),
        ("strict", "read", {"lifetime": hour, "rotation": "single_use"}),
        ("window", "read", {"lifetime": hour, "rotation": "window"}),
    ]
    return {
        name: DialectState(
            name,
            DialectSettings(client_id=f"sim-{name}-client", client_secret=f"sim-{name}-secret", **settings),  # type: ignore[arg-type]  # rows of one table with fields of several types
            scope,
        )
        for name, scope, settings in rows
    }


def build(world: World) -> tuple[dict[str, Dialect], Routes]:
    """Return the dialects by name, and the routes to their endpoints."""
    headless, app, legacy = WixHeadless(world), WixApp(world), WixLegacy(world)
    dialects: list[Dialect] = [
        Google(world),
        Bing(world),
        WordPress(world),
        headless,
        app,
        legacy,
        Generic(world, "strict"),
        Generic(world, "window"),
    ]
    routes: Routes = {}
    tables = [dialect.routes() for dialect in dialects]
    for table in (*tables, WixFamily(headless, app, legacy).routes()):
        routes.update(table)
    return {dialect.name: dialect for dialect in dialects}, routes
