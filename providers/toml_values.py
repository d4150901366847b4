"""The kinds of value a provider's table may hold: durations, URLs, templates, headers, rates."""

from __future__ import annotations

import math
import re
from datetime import timedelta
from ipaddress import ip_address
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field

from domain.provider import ReplayWindow

#: What a provider may be called. Environment variables, metrics and paths are made of it.
ID_PATTERN: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
#: A century: past it a number of seconds is a mistake, and arithmetic with it could overflow.
LONGEST_SECONDS: Final = 100 * 366 * 24 * 3600
#: What a check's templates may ask for.
PLACEHOLDERS: Final = frozenset({"access_token", "client_id"})
_BRACES: Final = re.compile(r"\{([^{}]*)\}|[{}]")
_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_HEADER_VALUE: Final = re.compile(r"[\x20-\x7e]*")


def _seconds(value: object) -> object:
    if isinstance(value, timedelta):
        return value
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= LONGEST_SECONDS:
        raise ValueError("must be a whole number of seconds, at least 1")
    return timedelta(seconds=value)


def _window(value: object) -> object:
    if value is None or isinstance(value, timedelta) or value in ("until_successor_used", "unlimited"):
        return value
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= LONGEST_SECONDS:
        raise ValueError('must be seconds (0: no window), "until_successor_used" or "unlimited"')
    return timedelta(seconds=value)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _url(value: str) -> str:
    """Refuse what could send a credential in the clear, or to a host other than the one that is read."""
    if not value.isascii() or any(character <= " " or character == "\\" for character in value):
        raise ValueError("must be a URL of printable ASCII characters without spaces")
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError("is not a URL; write https://host/path") from None
    if parts.scheme not in ("http", "https") or not host:
        raise ValueError("must be a URL such as https://host/path")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise ValueError("must carry neither credentials (user@host) nor a fragment (#...)")
    if parts.scheme == "http" and not _is_loopback(host):
        raise ValueError("must use https; plain http is for loopback hosts (127.0.0.1, ::1, localhost) alone")
    return value


def _template(value: str) -> str:
    for match in _BRACES.finditer(value):
        if match.group(1) not in PLACEHOLDERS:
            raise ValueError("may use the placeholders {access_token} and {client_id}, and no other braces")
    return value


def _headers(value: dict[str, str]) -> dict[str, str]:
    for name, text in value.items():
        if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(text):
            raise ValueError(f"{name!r} is not an HTTP header of printable ASCII characters")
        if name.lower() in ("authorization", "content-length", "host", "cookie"):
            raise ValueError(f"{name!r} is set by Evergrant; leave it out")
    return value


def _rate(value: float) -> float:
    if not math.isfinite(value) or value <= 0:
        raise ValueError("must be a number above 0")
    return value


def _codes(value: object) -> object:
    """Accept one code or a list; providers number their errors as often as they name them."""
    items = value if isinstance(value, list | tuple) else [value]
    if any(isinstance(item, bool) or not isinstance(item, str | int) for item in items):
        raise ValueError("must be a word or a number, or a list of them")
    return tuple(str(item) for item in items)


Word = Annotated[str, Field(min_length=1)]
Seconds = Annotated[timedelta, BeforeValidator(_seconds)]
Url = Annotated[str, AfterValidator(_url)]
Template = Annotated[str, AfterValidator(_template)]
Headers = Annotated[dict[str, str], AfterValidator(_headers)]
Rate = Annotated[float, AfterValidator(_rate)]
Window = Annotated[ReplayWindow | None, BeforeValidator(_window)]
Codes = Annotated[tuple[Word, ...], BeforeValidator(_codes), Field(min_length=1)]
