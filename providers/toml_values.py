"""The kinds of value a provider's table may hold: durations, URLs, templates, patterns, headers, rates."""

from __future__ import annotations

import math
import re
from datetime import timedelta
from ipaddress import ip_address
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field

from domain.provider import ReplayWindow
from providers.patterns import read

#: What a provider may be called. Environment variables, metrics and paths are made of it.
ID_PATTERN: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
#: A century: past it a number of seconds is a mistake, and arithmetic with it could overflow.
LONGEST_SECONDS: Final = 100 * 366 * 24 * 3600
#: What a check's templates may ask for.
PLACEHOLDERS: Final = frozenset({"access_token", "client_id"})
#: What a revocation's templates may ask for.
REVOKE_PLACEHOLDERS: Final = frozenset({"token", "client_id"})
#: A variable in a URL; its name is the key of the connection's metadata.
_NAME: Final = r"[a-z][a-z0-9_]{0,62}"
VARIABLE: Final = re.compile(rf"\{{({_NAME})\}}")
_WHERE: Final = (
    "a variable may stand for labels of the host or pieces of the path; not for user, port or query"
)
#: Braces of templates. One with a space on its inner side is itself, as query languages write them.
_BRACES: Final = re.compile(r"\{(?! )([^{}]*)\}|\{(?! )|(?<! )\}")
_OTHERWISE: Final = "no other braces without a space inside them, as in { id }"
#: Plain text, with \\. or [.] for a dot, around one group of anything.
_PLAIN: Final = r"(?:[^\\.^$*+?{}\[\]|()]|\\[./-]|\[\.\])*"
_BETWEEN: Final = re.compile(rf"{_PLAIN}\(\.\+\){_PLAIN}")
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


def is_loopback(host: str) -> bool:
    """Say whether a host, as a definition writes it, is this machine."""
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
    if parts.scheme == "http" and not is_loopback(host):
        raise ValueError("must use https; plain http is for loopback hosts (127.0.0.1, ::1, localhost) alone")
    return value


def _url_template(value: str) -> str:
    """As `_url`, with variables in the host or in the path."""
    if "{" in value and "@" in value.partition("://")[2].partition("/")[0]:
        raise ValueError(_WHERE)
    if "{" in (bare := VARIABLE.sub("", value)) or "}" in bare:
        raise ValueError(
            "has braces that name no variable; write {name}, in lower-case letters, digits and _"
        )
    if "{" not in value:
        return _url(value)
    _url(VARIABLE.sub("1", value))
    parts = urlsplit(value)
    if "{" in parts.netloc.partition(":")[2] + parts.query:
        raise ValueError(_WHERE)
    return value


def _template(value: str) -> str:
    for match in _BRACES.finditer(value):
        if match.group(1) not in PLACEHOLDERS:
            raise ValueError(f"may use the placeholders {{access_token}} and {{client_id}}, and {_OTHERWISE}")
    return value


def _revoke_template(value: str) -> str:
    for match in _BRACES.finditer(value):
        if match.group(1) not in REVOKE_PLACEHOLDERS:
            raise ValueError(f"may use the placeholders {{token}} and {{client_id}}, and {_OTHERWISE}")
    return value


def _pattern(value: str) -> str:
    if read(value).matches(""):
        raise ValueError("matches a value without characters; use + for *, or say what must be there")
    return value


def _capturing(value: str) -> str:
    """Take a regular expression with the one group that is the value."""
    try:
        groups = re.compile(value).groups
    except re.error as error:
        raise ValueError(f"is no regular expression: {error}") from None
    if groups != 1:
        raise ValueError(f"must have exactly one group (...), the value, and has {groups}; (?:...) is none")
    return value


def _between(value: str) -> str:
    """Take plain text around one ``(.+)``: what is compared with it comes by a browser, and may be long."""
    if not _BETWEEN.fullmatch(value):
        raise ValueError(r"must be plain text around one (.+), the value, such as https://accounts\.(.+)")
    return value


def _scope(value: str) -> str:
    if any(character <= " " or character == "," for character in value):
        raise ValueError("must be one scope, without spaces or commas")
    return value


def _known_scope(value: str) -> str:
    if "*" in value[:-1]:
        raise ValueError("may have one * at its end, which stands for anything")
    return _scope(value)


def known_scope(scope: str, known: tuple[str, ...]) -> bool:
    """Say whether a provider has a scope, by its list of known ones."""
    return any(scope.startswith(entry[:-1]) if entry.endswith("*") else scope == entry for entry in known)


def _headers(value: dict[str, str], token: str | None = None) -> dict[str, str]:
    """Refuse what is no header, or is ours to set.

    Args:
        token: The placeholder that makes an Authorization header one of the provider's own; None: none does.
    """
    for name, text in value.items():
        if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(text):
            raise ValueError(f"{name!r} is not an HTTP header of printable ASCII characters")
        own = token is not None and token in text and name.lower() == "authorization"
        if name.lower() in ("authorization", "content-length", "host", "cookie") and not own:
            raise ValueError(f"{name!r} is set by Evergrant; leave it out")
    return value


def _asking_headers(value: dict[str, str]) -> dict[str, str]:
    for text in value.values():
        _template(text)
    return _headers(value, "{access_token}")


def _revoke_headers(value: dict[str, str]) -> dict[str, str]:
    for text in value.values():
        _revoke_template(text)
    return _headers(value, "{token}")


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
UrlTemplate = Annotated[str, AfterValidator(_url_template)]
Template = Annotated[str, AfterValidator(_template)]
RevokeTemplate = Annotated[str, AfterValidator(_revoke_template)]
VariableName = Annotated[str, Field(pattern=rf"^{_NAME}$")]
PatternText = Annotated[str, Field(min_length=1), AfterValidator(_pattern)]
CapturingPattern = Annotated[str, AfterValidator(_capturing)]
BetweenPattern = Annotated[str, AfterValidator(_between)]
KnownScope = Annotated[str, Field(min_length=1), AfterValidator(_known_scope)]
Headers = Annotated[dict[str, str], AfterValidator(_headers)]
AskingHeaders = Annotated[dict[str, str], AfterValidator(_asking_headers)]
RevokeHeaders = Annotated[dict[str, str], AfterValidator(_revoke_headers)]
Rate = Annotated[float, AfterValidator(_rate)]
Window = Annotated[ReplayWindow | None, BeforeValidator(_window)]
Codes = Annotated[tuple[Word, ...], BeforeValidator(_codes), Field(min_length=1)]
