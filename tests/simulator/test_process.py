"""The simulator as a process: its control interface, its memory, its start and its end."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from simulator.client import SimulatorClient, SimulatorError
from simulator.process import SimulatorProcess
from tests.simulator.speaking import at_once, provider
from tests.support.waiting import eventually


def test_it_survives_kill_nine(tmp_path: Path) -> None:
    """Killed and restarted on its journal, it knows every token, spent ones too, and every count."""
    journal = tmp_path / "journal"
    first = SimulatorProcess(journal=journal)
    first.client.configure("window", window="until_successor_used", latency=3)
    with provider(first, "strict") as strict, provider(first, "window") as window:
        spent, revoked, kept = strict.mint(), strict.mint(lifetime=[60, 120]), window.mint()
        successor = strict.refresh(spent).json()["refresh_token"]
        window.refresh(kept)
        first.client.revoke([revoked.grant_id])
        strict.check(spent.access_token)
        window.refresh(kept, client_secret="wrong")
    before = first.client.report()
    history = first.client.grant(spent.grant_id, tokens=True)
    first.kill()

    with SimulatorProcess(journal=journal, port=first.port) as second:
        after = second.client.report()
        assert before["dialects"] == after["dialects"]
        assert history == second.client.grant(spent.grant_id, tokens=True)
        assert second.client.dialects()["window"]["settings"]["latency"] == 3
        with provider(second, "strict") as strict, provider(second, "window") as window:
            assert window.refresh(kept).status_code == 200
            assert strict.refresh(revoked).status_code == 400
            assert strict.refresh(spent, successor).status_code == 200
            assert strict.refresh(spent).status_code == 400
            assert strict.report()["reuse"] == 1
    assert stat.S_IMODE(journal.stat().st_mode) == 0o600


def test_a_journal_line_cut_by_a_crash_is_left_out(tmp_path: Path) -> None:
    """Half a last line is ignored, and the journal goes on from there."""
    journal = tmp_path / "journal"
    with SimulatorProcess(journal=journal) as first:
        first.client.mint("strict", 3)
    with journal.open("ab") as file:
        file.write(b'["kill","strict",0,"rev')

    for expected in (4, 5):
        with SimulatorProcess(journal=journal) as again:
            again.client.mint("strict")
            assert again.client.report()["total"]["grants"]["alive"] == expected


def test_a_journal_belongs_to_one_process(tmp_path: Path) -> None:
    """A second simulator on a journal is refused with a clear word, as is a file that is no journal."""
    journal, letter = tmp_path / "journal", tmp_path / "letter"
    letter.write_text("Dear journal,\n")
    with SimulatorProcess(journal=journal):
        with pytest.raises(SimulatorError, match="in use by another simulator"):
            SimulatorProcess(journal=journal)
        with pytest.raises(SimulatorError, match="not a simulator's journal"):
            SimulatorProcess(journal=letter)
    assert letter.read_text() == "Dear journal,\n"


def test_no_token_stands_in_the_journal(tmp_path: Path) -> None:
    """The journal holds the key and the facts, and no token."""
    journal = tmp_path / "journal"
    with SimulatorProcess(journal=journal) as process, provider(process, "strict") as speaker:
        speaker.refresh(speaker.mint())

    text = journal.read_text()
    assert '"issue"' in text
    assert "sim-rt-" not in text
    assert "sim-at-" not in text


def test_it_says_that_it_is_a_simulator(tmp_path: Path) -> None:
    """One line on stdout with word and address, the port in the file, status 0 on each stop signal."""
    for stop in (signal.SIGTERM, signal.SIGINT):
        port_file = tmp_path / f"port-{stop.value}"
        command = [sys.executable, "-m", "simulator", "--port-file", str(port_file)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        eventually(port_file.exists)
        port = port_file.read_text().strip()
        with socket.create_connection(("127.0.0.1", int(port)), timeout=30):
            process.send_signal(stop)
            said, complaints = process.communicate(timeout=30)

        assert said == f"SIMULATOR of OAuth providers (not a real one) on http://127.0.0.1:{port}\n"
        assert (process.returncode, complaints) == (0, "")


def test_a_stop_does_not_wait_for_a_hang() -> None:
    """SIGTERM ends it at once, whatever hangs or waits in it."""
    with SimulatorProcess() as process, provider(process, "strict") as speaker:
        process.client.fault("hang_before", dialect="strict", seconds=300)
        grant = speaker.mint()
        with pytest.raises(httpx2.HTTPError):
            at_once(lambda: speaker.refresh(grant), lambda: _stop_when_hanging(process))

        assert process.process.returncode == 0


def _stop_when_hanging(process: SimulatorProcess) -> httpx2.Response:
    eventually(lambda: process.client.report()["total"]["under_way"] == 1)
    process.stop()
    return httpx2.Response(200)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--port", "70000"), "--port"),
        (("--control-token-env", "NO_SUCH_VARIABLE_HERE"), "NO_SUCH_VARIABLE_HERE"),
        (("--keep-alive-seconds", "-1"), "--keep-alive-seconds"),
        (("--history", "0"), "--history"),
    ],
)
def test_wrong_words_end_with_status_two(arguments: tuple[str, ...], named: str) -> None:
    """A wrong argument is named on stderr, with status 2."""
    command = [sys.executable, "-m", "simulator", *arguments]

    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert ended.returncode == 2
    assert named in ended.stderr


def test_a_port_in_use_is_said(simulator: SimulatorProcess) -> None:
    """A port that is taken ends it with status 1 and the address."""
    with pytest.raises(SimulatorError, match=r"(?s)status 1.*address already in use"):
        SimulatorProcess(port=simulator.port)


def test_the_control_interface_asks_for_its_token(simulator: SimulatorProcess) -> None:
    """Without the token nothing but the health answer is given, and no other order is followed."""
    stranger = SimulatorClient(simulator.base_url)

    assert stranger.healthy()
    for order in (stranger.report, stranger.dialects, stranger.clear_faults, lambda: stranger.mint("strict")):
        with pytest.raises(SimulatorError, match="control token"):
            order()


def test_it_mints_a_hundred_thousand_while_serving(simulator: SimulatorProcess) -> None:
    """100,000 grants in one call, each its own tokens; meanwhile requests are answered."""
    with provider(simulator, "google") as speaker:
        grant = speaker.mint()
        order = {"dialect": "bing", "count": 100_000, "lifetime": [60, 120], "owner": "crowd"}

        answers = at_once(
            lambda: httpx2.Response(200, json=simulator.client.call("POST", "grants", order)),
            *[lambda: speaker.refresh(grant)] * 3,
        )

        grants = answers[0].json()["grants"]
        assert [answer.status_code for answer in answers[1:]] == [200, 200, 200]
        assert len({row["refresh_token"] for row in grants}) == 100_000
        assert set(range(60, 121)) >= {row["expires_in"] for row in grants}
        assert len({row["user"] for row in grants}) == 100_000
        assert simulator.client.report(owner="crowd")["total"]["grants"]["alive"] == 100_000


def test_random_revocation_hits_as_many_as_asked(simulator: SimulatorProcess) -> None:
    """So many living grants of the owner die, the same for the same seed."""
    ids = [grant.grant_id for grant in simulator.client.mint("window", 50, owner="lottery")]

    revoked = simulator.client.revoke_random("window", 20, owner="lottery", seed=1)

    assert 20 == len(set(revoked)) == len(set(revoked) & set(ids))
    grants = simulator.client.report(owner="lottery")["dialects"]["window"]["grants"]
    assert (50, 30, set(revoked)) == (grants["minted"], grants["alive"], set(grants["dead_ids"]["revoked"]))
    assert len(simulator.client.revoke_random("window", 99, owner="lottery")) == 30


def test_bad_orders_are_named(simulator: SimulatorProcess) -> None:
    """What is wrong with an order stands in the answer."""
    client = simulator.client
    for call, named in (
        (lambda: client.mint("nobody"), "nobody"),
        (lambda: client.mint("strict", lifetime=0), "lifetime"),
        (lambda: client.mint("strict", flavour="x"), "flavour"),
        (lambda: client.configure("strict", rotation="sideways"), "rotation"),
        (lambda: client.configure("strict", latency={"p50": 9, "p99": 1}), "latency"),
        (lambda: client.grant("strict-99999999"), "strict-99999999"),
        (lambda: client.revoke(["nonsense"]), "nonsense"),
        (lambda: client.call("GET", "nothing"), "nothing"),
        (lambda: client.call("PATCH", "dialects/strict", [1]), "object"),
    ):
        with pytest.raises(SimulatorError, match=named):
            call()


def test_total_is_the_sum_of_the_dialects(simulator: SimulatorProcess) -> None:
    """Each figure of the total is what the dialects' add up to."""
    for dialect in ("google", "bing", "strict", "wix-app"):
        with provider(simulator, dialect) as speaker:
            grant = speaker.mint()
            speaker.refresh(grant)
            speaker.refresh(grant)
            speaker.check(grant.access_token)

    report = simulator.client.report()

    for name in ("token_requests", "presentations", "refreshed", "reuse", "checks", "answered", "unanswered"):
        assert report["total"][name] == sum(section[name] for section in report["dialects"].values())
    assert tuple(report["total"][name] for name in ("presentations", "refreshed", "reuse")) == (8, 7, 1)
    assert report["total"]["token_requests"] == sum(report["total"]["results"].values())


def test_malformed_and_pipelined_http(simulator: SimulatorProcess) -> None:
    """Two requests in one packet are both answered in order; what is no HTTP gets 400 and a close."""
    request = b"GET /_sim/healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    with socket.create_connection(("127.0.0.1", simulator.port), timeout=30) as client:
        client.sendall(request + request)
        received = b""
        while received.count(b'"status":"ok"') < 2:
            received += client.recv(4096)
        client.sendall(b"\x00\x01 nonsense\r\n\r\n")
        assert client.recv(4096).startswith(b"HTTP/1.1 400")
        assert client.recv(4096) == b""


def test_nothing_of_the_product_is_imported() -> None:
    """Started alone, the simulator has loaded no package of the product and no HTTP client."""
    code = (
        "import sys, json, simulator.__main__, simulator.process;"
        "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    )

    loaded = json.loads(subprocess.check_output([sys.executable, "-c", code], env=dict(os.environ)))

    ours = {"domain", "providers", "storage", "services", "tasks", "workers"}
    assert set() == (ours | {"httpx2", "authlib", "sqlalchemy", "celery", "pydantic"}) & set(loaded)
