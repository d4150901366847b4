"""Rotation, reuse, replay windows, and who presented what at the same time."""

from __future__ import annotations

import threading
import time

import pytest

from simulator.process import SimulatorProcess
from tests.simulator.speaking import at_once, provider
from tests.support.waiting import eventually


def test_strict_reuse_kills_the_grant_with_all_its_tokens(simulator: SimulatorProcess) -> None:
    """A spent token is refused, and from then on neither its successor nor any access token works."""
    with provider(simulator, "strict") as speaker:
        grant = speaker.mint()
        successor = speaker.refresh(grant).json()

        reuse = speaker.refresh(grant)

        assert (reuse.status_code, reuse.json()["error"]) == (400, "invalid_grant")
        assert speaker.check(successor["access_token"]).status_code == 401
        assert speaker.check(grant.access_token).status_code == 401
        assert speaker.refresh(grant, successor["refresh_token"]).json()["error"] == "invalid_grant"
        report = speaker.report()
        assert report["results"] == {"refreshed": 1, "reuse": 1, "dead": 1}
        assert grant.grant_id in report["grants"]["dead_ids"]["reuse"]
        assert simulator.client.grant(grant.grant_id)["dead_reason"] == "reuse"


def test_a_chain_of_rotations_lives(simulator: SimulatorProcess) -> None:
    """Presenting each successor once goes on for ever, and the history says which generation came when."""
    with provider(simulator, "strict") as speaker:
        grant = speaker.mint()
        token = grant.refresh_token
        for _ in range(5):
            token = speaker.refresh(grant, token).json()["refresh_token"]

        shown = simulator.client.grant(grant.grant_id, tokens=True)

        assert [item["generation"] for item in shown["history"]] == [0, 1, 2, 3, 4]
        assert all(item["started_at"] <= item["ended_at"] for item in shown["history"])
        assert {"refreshed"} == {item["result"] for item in shown["history"]}
        assert (token, 5, True) == (shown["refresh_token"], shown["presentations"], shown["alive"])
        assert simulator.client.incidents() == []


def test_reuse_without_punishment_is_only_refused(simulator: SimulatorProcess) -> None:
    """With reuse_kills off a spent token is refused and counted, and the successor still works."""
    simulator.client.configure("strict", reuse_kills=False)
    with provider(simulator, "strict") as speaker:
        grant = speaker.mint()
        successor = speaker.refresh(grant).json()["refresh_token"]

        assert speaker.refresh(grant).status_code == 400
        assert speaker.refresh(grant, successor).status_code == 200
        assert speaker.report()["reuse"] == 1


def test_inside_the_window_a_replay_gets_the_same_successor(simulator: SimulatorProcess) -> None:
    """The previous token may come again: same refresh token, fresh access token, grant alive."""
    with provider(simulator, "window") as speaker:
        grant = speaker.mint()
        first = speaker.refresh(grant).json()

        replay = speaker.refresh(grant).json()

        assert first["refresh_token"] == replay["refresh_token"]
        assert first["access_token"] != replay["access_token"]
        assert speaker.refresh(grant, replay["refresh_token"]).status_code == 200
        report = speaker.report()
        assert (report["refreshed"], report["window_replays"], report["reuse"]) == (2, 1, 0)
        assert [item["kind"] for item in simulator.client.incidents()] == ["window_replay"]


def test_outside_the_window_reuse_kills(simulator: SimulatorProcess) -> None:
    """A window of no length is shut at once: the same replay is reuse."""
    simulator.client.configure("window", window=0)
    with provider(simulator, "window") as speaker:
        grant = speaker.mint()
        successor = speaker.refresh(grant).json()["refresh_token"]

        assert speaker.refresh(grant).status_code == 400
        assert speaker.refresh(grant, successor).status_code == 400
        assert simulator.client.grant(grant.grant_id)["dead_reason"] == "reuse"


def test_a_window_shuts_by_itself(simulator: SimulatorProcess) -> None:
    """A replay works, and once the window's seconds have passed since the rotation, the next is reuse."""
    simulator.client.configure("window", window=1.5)
    with provider(simulator, "window") as speaker:
        grant = speaker.mint()
        before = time.time()
        speaker.refresh(grant)
        assert speaker.refresh(grant).status_code == 200

        eventually(lambda: time.time() > before + 2.5, what="the window's end")

        assert speaker.refresh(grant).status_code == 400
        assert speaker.report()["reuse"] == 1


def test_the_token_before_the_previous_has_no_window(simulator: SimulatorProcess) -> None:
    """Only the immediately previous token is forgiven."""
    with provider(simulator, "window") as speaker:
        grant = speaker.mint()
        speaker.refresh(grant, speaker.refresh(grant).json()["refresh_token"])

        assert speaker.refresh(grant).status_code == 400
        assert simulator.client.grant(grant.grant_id)["dead_reason"] == "reuse"


@pytest.mark.parametrize("use", ["check", "refresh"])
def test_until_the_successor_is_used(simulator: SimulatorProcess, use: str) -> None:
    """Replays are forgiven until the new access token or the new refresh token comes back."""
    simulator.client.configure("window", window="until_successor_used")
    with provider(simulator, "window") as speaker:
        grant = speaker.mint()
        speaker.refresh(grant)
        successor = speaker.refresh(grant).json()
        assert speaker.check(grant.access_token).status_code == 200
        assert speaker.refresh(grant).status_code == 200

        if use == "check":
            speaker.check(successor["access_token"])
        else:
            speaker.refresh(grant, successor["refresh_token"])

        assert speaker.refresh(grant).status_code == 400


def test_unlimited_replay(simulator: SimulatorProcess) -> None:
    """With no limit any older token still leads to the current successor."""
    simulator.client.configure("window", window="unlimited")
    with provider(simulator, "window") as speaker:
        grant = speaker.mint()
        current = speaker.refresh(grant, speaker.refresh(grant).json()["refresh_token"]).json()

        assert speaker.refresh(grant).json()["refresh_token"] == current["refresh_token"]


def test_concurrent_presentations_are_counted(simulator: SimulatorProcess) -> None:
    """Two presentations at once count as one concurrent pair, and on a strict provider they are fatal."""
    simulator.client.configure("strict", latency=700)
    with provider(simulator, "strict") as speaker:
        grant = speaker.mint()

        answers = at_once(lambda: speaker.refresh(grant), lambda: speaker.refresh(grant))

        assert sorted(answer.status_code for answer in answers) == [200, 400]
        report = speaker.report()
        assert (report["presentations"], report["concurrent_presentations"], report["reuse"]) == (2, 1, 1)
        shown = simulator.client.grant(grant.grant_id)
        assert sorted(item["concurrent"] for item in shown["history"]) == [False, True]
        assert {"concurrent", "reuse"} == {item["kind"] for item in simulator.client.incidents()}


def test_presentations_of_different_grants_are_not_concurrent(simulator: SimulatorProcess) -> None:
    """Many grants presented at once are no concurrency, and neither is one grant presented in turn."""
    simulator.client.configure("google", latency=200)
    with provider(simulator, "google") as speaker:
        one, other = speaker.mint(), speaker.mint()

        at_once(lambda: speaker.refresh(one), lambda: speaker.refresh(other))
        speaker.refresh(one)

        report = speaker.report()
        assert (report["presentations"], report["concurrent_presentations"]) == (3, 0)
        assert report["max_presentations_of_one_grant"] == 2


def test_a_presentation_outlives_its_client(simulator: SimulatorProcess) -> None:
    """A provider works on when its client hangs up: the next presentation is concurrent, then reuse."""
    simulator.client.configure("strict", latency=1500)
    with provider(simulator, "strict") as speaker, provider(simulator, "strict", timeout=0.3) as hasty:
        grant = speaker.mint()
        with pytest.raises(Exception, match="timed out"):
            hasty.refresh(grant)

        late = speaker.refresh(grant)

        assert late.status_code == 400
        report = speaker.report()
        assert (report["concurrent_presentations"], report["reuse"], report["unanswered"]) == (1, 1, 1)


def test_what_is_under_way_shows_in_the_report(simulator: SimulatorProcess) -> None:
    """A presentation that is not answered yet is under way, and is counted when it is over."""
    simulator.client.configure("strict", latency=1000)
    with provider(simulator, "strict") as speaker:
        grant = speaker.mint()
        thread = threading.Thread(target=speaker.refresh, args=(grant,))
        thread.start()

        eventually(lambda: speaker.report()["under_way"] == 1)
        assert speaker.report()["presentations"] == 0
        thread.join()

        assert (speaker.report()["under_way"], speaker.report()["presentations"]) == (0, 1)


def test_latency_is_drawn_as_told(simulator: SimulatorProcess) -> None:
    """A fixed latency delays every answer; checks may have one of their own."""
    simulator.client.configure("google", latency={"p50": 300, "p99": 300}, check_latency=0)
    with provider(simulator, "google") as speaker:
        grant = speaker.mint()
        started = time.monotonic()
        speaker.refresh(grant)
        refreshed = time.monotonic()
        speaker.check(grant.access_token)

        assert refreshed - started >= 0.3
        shown = simulator.client.grant(grant.grant_id)["history"][0]
        assert shown["ended_at"] - shown["started_at"] >= 0.29


def test_the_rate_limit_says_how_long_to_wait(simulator: SimulatorProcess) -> None:
    """Above the limit the token endpoint answers 429 with Retry-After, and Bing's API ThrottleUser."""
    simulator.client.configure("bing", rate_limit=0.001, retry_after=7)
    with provider(simulator, "bing") as speaker:
        grant = speaker.mint()
        assert speaker.refresh(grant).status_code == 200

        throttled, checked = speaker.refresh(grant), speaker.check(grant.access_token)

        assert (throttled.status_code, throttled.headers["retry-after"]) == (429, "7")
        assert (checked.status_code, checked.json()["ErrorCode"]) == (400, 4)
        assert speaker.report()["results"] == {"refreshed": 1, "rate_limited": 1}
