"""Scopes asked for and given."""

from __future__ import annotations

import pytest

from domain.connecting import shortfall, united


@pytest.mark.parametrize(
    ("asked", "granted", "refreshable", "missing"),
    [
        (("read", "write"), ("write", "read"), True, ()),
        (("read", "write"), ("read",), True, ("write",)),
        (("read",), (), True, ("read",)),
        # RFC 6749 §5.1: an answer without a scope has given what was asked for.
        (("read", "write"), None, True, ()),
        # More than was asked for is no shortfall.
        (("read",), ("read", "write"), True, ()),
        (("email",), ("https://accounts.example/email",), True, ()),
        (("email",), ("email",), True, ()),
        (("email",), ("profile",), True, ("email",)),
        # OpenID Connect Core §11: the refresh token itself says that it was given.
        (("offline_access", "read"), ("read",), True, ()),
        (("offline_access", "read"), ("read",), False, ("offline_access",)),
    ],
)
def test_what_was_not_given(
    asked: tuple[str, ...], granted: tuple[str, ...] | None, refreshable: bool, missing: tuple[str, ...]
) -> None:
    """Each scope that was asked for and is in the answer under neither of its names."""
    aliases = {"email": "https://accounts.example/email"}

    assert missing == shortfall(asked, granted, aliases=aliases, refreshable=refreshable)


def test_scopes_are_united_in_order() -> None:
    """Each once, as it is first named."""
    assert united(("b", "a"), ("a", "c"), ()) == ("b", "a", "c")
