"""Every kind of fault, as a client sees it on its socket and as the provider counts it."""

from __future__ import annotations

import json
import socket
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx2
import pytest

from simulator.client import MintedGrant, SimulatorError
from simulator.faults import KINDS
from simulator.process import SimulatorProcess
from tests.simulator.speaking import Provider, provider
from tests.support.waiting import eventually


def generation(speaker: Provider, grant: MintedGrant) -> int:
    """How often the provider has rotated the grant, whatever the client saw."""
    return int(speaker.simulator.client.grant(grant.grant_id)["generation"])


def test_status_with_retry_after_in_seconds(simulator: SimulatorProcess) -> None:
    """A 429 with Retry-After in seconds, once; the provider did nothing, and the next call works."""
    simulator.client.fault("status", dialect="strict", status=429, retry_after=30)
    with provider(simulator, "strict") as speaker:
        grant = speaker.mint()

        throttled = speaker.refresh(grant)

        assert (throttled.status_code, throttled.headers["retry-after"]) == (429, "30")
        assert generation(speaker, grant) == 0
        assert speaker.refresh(grant).status_code == 200
        assert speaker.report()["results"] == {"fault:status": 1, "refreshed": 1}
        assert speaker.report()["faults"] == {"status": {"applied": 1, "answered": 1, "dropped": 0}}


def test_status_with_retry_after_as_date(simulator: SimulatorProcess) -> None:
    """Retry-After may be an HTTP-date in the future."""
    simulator.client.fault("status", status=503, retry_after=120, retry_after_as="date")
    with provider(simulator, "google") as speaker:
        unavailable = speaker.refresh(speaker.mint())

        at = parsedate_to_datetime(unavailable.headers["retry-after"])
        assert 60 < (at - datetime.now(UTC)).total_seconds() <= 120


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_server_errors(simulator: SimulatorProcess, status: int) -> None:
    """Any 5xx, with an HTML page or an OAuth error code."""
    simulator.client.fault("status", status=status)
    simulator.client.fault("status", status=status, error="temporarily_unavailable")
    with provider(simulator, "google") as speaker:
        grant = speaker.mint()

        page, coded = speaker.refresh(grant), speaker.refresh(grant)

        assert (status, status) == (page.status_code, coded.status_code)
        assert page.headers["content-type"] == "text/html"
        assert coded.json() == {"error": "temporarily_unavailable"}


@pytest.mark.parametrize("kind", ["drop_before", "drop_after"])
@pytest.mark.parametrize("reset", [False, True], ids=["fin", "rst"])
def test_dropped_connections(simulator: SimulatorProcess, kind: str, reset: bool) -> None:
    """The connection closes without a byte; only drop_after has rotated the token."""
    simulator.client.fault(kind, dialect="strict", reset=reset)
    with provider(simulator, "strict") as speaker:
        grant = speaker.mint()
        with pytest.raises(httpx2.ReadError if reset else httpx2.RemoteProtocolError):
            speaker.refresh(grant)

        assert generation(speaker, grant) == (1 if kind == "drop_after" else 0)
        report = eventually(lambda: speaker.report() if speaker.report()["unanswered"] else None)
        assert report is not None
        assert report["faults"][kind] == {"applied": 1, "answered": 0, "dropped": 1}


def test_hang_before(simulator: SimulatorProcess) -> None:
    """The provider sits on the request, outlives the client's patience, and then rotates all the same."""
    simulator.client.fault("hang_before", dialect="strict", seconds=1.0)
    with provider(simulator, "strict", timeout=0.3) as speaker:
        grant = speaker.mint()
        with pytest.raises(httpx2.ReadTimeout):
            speaker.refresh(grant)

        assert generation(speaker, grant) == 0
        assert speaker.report()["under_way"] == 1
        eventually(lambda: generation(speaker, grant) == 1)
        assert speaker.report()["faults"]["hang_before"] == {"applied": 1, "answered": 0, "dropped": 1}


def test_hang_after(simulator: SimulatorProcess) -> None:
    """The provider rotates at once and then keeps the answer; it lets go when the client does."""
    simulator.client.fault("hang_after", dialect="strict", seconds=60)
    with provider(simulator, "strict", timeout=0.3) as speaker:
        grant = speaker.mint()
        with pytest.raises(httpx2.ReadTimeout):
            speaker.refresh(grant)

        assert generation(speaker, grant) == 1
        eventually(lambda: speaker.report()["under_way"] == 0, seconds=20)
        assert speaker.report()["results"] == {"refreshed": 1}
        assert speaker.report()["unanswered"] == 1


@pytest.mark.parametrize("kind", ["hang_before", "hang_after"])
def test_a_hang_that_ends_in_time_is_answered(simulator: SimulatorProcess, kind: str) -> None:
    """A patient client gets the answer after the hang."""
    simulator.client.fault(kind, seconds=0.4)
    with provider(simulator, "strict") as speaker:
        started = time.monotonic()

        answer = speaker.refresh(speaker.mint())

        assert answer.status_code == 200
        assert time.monotonic() - started >= 0.4


def test_error_in_200(simulator: SimulatorProcess) -> None:
    """A 200 whose body is an error; nothing was done."""
    simulator.client.fault("error_in_200", dialect="strict", error="bad_refresh_token")
    with provider(simulator, "strict") as speaker:
        grant = speaker.mint()

        answer = speaker.refresh(grant)

        assert (answer.status_code, answer.json()["error"]) == (200, "bad_refresh_token")
        assert generation(speaker, grant) == 0


def test_invalid_json(simulator: SimulatorProcess) -> None:
    """A complete HTTP answer whose JSON stops in the middle, after the rotation."""
    simulator.client.fault("invalid_json", dialect="strict")
    with provider(simulator, "strict") as speaker:
        grant = speaker.mint()

        answer = speaker.refresh(grant)

        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
        with pytest.raises(json.JSONDecodeError):
            answer.json()
        assert generation(speaker, grant) == 1


def test_truncated_body(simulator: SimulatorProcess) -> None:
    """The connection ends before the announced length, after the rotation."""
    simulator.client.fault("truncated_body", dialect="strict")
    with provider(simulator, "strict") as speaker:
        grant = speaker.mint()
        with pytest.raises(httpx2.RemoteProtocolError):
            speaker.refresh(grant)

        assert generation(speaker, grant) == 1
        assert speaker.report()["unanswered"] == 1


def test_wrong_content_type(simulator: SimulatorProcess) -> None:
    """The right JSON under the wrong name, after the rotation."""
    simulator.client.fault("wrong_content_type", dialect="strict")
    with provider(simulator, "strict") as speaker:
        grant = speaker.mint()

        answer = speaker.refresh(grant)

        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert answer.json()["refresh_token"].startswith("sim-rt-strict-")
        assert generation(speaker, grant) == 1


def test_slow_drip(simulator: SimulatorProcess) -> None:
    """The body comes in drips that reset every read timeout; the whole takes as long as the rate says."""
    simulator.client.fault("slow_drip", dialect="strict", bytes_per_second=200)
    with provider(simulator, "strict", timeout=0.8) as speaker:
        started = time.monotonic()

        answer = speaker.refresh(speaker.mint())

        seconds = time.monotonic() - started
        assert seconds >= len(answer.content) / 200
        assert seconds > 0.8
        assert speaker.report()["faults"]["slow_drip"]["answered"] == 1


def test_redirect(simulator: SimulatorProcess) -> None:
    """A redirect to elsewhere, where following it would carry the token, and where it is counted."""
    simulator.client.fault("redirect", dialect="strict", status=308, count=2)
    with provider(simulator, "strict") as speaker:
        grant = speaker.mint()

        redirected = speaker.refresh(grant)
        assert (redirected.status_code, redirected.headers["location"]) == (308, "/elsewhere/strict")
        assert speaker.report()["elsewhere"] == 0
        speaker.http.follow_redirects = True
        speaker.refresh(grant)

        assert speaker.report()["elsewhere"] == 1
        assert generation(speaker, grant) == 0


def test_a_location_with_a_line_break_is_refused(simulator: SimulatorProcess) -> None:
    """A header cannot be split by what a fault is told."""
    with pytest.raises(SimulatorError, match="location"):
        simulator.client.fault("redirect", location="/x\r\nSet-Cookie: y")


@pytest.mark.parametrize(("kind", "status"), [("invalid_grant", 400), ("invalid_client", 401)])
def test_spurious_refusals_leave_the_grant_alive(simulator: SimulatorProcess, kind: str, status: int) -> None:
    """A refusal that is not true looks like a true one, and the same token works afterwards."""
    simulator.client.fault(kind, dialect="window")
    with provider(simulator, "window") as speaker:
        grant = speaker.mint()

        refused = speaker.refresh(grant)

        assert (status, kind) == (refused.status_code, refused.json()["error"])
        assert speaker.refresh(grant).status_code == 200


def test_bing_says_18_once(simulator: SimulatorProcess) -> None:
    """A valid token gets InvalidToken once and is accepted on the next call."""
    simulator.client.fault("provider_error", dialect="bing", endpoint="check", code=18)
    with provider(simulator, "bing") as speaker:
        grant = speaker.mint()

        first, second = speaker.check(grant.access_token), speaker.check(grant.access_token)

        assert (first.status_code, first.json()["ErrorCode"]) == (400, 18)
        assert second.status_code == 200
        assert speaker.report()["check_results"] == {"fault:provider_error": 1, "ok": 1}


def test_not_http(simulator: SimulatorProcess) -> None:
    """Bytes that are no HTTP at all, after the rotation."""
    simulator.client.fault("not_http", dialect="strict")
    with provider(simulator, "strict") as speaker:
        grant = speaker.mint()
        with pytest.raises(httpx2.RemoteProtocolError):
            speaker.refresh(grant)

        assert generation(speaker, grant) == 1


def test_faults_choose_their_victims(simulator: SimulatorProcess) -> None:
    """A fault waits for its dialect, endpoint, grant or owner, and strikes as often as it says."""
    with provider(simulator, "google") as google, provider(simulator, "strict") as strict:
        target, other, owned = google.mint(), google.mint(), strict.mint(owner="them")
        simulator.client.fault("status", status=500, grant_id=target.grant_id, count=2)
        simulator.client.fault("status", status=502, owner="them", count=None)

        assert google.check(target.access_token).status_code == 200
        assert google.refresh(other).status_code == 200
        assert [google.refresh(target).status_code for _ in range(3)] == [500, 500, 200]
        assert [strict.refresh(owned).status_code for _ in range(4)] == [502] * 4
        assert strict.refresh(strict.mint()).status_code == 200
        assert simulator.client.clear_faults() == 1
        assert strict.refresh(owned).status_code == 200


def test_a_seed_repeats_the_dice(simulator: SimulatorProcess) -> None:
    """With the same seed a fault of probability one half strikes the same requests again."""
    with provider(simulator, "google") as speaker:
        grant = speaker.mint()
        rounds = []
        for _ in range(2):
            simulator.client.fault("status", status=500, count=None, probability=0.5, seed=7)
            rounds.append([speaker.refresh(grant).status_code for _ in range(20)])
            simulator.client.clear_faults()

        assert rounds[0] == rounds[1]
        assert {200, 500} == set(rounds[0])


def test_orders_that_do_not_fit_are_named(simulator: SimulatorProcess) -> None:
    """An unknown kind, a missing or an unfit parameter is refused with its name, and nothing is queued."""
    for kind, order, named in (
        ("explode", {}, "kind"),
        ("hang_before", {}, "seconds"),
        ("status", {"status": 200}, "status"),
        ("status", {"colour": "red"}, "colour"),
        ("status", {"probability": 2}, "probability"),
        ("status", {"dialect": "nobody"}, "dialect"),
    ):
        with pytest.raises(SimulatorError, match=named):
            simulator.client.fault(kind, **order)
    assert simulator.client.faults() == []


def test_every_kind_keeps_the_books(simulator: SimulatorProcess) -> None:
    """After one fault of each kind the report adds up and nothing is under way."""
    needed: dict[str, dict[str, object]] = {
        "hang_before": {"seconds": 0.1},
        "hang_after": {"seconds": 0.1},
        "slow_drip": {"bytes_per_second": 2000},
        "provider_error": {"code": 1},
    }
    with provider(simulator, "strict") as speaker:
        for kind in KINDS:
            simulator.client.fault(kind, dialect="strict", **needed.get(kind, {}))
            try:
                speaker.refresh(speaker.mint())
            except httpx2.HTTPError:
                continue

        report = eventually(
            lambda: speaker.report() if speaker.report()["token_requests"] == len(KINDS) else None
        )

        assert report is not None
        assert report["under_way"] == 0
        assert len(KINDS) == report["presentations"] == sum(report["results"].values())
        assert set(KINDS) == set(report["faults"])
        assert report["answered"] == sum(fault["answered"] for fault in report["faults"].values())


def test_an_idle_connection_is_closed() -> None:
    """A connection that idles longer than the limit is closed by the server without a word."""
    with (
        SimulatorProcess(arguments=("--keep-alive-seconds", "0.5")) as short,
        socket.create_connection(("127.0.0.1", short.port), timeout=30) as client,
    ):
        client.sendall(b"GET /_sim/healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.recv(4096).startswith(b"HTTP/1.1 200")

        assert client.recv(4096) == b""
