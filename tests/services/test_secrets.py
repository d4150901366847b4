"""No token and no client secret reaches a log, the activity, an alert, a task's result, a repr or Redis."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import timedelta

import pytest
import redis
import structlog

from domain.token import Status
from services.wiring import Services
from storage.tokens.landing import Gone
from tests.services.ending import disconnect, pass_outbox_time
from tests.services.keyed import wire_without_key
from tests.services.simulated import DIALECTS
from tests.services.test_late_answers import answer_to
from tests.services.world import FORCED, Connected, World, line_of

pytestmark = pytest.mark.servers


@pytest.fixture
def everything_logged(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """Every event of ours and every record of every library, at DEBUG."""
    before = structlog.get_config()
    structlog.configure(
        processors=[
            structlog.stdlib.add_logger_name,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    levels = {name: logging.getLogger(name).level for name in ("httpx2", "httpcore2")}
    caplog.set_level(logging.DEBUG)
    yield caplog
    structlog.configure(**before)
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def lived_through(world: World, services: Services) -> list[object]:
    """Let connections live through everything that goes well and everything that does not."""
    said: list[object] = []

    def again(item: Connected) -> None:
        world.update("refresh_due_at = now(), not_before = NULL", item)
        said.append(world.refresh(item, services=services))

    for provider_id in DIALECTS:
        connected = world.connect(provider_id)
        said += [connected.id, world.refresh(connected, services=services)]
        said.append(world.check(connected, services=services))
    faults: list[tuple[str, dict[str, object]]] = [
        ("drop_after", {}),
        ("invalid_json", {}),
        ("truncated_body", {}),
        ("not_http", {}),
        ("status", {"status": 400, "error": "invalid_request"}),
        ("status", {"status": 500}),
        ("error_in_200", {"error": "invalid_grant"}),
        ("redirect", {}),
    ]
    for kind, order in faults:
        connected = world.connect("strict")
        world.sim.fault(kind, dialect="strict", **order)
        again(connected)
        world.pass_hold()
        services.refresh._admission.breakers._read_at = float(
            "-inf"
        )  # the breaker is not what is tested here
    echo = world.connect("strict")
    # What a provider says of an error may be the token itself.
    for error in (echo.grant.refresh_token, echo.grant.access_token, "sim-strict-secret"):
        world.sim.fault("status", dialect="strict", status=400, error=error)
        again(echo)
    revoked = world.connect("strict")
    world.sim.revoke([revoked.grant.grant_id])
    again(revoked)
    site = world.connect("wordpress")
    world.sim.revoke([site.grant.grant_id])
    said += [world.check(site, services=services), world.check(site, services=services)]
    blind = wire_without_key(world, "k9")
    unreadable = world.connect("gsc")
    said.append(world.refresh(unreadable, services=blind))
    lapsed = world.connect("bing")
    said.append(world.claim(lapsed))
    world.pass_time(timedelta(seconds=41), lapsed)
    said.append(world.refresh(lapsed, FORCED, services=services))
    said += ended(world, services)
    _, rejected = world.import_lines(
        [{"user_id": 1, "provider_id": "sim-rt-x", "access_token": ["sim-at-x"], "sim-at-key": 1}],
        services=services,
    )
    said += rejected
    world.sim.configure("google", client_secret="another")
    again(world.connect("gsc"))
    return said


def ended(world: World, services: Services) -> list[object]:
    """Disconnect in every way there is, and leave one revocation in the outbox."""
    said: list[object] = [disconnect(world, world.connect("gsc"), services)]
    late = world.connect("strict")
    landing = answer_to(world, late, "sim-at-late", "sim-rt-late")
    waiting = world.connect("strict")
    for item in (late, waiting):
        for error in (item.grant.refresh_token, "sim-strict-secret"):
            world.sim.fault("status", endpoint="revoke", dialect="strict", status=400, error=error)
        said += [disconnect(world, item, services), services.revocations.drain()]
        pass_outbox_time(world, timedelta(days=2 if item is late else 0))
    services.leftovers.gone(landing, Gone("disconnected"))
    said.append(services.revocations._store.take(lease=timedelta(0)))
    return said


def test_no_secret_leaves_the_sealed_columns(
    world: World, redis_url: str, everything_logged: pytest.LogCaptureFixture
) -> None:
    services = world.wire()

    said = lived_through(world, services)

    key = world.keys.partition(":")[2]
    password = world.database_url.split(":")[2].partition("@")[0]
    with redis.Redis.from_url(redis_url) as client:
        in_redis = " ".join(f"{name!r} {client.dump(name)!r}" for name in client.scan_iter(count=1000))
    places = {
        "logs": "\n".join(f"{record.getMessage()} {record.__dict__}" for record in everything_logged.records),
        "tables": world.dump(
            *("activity", "alerts", "alert_events", "provider_holds", "connections", "pending_revocations"),
        ),
        "results": "\n".join(map(repr, said)) + repr(services) + repr(world.services.settings),
        "redis": in_redis,
    }
    assert len(everything_logged.records) > 30
    assert {
        *("refreshed", "refresh_failed", "in_doubt", "needs_reauth", "set_aside", "checked"),
        *("disconnected", "revoked", "answer_dropped"),
    } <= {row["kind"] for row in world.rows("SELECT DISTINCT kind FROM activity")}
    assert {"needs_reauth", "unreadable", "provider_client_misconfigured"} <= set(world.alert_kinds())
    secrets = ("sim-at-", "sim-rt-", "sim-strict-secret", "sim-google-secret", key, password)
    for place, text in places.items():
        for secret in secrets:
            assert secret not in text, f"{place}: {text[max(0, text.index(secret) - 200) :][:400]}"


def test_sealed_columns_hold_no_token_in_the_clear(world: World) -> None:
    """Nor does any other column of any table, spares included."""
    connected = world.connect("strict")
    world.refresh(connected)

    world.services.tokens.land(answer_to(world, connected, "sim-at-late", "sim-rt-late"))
    world.sim.fault("status", endpoint="revoke", dialect="strict", status=503)
    left = world.connect("strict")
    assert disconnect(world, left).reason == "revocation_pending"

    text = world.dump("tokens", "spare_tokens", "connections", "pending_revocations")

    assert "sim-at-" not in text
    assert "sim-rt-" not in text
    assert b"sim-rt-".hex() not in text
    assert b"sim-at-".hex() not in text


def test_an_answer_with_a_scope_that_cannot_be_stored_is_not_lost(world: World) -> None:
    """The tokens land; what Postgres cannot hold of the scope is not worth them."""
    grant = world.sim.mint("strict", owner=world.owner, scope="read re\x00ad")[0]
    world.import_lines([{**line_of(grant, "odd", "strict"), "scope": []}])
    found = world.services.tokens.find("odd", "strict")
    assert found is not None
    connected = Connected(found, "strict", grant)
    world.update("refresh_due_at = now()", connected)

    result = world.refresh(connected)

    assert result.version == 2
    assert world.row(connected)["status"] == Status.ACTIVE
    assert world.row(connected)["scope"] == ["read"]
    assert world.opens(connected)
