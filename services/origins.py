"""Web origins (RFC 6454): where browsers may be sent, compared whole and never by a piece."""

from __future__ import annotations

from typing import Final
from urllib.parse import SplitResult, urlsplit

from providers.toml_values import is_loopback

#: Longer than any address that a browser is sent to on purpose.
LONGEST: Final = 2000
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


def web_url(url: str) -> SplitResult | None:
    """Return the parts of a URL that a browser may be sent to; None for everything else.

    Refused is what browsers and parsers read differently: other characters than printable ASCII, backslashes,
    user information, hosts that are none. Plain http is for loopback hosts alone.
    """
    if len(url) > LONGEST or not url.isascii() or any(char <= " " or char in "\\\x7f" for char in url):
        return None
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if parts.scheme not in _DEFAULT_PORTS or not host or "@" in parts.netloc or port == 0:
        return None
    if parts.netloc.endswith(":") or not all(char.isalnum() or char in "-.:" for char in host):
        return None
    return parts if parts.scheme == "https" or is_loopback(host) else None


def origin_of(url: str) -> str | None:
    """Return a URL's origin in its one spelling, `https://host[:port]`; None for what `web_url` refuses."""
    parts = web_url(url)
    if parts is None or parts.hostname is None:
        return None
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    port = "" if parts.port in (None, _DEFAULT_PORTS[parts.scheme]) else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}"
