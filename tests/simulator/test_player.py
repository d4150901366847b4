"""The player takes what its exchange insists on, and refuses everything else with the reason."""

from __future__ import annotations

import json
from base64 import b64encode, urlsafe_b64decode
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from simulator.playing.known import Known
from simulator.playing.player import Played, Player
from simulator.playing.transcript import Exchange

REFRESH: dict[str, Any] = {
    "name": "a refresh",
    "on": "token",
    "grant": "refresh_token",
    "source": "https://acme.example/docs",
    "request": {
        "method": "POST",
        "url": "https://acme.example/oauth/token?v=2",
        "client_auth": "basic",
        "body_format": "form",
        "fields": {"grant_type": "refresh_token", "refresh_token": "*", "audience": "api"},
        "absent": ["redirect_uri"],
        "headers": {"X-Version": "7"},
    },
    "answer": {
        "status": 200,
        "headers": {"X-Kind": "token", "Date": "Sun, 01 Mar 2026 12:00:00 GMT"},
        "body": '{"access_token": "{access_token}", "id_token": "{id_token:{"sub": "{me}"}}"}',
    },
    "means": {"outcome": "tokens"},
}


def exchange(**request: Any) -> Exchange:
    """The refresh above, with changes to what it insists on."""
    table = {**REFRESH, "request": {**REFRESH["request"], **request}}
    return Exchange.model_validate_json(json.dumps(table))


@pytest.fixture(scope="module")
def player() -> Iterator[Player]:
    with Player() as playing:
        yield playing


class Client:
    """Sends the refresh rightly, but for what a test changes."""

    def __init__(self, player: Player, known: Known) -> None:
        self.player, self.known = player, known
        self.method, self.path, self.query = "POST", "/acme.example/oauth/token", {"v": "2"}
        self.fields: Any = {
            "grant_type": "refresh_token",
            "refresh_token": known.refresh_token,
            "audience": "api",
        }
        self.headers = {"X-Version": "7", "Authorization": self.basic(known.client_secret)}
        self.json = False

    def basic(self, secret: str) -> str:
        return "Basic " + b64encode(f"{self.known.client_id}:{secret}".encode()).decode()

    def send(self) -> httpx2.Response:
        body = {"json": self.fields} if self.json else {"data": self.fields}
        url = self.player.base_url + self.path
        with httpx2.Client(trust_env=False) as http:
            return http.request(self.method, url, params=self.query, headers=self.headers, **body)


def play(player: Player, asked: Exchange, known: Known, client: Client) -> tuple[httpx2.Response, Played]:
    with player.playing(asked, known) as played:
        return client.send(), played


def test_what_is_insisted_on_gets_the_answer(player: Player) -> None:
    """With made-up tokens in it, and a Date header of its own in place of the usual one."""
    known = Known.made_up()

    answer, played = play(player, exchange(), known, Client(player, known))

    assert played.discrepancies == []
    assert answer.status_code == 200
    assert answer.headers.get_list("date") == ["Sun, 01 Mar 2026 12:00:00 GMT"]
    assert answer.headers["x-kind"] == "token"
    said = answer.json()
    assert said["access_token"] == known.new_access_token != known.access_token
    claims = said["id_token"].split(".")[1]
    assert json.loads(urlsafe_b64decode(claims + "=" * (-len(claims) % 4))) == {
        "aud": known.client_id,
        "sub": "{me}",
    }


def _fields(client: Client, **changes: str | None) -> None:
    client.fields = {name: value for name, value in {**client.fields, **changes}.items() if value is not None}


@pytest.mark.parametrize(
    ("about", "name", "change"),
    [
        ("method", "", lambda client: setattr(client, "method", "PUT")),
        ("url", "", lambda client: setattr(client, "path", "/acme.example/token")),
        ("url", "", lambda client: setattr(client, "path", "/www.acme.example/oauth/token")),
        ("query", "v", lambda client: setattr(client, "query", {})),
        ("query", "v", lambda client: setattr(client, "query", {"v": "3"})),
        ("body_format", "", lambda client: setattr(client, "json", True)),
        ("field", "refresh_token", lambda client: _fields(client, refresh_token=None)),
        ("field", "refresh_token", lambda client: _fields(client, refresh_token="")),
        ("field", "refresh_token", lambda client: _fields(client, refresh_token=client.known.access_token)),
        ("field", "audience", lambda client: _fields(client, audience="API")),
        ("field", "redirect_uri", lambda client: _fields(client, redirect_uri="https://x.example")),
        ("header", "X-Version", lambda client: client.headers.pop("X-Version")),
        ("header", "X-Version", lambda client: client.headers.update({"X-Version": "8"})),
        ("client_auth", "", lambda client: client.headers.pop("Authorization")),
        ("client_auth", "", lambda client: client.headers.update(Authorization=client.basic("wrong"))),
        ("client_auth", "", lambda client: client.headers.update(Authorization="Basic !")),
        ("client_auth", "", lambda client: _fields(client, client_secret=client.known.client_secret)),
    ],
)
def test_a_request_that_is_otherwise_is_refused(player: Player, about: str, name: str, change: Any) -> None:
    """With 400, and with the one difference, by its kind and name."""
    known = Known.made_up()
    client = Client(player, known)
    change(client)

    answer, played = play(player, exchange(), known, client)

    assert answer.status_code == 400
    assert [(one.about, one.name) for one in played.discrepancies] == [(about, name)]
    told = answer.text + str(played.discrepancies)
    assert not any(
        secret in told for secret in (known.client_secret, known.refresh_token, known.access_token)
    )


@pytest.mark.parametrize(
    ("client_auth", "headers", "fields", "taken"),
    [
        ("body", {}, {"client_id": "{client_id}", "client_secret": "{client_secret}"}, True),
        ("body", {}, {"client_id": "{client_id}"}, False),
        ("body", {}, {"client_key": "{client_id}", "client_secret": "{client_secret}"}, False),
        ("body", {"Authorization": "{basic}"}, {}, False),
        ("bearer", {"Authorization": "Bearer {access_token}"}, {}, True),
        ("bearer", {"Authorization": "Bearer {refresh_token}"}, {}, False),
        ("bearer", {}, {}, False),
        ("none", {}, {"client_id": "{client_id}"}, True),
        ("none", {}, {"client_id": "{client_id}", "client_secret": "{client_secret}"}, False),
        ("none", {"Authorization": "{basic}"}, {}, False),
    ],
)
def test_the_client_says_who_it_is_in_the_one_right_way(
    player: Player, client_auth: str, headers: dict[str, str], fields: dict[str, str], taken: bool
) -> None:
    known = Known.made_up()
    client = Client(player, known)
    basic = client.headers.pop("Authorization")
    client.headers |= {name: known.fill(text.replace("{basic}", basic)) for name, text in headers.items()}
    _fields(client, **{name: known.fill(text) for name, text in fields.items()})

    _, played = play(player, exchange(client_auth=client_auth), known, client)

    assert [one.about for one in played.discrepancies] == ([] if taken else ["client_auth"])


def test_a_host_alone_is_asked_at_its_root(player: Player) -> None:
    """And a host is the same host in capitals."""
    known = Known.made_up()
    client = Client(player, known)
    client.path, client.query = "/acme.example", {}

    _, played = play(player, exchange(url="https://ACME.example"), known, client)

    assert played.discrepancies == []


def test_renamed_credentials_are_taken_under_the_names_that_the_exchange_lists(player: Player) -> None:
    """As TikTok calls the client's id client_key."""
    known = Known.made_up()
    client = Client(player, known)
    del client.headers["Authorization"]
    _fields(client, client_key=known.client_id, client_secret=known.client_secret)
    fields = {**REFRESH["request"]["fields"], "client_key": "*"}

    _, played = play(player, exchange(client_auth="body", fields=fields), known, client)

    assert played.discrepancies == []


def test_a_json_body_is_compared_member_by_member(player: Player) -> None:
    known = Known.made_up()
    client = Client(player, known)
    client.json = True

    _, played = play(player, exchange(body_format="json"), known, client)

    assert played.discrepancies == []


def test_what_comes_while_nothing_is_played_is_remembered(player: Player) -> None:
    known = Known.made_up()

    answer = Client(player, known).send()

    assert answer.status_code == 400
    assert player.strays.pop() == "POST /acme.example/oauth/token"
