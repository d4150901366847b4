"""What stands below every provider's rules, as docs/providers.md has it, where every key is, too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from domain.errors import (
    ClientMisconfigured,
    GrantRejected,
    InsufficientScope,
    Malformed,
    OutcomeUnknown,
    ProviderError,
    RateLimited,
    Refused,
    Unavailable,
)
from providers.definition import ProviderDefinition
from providers.definition_tables import (
    Account,
    Check,
    FromAnswer,
    FromCallback,
    GrantLimit,
    Judgement,
    Ok,
    Revoke,
    Table,
    Variable,
    Where,
)
from providers.http import WireAnswer
from providers.judgement import judge_check, judge_revoke, judge_token
from tests.providers.making import acme, answer

PAGE = Path(__file__).parents[2] / "docs" / "providers.md"
REVOKING = acme(revoke_url="https://acme.example/revoke")
Kind = type[ProviderError] | None
OURS, DEAD, WEATHER = ClientMisconfigured, GrantRejected, Unavailable


def kinds(given: WireAnswer) -> tuple[Kind, Kind, Kind]:
    """What an answer means to a refresh of a strict provider, a check, and a revocation; None: a success."""
    found: list[Kind] = []
    for judge in (judge_token, judge_check, judge_revoke):
        try:
            judge(REVOKING, given)
            found.append(None)
        except ProviderError as error:
            found.append(type(error))
    token, check, revoke = found
    return token, check, revoke


@pytest.mark.parametrize(
    ("status", "said", "token", "check", "revoke"),
    [
        (400, {"error": "invalid_grant"}, DEAD, Refused, DEAD),
        (400, {"error": "invalid_token"}, Refused, DEAD, DEAD),
        (401, {"error": "invalid_client"}, OURS, OURS, OURS),
        (400, {"error": "unauthorized_client"}, OURS, OURS, OURS),
        (400, {"error": "unsupported_grant_type"}, OURS, Refused, Refused),
        (403, {"error": "insufficient_scope"}, Refused, InsufficientScope, Refused),
        (400, {"error": "temporarily_unavailable"}, WEATHER, WEATHER, WEATHER),
        (400, {"error": "server_error"}, OutcomeUnknown, WEATHER, WEATHER),
        (408, b"", OutcomeUnknown, WEATHER, WEATHER),
        (502, {"error": "invalid_grant"}, OutcomeUnknown, WEATHER, WEATHER),
        (400, {"error": "slow_down"}, RateLimited, Refused, Refused),
        (429, {"error": "invalid_grant"}, RateLimited, RateLimited, RateLimited),
        (503, {"error": "invalid_grant"}, WEATHER, WEATHER, WEATHER),
        (401, b"", Refused, DEAD, OURS),
        (404, b"", OURS, OURS, OURS),
        (405, b"", OURS, OURS, OURS),
        (410, b"", OURS, OURS, OURS),
        (302, b"", OURS, OURS, OURS),
        (200, b"<html>", Malformed, None, None),
        (400, {"error": "odd"}, Refused, Refused, Refused),
        (400, {"message": "The refresh token is dead."}, Refused, Refused, Refused),
        (403, b"", Refused, Refused, Refused),
        (418, b"teapot", Refused, Refused, Refused),
        (200, {"error": "odd"}, Refused, Refused, Refused),
    ],
)
def test_the_defaults(status: int, said: Any, token: Kind, check: Kind, revoke: Kind) -> None:
    assert kinds(answer(status, said)) == (token, check, revoke)


@pytest.mark.parametrize(
    "table",
    [
        ProviderDefinition,
        Account,
        Check,
        FromAnswer,
        FromCallback,
        GrantLimit,
        Judgement,
        Ok,
        Revoke,
        Variable,
        Where,
    ],
)
def test_every_key_is_on_the_page(table: type[Table]) -> None:
    page = PAGE.read_text("utf-8")
    for name, field in table.model_fields.items():
        key = field.alias or name
        written = (f"`{key}`", f"{key} =", f"providers.<id>.{key}]", f"providers.<id>.{key}]]")
        assert key == "id" or any(form in page for form in written), key
