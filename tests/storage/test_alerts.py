"""Alerts: one a cause, counted, told once, in the transaction of what they tell about."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import uuid4

import pytest

from storage.alerts import AlertSpec, AlertStore, open_alert, resolve_connections
from storage.engine import transaction
from storage.holds import HoldStore
from tests.storage.making import Bench, now

SPEC = AlertSpec("cause-1", "capacity", "critical", "Too slow", "Add workers.", detail={"rate": 3})


def events(bench: Bench) -> str:
    return str(bench.value("SELECT coalesce(string_agg(event, ' ' ORDER BY id), '') FROM alert_events"))


def test_a_cause_has_one_unresolved_alert(bench: Bench) -> None:
    """Repetition counts, also while acknowledged, and is no event; after resolution a new alert opens."""
    store = AlertStore(bench.engine)

    assert store.open(SPEC)
    assert not store.open(SPEC)
    (alert,) = store.list(statuses=["open"])
    assert store.acknowledge(alert.id)
    assert not store.acknowledge(alert.id)
    assert not store.open(SPEC)
    assert store.resolve("cause-1")
    assert not store.resolve("cause-1")
    assert store.open(SPEC)

    assert store.counts() == {"resolved": 1, "open": 1}
    found = store.find(alert.id)
    assert found is not None
    assert (found.count, found.status, found.detail) == (3, "resolved", {"rate": 3})
    assert found.last_seen_at > found.first_seen_at
    assert events(bench) == "opened acknowledged resolved opened"
    assert store.find(uuid4()) is None


def test_twenty_at_once_open_one(bench: Bench) -> None:
    """Concurrent openings of a cause make one alert and one event, and every one of them counts."""
    store = AlertStore(bench.engine)

    with ThreadPoolExecutor(10) as pool:
        opened = list(pool.map(lambda _: store.open(SPEC), range(20)))

    assert opened.count(True) == 1
    assert store.list()[0].count == 20
    assert events(bench) == "opened"


def test_an_alert_is_rolled_back_with_what_it_tells_about(bench: Bench) -> None:
    """Neither alert nor event survives the transaction that was to bring them."""

    def fail() -> None:
        with transaction(bench.engine) as connection:
            open_alert(connection, SPEC)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()

    assert AlertStore(bench.engine).list() == []
    assert events(bench) == ""


def test_recovery_resolves_a_connections_alerts_alone(bench: Bench) -> None:
    """Resolving by connection leaves other connections' alerts open."""
    store, one, other = AlertStore(bench.engine), uuid4(), uuid4()
    store.open(replace(SPEC, connection_id=one))
    store.open(replace(SPEC, cause="cause-2", connection_id=one))
    store.open(replace(SPEC, cause="cause-3", connection_id=other))

    with transaction(bench.engine) as connection:
        assert resolve_connections(connection, [one]) == 2

    assert [alert.cause for alert in store.list(statuses=["open"])] == ["cause-3"]


def test_a_hold_has_one_probe_and_one_alert(bench: Bench) -> None:
    """Of many processes that see a hold run out one gets the probe; closing resolves the alert."""
    holds = HoldStore(bench.engine)
    past, later = now() - timedelta(seconds=1), now() + timedelta(minutes=1)

    def open_until(held_until: datetime) -> int:
        return holds.open_hold(
            "scope", provider_id="acme", reason="invalid_client", held_until=held_until, alert=SPEC
        )

    assert open_until(past) == 1
    (hold,) = holds.holds()
    with ThreadPoolExecutor(8) as pool:
        taken = list(
            pool.map(lambda _: holds.take_probe("scope", expected=hold.held_until, until=later), range(8))
        )
    assert taken.count(True) == 1
    assert not holds.take_probe("scope", expected=later, until=later)
    assert open_until(past) == 2
    (prolonged,) = holds.holds()
    assert prolonged.held_until == later
    assert prolonged.opened_at == hold.opened_at
    assert not holds.close_hold("scope", called_at=past, cause=SPEC.cause)
    assert holds.close_hold("scope", called_at=now(), cause=SPEC.cause)
    assert not holds.close_hold("scope", called_at=now(), cause=SPEC.cause)

    assert holds.holds() == []
    assert events(bench) == "opened resolved"
    # There are as many scopes as tenants: what is over leaves no row.
    assert bench.value("SELECT count(*) FROM provider_holds") == 0
    assert open_until(past) == 1


def test_an_alert_is_renewed_and_told_again_only_where_it_gets_critical(bench: Bench) -> None:
    """New words and figures for the same incident; nothing is opened, and what is resolved stays so."""
    store = AlertStore(bench.engine)
    warning = replace(SPEC, severity="warning")
    assert not store.renew(warning)
    assert store.open(warning, renew=True)

    assert store.renew(replace(warning, title="Slower", detail={"rate": 2}))
    assert events(bench) == "opened"
    assert not store.open(replace(SPEC, help="Now."), renew=True)
    assert store.renew(SPEC)
    assert store.renew(warning)

    (alert,) = store.list()
    assert (alert.title, alert.help, alert.severity, alert.count) == (
        "Too slow",
        "Add workers.",
        "critical",
        5,
    )
    assert events(bench) == "opened opened"
    assert bench.value("SELECT payload->>'severity' FROM alert_events ORDER BY id DESC LIMIT 1") == "critical"
    assert store.resolve("cause-1")
    assert not store.renew(SPEC)
