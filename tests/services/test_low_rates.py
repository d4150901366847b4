"""A provider whose own request rate does not carry its connections: told of, and no matter for workers."""

from __future__ import annotations

import pytest

from domain.capacity import Standing
from domain.shortage import OVER_AFTER, TOLD_AFTER
from tests.services.test_capacity import a_watch, looks
from tests.services.test_scheduling import LIMITED
from tests.services.world import World

pytestmark = pytest.mark.servers


def test_a_rate_that_is_too_low_for_its_connections_is_told_and_ends_by_itself(world: World) -> None:
    """Two become due each second, and its definition allows one: after a minute one alert, no word of
    workers; it ends when what is late is not any more."""
    services = world.wire(
        more="[providers.limited]\n"
        + LIMITED.format(url=world.simulator.base_url).replace("second = 3", "second = 1"),
        environment={
            "EVERGRANT_LIMITED_CLIENT_ID": "sim-strict-client",
            "EVERGRANT_LIMITED_CLIENT_SECRET": "sim-strict-secret",
        },
    )
    world.services = services
    tokens = world.connect_many("strict", 220, as_provider="limited")
    world.rows(
        "INSERT INTO activity (at, connection_id, provider_id, kind)"
        " SELECT now() - make_interval(secs => n), gen_random_uuid(), 'limited', 'refreshed'"
        "   FROM generate_series(1, 55) AS n RETURNING id"
    )
    world.update("refresh_due_at = now() - interval '40 seconds'", *tokens[:100])
    world.update("refresh_due_at = now() + interval '30 seconds' * (1 + random() * 0.9)", *tokens[100:])
    watch = a_watch(services)

    assert set(looks(watch, TOLD_AFTER)) == {Standing.ON_TIME}

    (alert,) = world.alerts()
    assert (alert["kind"], alert["provider_id"]) == ("rate_too_low", "limited")
    assert "100 tokens of Limited are overdue" in alert["help"]
    assert alert["detail"]["max_requests_per_second"] == 1.0
    assert alert["detail"]["rate_wanted"] == pytest.approx(2.5, abs=0.3)
    world.update("refresh_due_at = now() + interval '1 hour'", *tokens)
    looks(watch, OVER_AFTER)
    assert world.alerts() == []
    assert [what for what, _ in world.events()] == ["opened", "resolved"]
