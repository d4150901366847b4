"""The importer: the contract's paragraph on `connections import`, line by line."""

from __future__ import annotations

import json
import resource
from collections.abc import Iterator
from datetime import timedelta

import pytest

from domain.asks import Outcome
from domain.token import Status
from services.imports import Rejected
from services.wiring import Services
from tests.services.simulated import REFRESHING
from tests.services.world import World, line_of

pytestmark = pytest.mark.servers
#: Stands where a token stands by mistake; no message may quote it.
SECRET = "sim-rt-SECRET-VALUE"
GOOD = {
    "user_id": "someone",
    "provider_id": "strict",
    "access_token": SECRET,
    "refresh_token": SECRET,
    "expires_at": "2030-01-01T00:00:00+02:00",
    "scope": ["read"],
    "metadata": {"plan": 1},
}


def bent(**changes: object) -> bytes:
    return json.dumps({**GOOD, **changes}).encode()


def without(name: str) -> bytes:
    return json.dumps({key: value for key, value in GOOD.items() if key != name}).encode()


BAD_LINES = [
    (b"not json", "JSON"),
    (b'{"user_id": "x"', "JSON"),
    (b'"a text"', "object"),
    (b"[]", "object"),
    (b"\xff\xfe\x00", "JSON"),
    (b"\xef\xbb\xbf" + bent(), "JSON"),
    (without("user_id"), "user_id"),
    (without("provider_id"), "provider_id"),
    (without("access_token"), "access_token"),
    (bent(user_id=""), "user_id"),
    (bent(user_id=7), "user_id"),
    (bent(user_id=None), "user_id"),
    (bent(user_id="x" * 256), "user_id"),
    (bent(user_id="a\x00b"), "user_id"),
    (bent(provider_id="nowhere"), "provider_id"),
    # Columns in the wrong order: what stands in a field may be a token.
    (bent(provider_id=SECRET), "provider_id"),
    (bent(account_id="a\x00b"), "account_id"),
    (bent(account_id="a\nb"), "account_id"),
    (bent(account_id="x" * 256), "account_id"),
    (bent(access_token=""), "access_token"),
    (bent(access_token=None), "access_token"),
    (bent(access_token=[SECRET]), "access_token"),
    (bent(access_token=SECRET + "\n"), "access_token"),
    (bent(access_token="t\u00f6ken"), "access_token"),
    (bent(refresh_token=""), "refresh_token"),
    (bent(refresh_token=SECRET + "\x00"), "refresh_token"),
    (bent(refresh_token="x" * 70_000), "refresh_token"),
    (bent(expires_at="2030-01-01T00:00:00"), "expires_at"),
    (bent(expires_at="tomorrow"), "expires_at"),
    (bent(expires_at=SECRET), "expires_at"),
    (bent(expires_at=1893456000), "expires_at"),
    (bent(expires_at="1893456000"), "expires_at"),
    (bent(expires_at=True), "expires_at"),
    (bent(expires_at="0001-01-01T00:00:00+14:00"), "expires_at"),
    (bent(expires_at="0001-01-01T00:00:00Z"), "expires_at"),
    (bent(expires_at="9999-12-31T23:59:59-14:00"), "expires_at"),
    (bent(scope="read"), "scope"),
    (bent(scope=[""]), "scope"),
    (bent(scope=[7]), "scope"),
    (bent(scope=["read"] * 501), "scope"),
    (bent(metadata=[1]), "metadata"),
    (bent(metadata=None), "metadata"),
    (bent(metadata={"note": "a\x00b"}), "Postgres cannot store"),
    (bent(metadata={"note": float("nan")}), "Postgres cannot store"),
    (bent(metadata={"note": {"deep": [float("inf")]}}), "Postgres cannot store"),
    (bent().replace(b'"plan": 1', b'"plan": 1e999'), "Postgres cannot store"),
    (bent().replace(b'"plan": 1', b'"plan": ' + b"9" * 5000), "JSON"),
    (bent().replace(b'"plan": 1', b'"plan": ' + b"[" * 5000 + b"]" * 5000), "JSON"),
    (bent().replace(b'"plan": 1', rb'"plan": "\ud800"'), "JSON"),
    (bent(**{SECRET: 1}), "unknown"),
    (bent(password=SECRET), "password"),
    (bent(provider_id="wix-app"), "metadata.instance_id"),
    (bent(provider_id="wix-app", metadata={"instance_id": ""}), "metadata.instance_id"),
    (bent(metadata={"big": "x" * 300_000}), "longer than"),
]


def test_bad_lines_are_reported_and_stop_nothing_else(world: World) -> None:
    """Each by its number and the field that is wrong, never by a value; the lines around it are imported."""
    grants = world.sim.mint("strict", len(BAD_LINES) + 1, owner=world.owner)
    good = [json.dumps(line_of(grant, f"good-{number}", "strict")) for number, grant in enumerate(grants)]
    lines: list[bytes] = [good[0].encode()]
    for (line, _), neighbour in zip(BAD_LINES, good[1:], strict=True):
        lines += [line, b" \n", neighbour.encode()]

    report, rejected = world.import_lines(lines)

    reasons = {item.line: item.reason for item in rejected}
    expected = {2 + 3 * number: named for number, (_, named) in enumerate(BAD_LINES)}
    assert {line: named for line, named in expected.items() if named not in reasons.get(line, "")} == {}
    assert len(reasons) == report.rejected == len(BAD_LINES)
    assert report.outcomes == {"created": len(good)}
    assert len(world.rows("SELECT 1 FROM tokens")) == len(good)
    for reason in reasons.values():
        assert "SECRET" not in reason
        assert len(reason) < 1000


@pytest.mark.parametrize("provider_id", [*REFRESHING, "wordpress"])
def test_what_is_imported_is_kept_fresh(world: World, provider_id: str) -> None:
    """Due at its time, spread, and a first check soon."""
    connected = world.connect(provider_id)
    row = world.row(connected)

    assert (row["status"], row["version"], row["refreshable"]) == ("active", 1, provider_id != "wordpress")
    assert timedelta(0) <= row["check_due_at"] - row["now"] + timedelta(seconds=5) <= timedelta(minutes=11)
    assert world.kinds(connected) == ["imported"]
    assert world.opens(connected)


def test_unknown_and_past_expiries_are_scheduled(world: World) -> None:
    """Unknown: refreshed within minutes, to learn it. Past: at once. Never, at WordPress: not at all."""
    grants = world.sim.mint("strict", 2, owner=world.owner)
    site = world.sim.mint("wordpress", owner=world.owner)[0]
    lines = [
        {**line_of(grants[0], "unknown", "strict"), "expires_at": None},
        {**line_of(grants[1], "past", "strict"), "expires_at": "2001-01-01T00:00:00Z"},
        line_of(site, "never", "wordpress"),
    ]
    world.import_lines(lines)

    rows = {
        row["user_id"]: row
        for row in world.rows(
            "SELECT c.user_id, t.*, now() AS now FROM tokens t JOIN connections c ON c.id = t.connection_id"
        )
    }
    assert rows["unknown"]["expires_at"] is None
    assert timedelta(0) <= rows["unknown"]["refresh_due_at"] - rows["unknown"]["now"] + timedelta(seconds=5)
    assert rows["unknown"]["refresh_due_at"] - rows["unknown"]["now"] <= timedelta(minutes=10)
    assert rows["past"]["refresh_due_at"] <= rows["past"]["now"]
    assert (rows["never"]["expires_at"], rows["never"]["refresh_due_at"]) == (None, None)


def test_a_second_import_keeps_credentials_and_updates_details(world: World) -> None:
    """Living credentials are left alone; scope and metadata are taken over."""
    connected = world.connect("strict")
    world.refresh(connected)
    anew = world.sim.mint("strict", owner=world.owner)[0]

    report, _ = world.import_lines(
        [{**line_of(anew, "user-1", "strict"), "scope": ["read", "write"], "metadata": {"plan": "b"}}]
    )

    row = world.row(connected)
    assert report.outcomes == {"kept": 1}
    assert (row["scope"], row["metadata"], row["version"]) == (["read", "write"], {"plan": "b"}, 2)
    assert world.opens(connected)


@pytest.mark.parametrize("status", ["needs_reauth", "disconnected", "active", "in_doubt"])
@pytest.mark.parametrize("replace", [False, True])
def test_new_credentials_are_taken_where_they_are_wanted(world: World, status: str, replace: bool) -> None:
    """By a connection that has none that work, or where the operator says so."""
    connected = world.connect("strict")
    if status == "needs_reauth":
        world.sim.revoke([connected.grant.grant_id])
        assert world.refresh(connected).outcome is Outcome.NEEDS_REAUTH
    elif status == "in_doubt":
        world.sim.fault("drop_after", dialect="strict")
        assert world.refresh(connected).code == "in_doubt"
    elif status == "disconnected":
        world.update("status = 'disconnected', refresh_due_at = NULL, check_due_at = NULL", connected)
    anew = world.sim.mint("strict", owner=world.owner)[0]

    report, _ = world.import_lines([line_of(anew, "user-1", "strict")], replace=replace)

    taken = replace or status in ("needs_reauth", "disconnected")
    assert report.outcomes == {"replaced" if taken else "kept": 1}
    if taken:
        row = world.row(connected)
        assert (row["status"], row["failures"], row["reauth_reason"]) == (Status.ACTIVE, 0, None)
        assert row["first_presented_at"] is None
        assert world.alerts() == []
        world.update("refresh_due_at = now()", connected)
        assert world.refresh(connected).outcome is Outcome.REFRESHED
        assert world.sim.grant(anew.grant_id)["presentations"] == 1


@pytest.mark.parametrize("replace", [False, True])
def test_a_spent_refresh_token_is_always_refused(world: World, replace: bool) -> None:
    """The first file, imported again after a rotation, would kill the grant if it were believed."""
    connected = world.connect("strict")
    world.refresh(connected)
    line = {**line_of(connected.grant, "user-1", "strict"), "metadata": {"plan": "c"}}

    report, rejected = world.import_lines([line], replace=replace)

    assert report.outcomes == {}
    assert rejected == [Rejected(1, rejected[0].reason)]
    assert "spent" in rejected[0].reason
    assert str(connected.grant.refresh_token) not in rejected[0].reason
    assert world.opens(connected)
    world.update("refresh_due_at = now()", connected)
    assert world.refresh(connected).outcome is Outcome.REFRESHED
    assert world.sim.incidents() == []


def test_a_spent_token_of_a_dead_connection_is_refused_too(world: World) -> None:
    """Even a connection that needs new credentials does not take old ones."""
    connected = world.connect("strict")
    world.refresh(connected)
    world.sim.revoke([connected.grant.grant_id])
    world.update("refresh_due_at = now()", connected)
    assert world.refresh(connected).outcome is Outcome.NEEDS_REAUTH

    _, rejected = world.import_lines([line_of(connected.grant, "user-1", "strict")])

    assert len(rejected) == 1
    assert world.row(connected)["status"] == Status.NEEDS_REAUTH


def test_one_key_twice_in_a_file_is_one_connection(world: World) -> None:
    """The second line finds what the first one made."""
    first, second = world.sim.mint("strict", 2, owner=world.owner)

    report, _ = world.import_lines([line_of(grant, "twice", "strict") for grant in (first, second)])

    assert report.outcomes == {"created": 1, "kept": 1}
    assert len(world.rows("SELECT 1 FROM connections")) == 1


def test_accounts_are_apart(world: World) -> None:
    """One user, one provider, two accounts: two connections; no account is the empty one."""
    first, second = world.sim.mint("strict", 2, owner=world.owner)
    lines = [line_of(first, "u", "strict"), line_of(second, "u", "strict", "second")]
    del lines[0]["account_id"]

    report, _ = world.import_lines(lines)

    assert report.outcomes == {"created": 2}
    assert world.services.tokens.find("u", "strict", "") != world.services.tokens.find(
        "u", "strict", "second"
    )


@pytest.mark.acceptance
def test_a_hundred_thousand_lines_take_constant_memory(world: World) -> None:
    """The second half of the file costs no memory that the first did not, and progress adds up."""
    number, services = 100_000, world.services
    warm = _import(services, _many(0, 10_000))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    done, read = _import(services, _many(10_000, number))
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before

    assert warm[0] + done == number
    assert read == sum(len(line) for line in _many(10_000, number))
    assert grown < 20 * 1024, f"{grown} KiB"
    assert world.rows("SELECT count(*) AS number FROM tokens")[0]["number"] == number


def _many(first: int, last: int) -> Iterator[bytes]:
    for number in range(first, last):
        yield (
            bent(user_id=f"user-{number}", access_token=f"at-{number}", refresh_token=f"rt-{number}") + b"\n"
        )


def _import(services: Services, lines: Iterator[bytes]) -> tuple[int, int]:
    read: list[int] = []
    report = services.importer.run(
        lines, replace=False, on_rejected=lambda line: pytest.fail(line.reason), on_progress=read.append
    )
    return report.outcomes["created"], sum(read)
