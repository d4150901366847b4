"""What a provider repeats of a secret is kept nowhere."""

from __future__ import annotations

import pytest

from providers.judgement import judge_token
from tests.providers.making import acme, answer

SENT = "RT-sent-0123456789"
NEW = {"access_token": "AT-new-0123456789", "refresh_token": "RT-new-0123456789"}


@pytest.mark.parametrize("echo", [SENT, *NEW.values(), f"urn:{SENT}:x"])
def test_a_scope_that_repeats_a_secret_is_left_out(echo: str) -> None:
    """The scope is kept in the clear; the tokens are used, and what repeats one of them is not kept."""
    found = judge_token(acme(), answer(200, {**NEW, "scope": f"read {echo} write"}), secrets=(SENT, ""))

    assert found.scope == ("read", "write")
    assert found.access_token.get_secret_value() == NEW["access_token"]


def test_a_scope_of_nothing_but_a_secret_counts_as_none() -> None:
    """None leaves the stored scope as it is."""
    assert judge_token(acme(), answer(200, {**NEW, "scope": SENT}), secrets=(SENT,)).scope is None


def test_a_short_secret_costs_no_scope() -> None:
    """A client secret of a few letters is found in ordinary words."""
    found = judge_token(acme(), answer(200, {**NEW, "scope": "read"}), secrets=("rea",))

    assert found.scope == ("read",)
