"""A table without a transcript is tried as well: by its own requests, and by its judgement table."""

from __future__ import annotations

from typing import Any

import pytest

from scripts.conformance.running import Stage
from tests.conformance.tables import acme, definition_of


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"client_auth": "client_secret_basic", "body_format": "json"},
        {"client_auth": "none"},
        {"pkce": False, "lifetime_unit": "milliseconds", "token_types": ["bot", "bearer"]},
        {"field_names": {"client_id": "clientId", "refresh_token": "refreshToken"}, "body_format": "json"},
        {"token_params": {"audience": "api"}, "refresh_params": {"a": "{b}"}, "code_params": {"c": "d"}},
        {"refresh_url": "https://{site}.acme.example/refresh", "token_headers": {"X-Version": "2"}},
        {"answer_names": {"access_token": ["data.token"], "expires_at": ["data.until"]}},
        {"answer_names": {"refresh_expires_in": ["left"], "refresh_expires_at": ["until"]}},
        {"answer_ok": {"member": "ok", "equals": True}, "error_member": ["err.code", "error"]},
        {"account": {"from": "id_token", "id": "sub", "label": "email"}, "issuer": "https://acme.example"},
        {"account": {"from": "answer", "id": "user.id", "label": "user.id"}},
        {"device_url": "https://{site}.acme.example/device"},
        {"revoke_url": None, "revoke": {"url": "https://acme.example/r/{client_id}", "auth": "bearer"}},
        {
            "revoke_url": None,
            "revoke": {
                "method": "DELETE",
                "url": "https://acme.example/apps/{client_id}/grant",
                "auth": "basic",
                "token": "access_token",
                "body": {"access_token": "{token}"},
                "body_format": "json",
            },
        },
        {
            "check": {
                "method": "POST",
                "url": "https://acme.example/info",
                "bearer": False,
                "body": {"token": "{access_token}", "client_id": "{client_id}"},
                "ok": {"member": "active", "equals": True},
            }
        },
    ],
    ids=lambda changes: ", ".join(changes) or "plain",
)
def test_a_definition_in_every_form_agrees_with_itself(stage: Stage, changes: dict[str, Any]) -> None:
    """Requests as it says it sends them, and answers of every kind that it must know."""
    count, lies = stage.tried(definition_of("acme", acme(**changes)))

    assert lies == []
    assert count >= 25


def test_definitions_of_the_other_grants_agree_with_themselves(stage: Stage) -> None:
    """Credentials that are minted anew, and tokens that never expire."""
    minting = acme(
        grant="client_credentials",
        authorize_url=None,
        rotation=None,
        replay_window=None,
        metadata_fields={"instance_id": "instance"},
    )
    lasting = acme(grant="none", rotation=None, replay_window=None)

    for table in (minting, lasting):
        count, lies = stage.tried(definition_of("acme", table))
        assert lies == []
        assert count >= 20


def row(**rule: Any) -> dict[str, Any]:
    return {"on": "token", **rule}


def test_a_row_that_an_earlier_one_shadows_is_found(stage: Stage) -> None:
    """It never has its say."""
    rows = [row(status=400, outcome="transient"), row(status=400, code="dead", outcome="grant_rejected")]

    _, lies = stage.tried(definition_of("acme", acme(judgements=rows)))

    assert [lie.mend for lie in lies] == ["judgements[1]"]


def test_a_row_in_the_shadow_of_one_that_ends_grants_is_found(stage: Stage) -> None:
    """Where the server is in trouble the first one is not for an answer; that gives the second no say."""
    words = {"member": "error_description", "contains": "client"}
    rows = [
        row(code="invalid_request", outcome="grant_rejected"),
        row(code="invalid_request", where=words, outcome="client_misconfigured"),
    ]

    _, lies = stage.tried(definition_of("acme", acme(judgements=rows)))

    assert [lie.mend for lie in lies] == ["judgements[1]"]


def test_a_row_that_an_earlier_one_shadows_for_one_status_is_none(stage: Stage) -> None:
    """The special case first, then the rule: both have their say."""
    rows = [
        row(status=403, code=[7, "busy"], outcome="rate_limited", name="busy"),
        row(code=["7", "busy"], outcome="transient"),
        row(code="locked", outcome="refused", where={"member": "hint", "contains": "being processed"}),
        row(code="locked", outcome="grant_rejected", member="errors.0.code"),
    ]

    _, lies = stage.tried(definition_of("acme", acme(judgements=rows)))

    assert lies == []


@pytest.mark.parametrize("endpoint", ["device", "revoke"])
def test_a_row_about_nothing_that_is_asked_is_found(stage: Stage, endpoint: str) -> None:
    rule = row(on=endpoint, status=400, outcome="refused")
    _, lies = stage.tried(definition_of("acme", acme(judgements=[rule], revoke_url=None)))

    assert [lie.mend for lie in lies] == ["judgements[0]"]


def test_two_things_at_one_place_are_found(stage: Stage) -> None:
    """An answer cannot say both."""
    names = {"access_token": ["data"], "expires_in": ["data.ttl"]}

    _, lies = stage.tried(definition_of("acme", acme(answer_names=names)))

    assert "answer_names" in lies[-1].mend
