"""The settings of the HTTP face: read once, checked at start, in one spelling."""

from __future__ import annotations

import pytest

from domain.errors import ConfigurationError
from services.settings import load


def given(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> object:
    monkeypatch.setenv(f"EVERGRANT_{name}", value)
    return getattr(load(), name.lower())


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://evergrant.example.com/", "https://evergrant.example.com"),
        ("https://evergrant.example.com/base/", "https://evergrant.example.com/base"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("", None),
    ],
)
def test_a_public_url_is_kept_without_its_last_slash(
    monkeypatch: pytest.MonkeyPatch, url: str, kept: str | None
) -> None:
    """Addresses are made by adding to it."""
    assert given(monkeypatch, "PUBLIC_URL", url) == kept


@pytest.mark.parametrize(
    "url",
    [
        "evergrant.example.com",
        "http://evergrant.example.com",
        "https://evergrant.example.com/?x=1",
        "https://evergrant.example.com/#x",
        "https://user@evergrant.example.com",
    ],
)
def test_a_public_url_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Above all plain http: state and code would travel in the clear, and no cookie could be kept safe."""
    with pytest.raises(ConfigurationError, match="EVERGRANT_PUBLIC_URL must be an address"):
        given(monkeypatch, "PUBLIC_URL", url)


def test_origins_are_kept_in_one_spelling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever their case, their usual port, a slash behind them or spaces around them."""
    text = "https://APP.example.com, https://b.example:443/,http://localhost:3000"

    assert given(monkeypatch, "REDIRECT_ALLOWLIST", text) == (
        "https://app.example.com",
        "https://b.example",
        "http://localhost:3000",
    )
    assert given(monkeypatch, "REDIRECT_ALLOWLIST", "") == ()


@pytest.mark.parametrize(
    "text",
    [
        "*",
        "https://*.example.com",
        "https://a.example/path",
        "http://a.example",
        "https://a.example,,https://b.example",
        "a.example",
    ],
)
def test_what_is_no_origin_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """No wildcard, no path, nothing that a browser could be led astray by."""
    with pytest.raises(ConfigurationError, match=r"EVERGRANT_REDIRECT_ALLOWLIST must be origins.*entry \d"):
        given(monkeypatch, "REDIRECT_ALLOWLIST", text)


def test_a_short_admin_key_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that could be found by trying; its value is not repeated."""
    with pytest.raises(ConfigurationError, match="EVERGRANT_ADMIN_API_KEY must be at least 16") as refused:
        given(monkeypatch, "ADMIN_API_KEY", "hunter2")
    assert "hunter2" not in str(refused.value)
