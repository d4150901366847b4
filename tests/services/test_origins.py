"""Origins are compared whole: what parsers and browsers read differently is none."""

from __future__ import annotations

import pytest

from services.connecting.face import Face, told
from services.origins import origin_of


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://app.example.com", "https://app.example.com"),
        ("https://APP.Example.com:443/path?query#fragment", "https://app.example.com"),
        ("https://app.example.com:8443", "https://app.example.com:8443"),
        ("http://localhost:3000/x", "http://localhost:3000"),
        ("http://127.0.0.1/x", "http://127.0.0.1"),
        ("http://[::1]:80/x", "http://[::1]"),
        ("http://app.example.com", None),
        ("https://user@app.example.com", None),
        ("https://app.example.com\\.evil.example", None),
        ("https://app.example.com%40evil.example", None),
        ("https://app.example.com/a b", None),
        ("https://app.example.com/\n", None),
        ("https://äpp.example.com", None),
        ("https://app.example.com:0", None),
        ("https://app.example.com:99999", None),
        ("https://app.example.com:", None),
        ("ftp://app.example.com", None),
        ("//app.example.com", None),
        ("https:/app.example.com", None),
        ("", None),
        ("https://app.example.com/" + "x" * 2000, None),
    ],
)
def test_an_origin_has_one_spelling(url: str, origin: str | None) -> None:
    """Scheme, host and port, without a port that is the scheme's own."""
    assert origin == origin_of(url)


def test_a_face_sends_nobody_elsewhere() -> None:
    """Its own origin and those that are allowed, exactly."""
    face = Face("https://evergrant.example.com/base", ("https://app.example.com",))

    assert face.may_send_to("https://evergrant.example.com/anywhere")
    assert face.may_send_to("https://app.example.com/x")
    assert not face.may_send_to("https://app.example.com:8443/x")
    assert not face.may_send_to("https://sub.app.example.com/x")
    assert face.callback("gsc") == "https://evergrant.example.com/base/oauth/gsc/callback"
    assert face.secure


def test_what_is_told_is_added_to_the_query() -> None:
    """Nothing that was there is lost."""
    assert told("https://a.example/x?b=1#c", status="ok") == "https://a.example/x?b=1&status=ok#c"
    assert told("https://a.example", status="a b") == "https://a.example?status=a+b"


@pytest.mark.parametrize(
    ("address", "becomes"),
    [
        ("https://app.example.com", "https://app.example.com?status=connected"),
        (
            "https://app.example.com/a;b?x=1&x=2#end",
            "https://app.example.com/a;b?x=1&x=2&status=connected#end",
        ),
        ("https://app.example.com/?&y=%00", "https://app.example.com/?y=%00&status=connected"),
        (
            "https://app.example.com/?status=connected&s%74atus=a&connection=another&missing_scopes&z=1",
            "https://app.example.com/?z=1&status=connected",
        ),
    ],
)
def test_what_happened_is_said_once(address: str, becomes: str) -> None:
    """Nothing that the query said before under our names is left, and everything else is as it was."""
    assert told(address, status="connected") == becomes
